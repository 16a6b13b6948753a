//! Weights that are made up: for tests of this network and of whatever is compared with it, where the published ones
//! are not at hand.

/// The numbers of a tensor with this name and these dimensions, row-major: a hash of the name and the place, spread evenly
/// in (-1, 1) and scaled so that features neither vanish nor grow from layer to layer.
pub fn formula(name: &str, dims: &[usize]) -> Vec<f32> {
    let seed = name.bytes().fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    let fan_in: usize = dims.iter().skip(1).product();
    let scale = |spread: f64| match name.rsplit('.').next() {
        Some("running_var") => 1.0 + 0.3 * spread,
        Some("running_mean" | "bias") => 0.1 * spread,
        _ if dims.len() > 1 => f64::sqrt(3.0) * (2.0 / fan_in as f64).sqrt() * spread,
        _ => 1.0 + 0.1 * spread,
    };
    let count = dims.iter().product::<usize>() as u64;
    let spread = |i: u64| {
        let bits = mix(seed.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        2.0 * ((bits >> 11) as f64 / (1u64 << 53) as f64) - 1.0
    };
    (1..=count).map(|i| scale(spread(i)) as f32).collect()
}

/// The last step of splitmix64. [Steele et al. 2014, Fig. 16]
fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
