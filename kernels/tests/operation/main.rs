//! Every operation against Burn's own in f64: values and gradients over odd shapes, and the same bits
//! for any number of threads.

mod attention;
mod conv;
mod elementwise;
mod maps;
mod norm;
mod portable;
mod thread;

use burn::tensor::{DType, Device, Tensor, TensorData};

/// An operation on flattened inputs, so that inputs of any rank fit one signature.
type Op<'a> = &'a dyn Fn(&[Tensor<1>]) -> Tensor<1>;

/// Values spread over `-scale..scale`, a different row for each `seed`.
fn values(seed: u64, len: usize, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..len).map(|_| (2.0 * next() - 1.0) * scale).collect()
}

fn inputs(lens: &[usize], scale: f32) -> Vec<Vec<f32>> {
    (1..).zip(lens).map(|(i, &n)| values(i, n, scale)).collect()
}

/// The output and the gradient of every input, for a loss that weighs each output value differently.
fn run(inputs: &[Vec<f32>], dtype: DType, op: Op<'_>) -> Vec<Vec<f64>> {
    let device = Device::flex().autodiff();
    let leaf = |v: &Vec<f32>| {
        let data = TensorData::new(v.clone(), [v.len()]);
        Tensor::<1>::from_data(data, (&device, dtype)).require_grad()
    };
    let leaves: Vec<_> = inputs.iter().map(leaf).collect();
    let y = op(&leaves);
    let weights = TensorData::new(values(99, y.dims()[0], 1.0), y.dims());
    let loss = (y.clone() * Tensor::from_data(weights, (&device, dtype))).sum();
    let grads = loss.backward();
    let read = |t: Tensor<1>| {
        t.into_data()
            .convert::<f64>()
            .try_to_vec::<f64>()
            .expect("f64")
    };
    std::iter::once(read(y.inner()))
        .chain(
            leaves
                .iter()
                .map(|l| read(l.grad(&grads).expect("gradient"))),
        )
        .collect()
}

/// Asserts that the f32 kernels are within `bound` of Burn's own operations in f64, relative to the
/// largest value of each tensor, or a tenth of that of all (a gradient may be zero but for rounding).
fn check(name: &str, inputs: &[Vec<f32>], bound: f64, op: Op<'_>) {
    // Without FMA every product is rounded once more.
    let portable = std::env::var_os("FEWSTEP_SIMD").is_some_and(|typed| typed == "portable");
    let bound = if portable { 2.0 * bound } else { bound };
    let found = run(inputs, DType::F32, op);
    let expected = run(inputs, DType::F64, op);
    let largest = |v: &Vec<f64>| v.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let overall = expected.iter().map(largest).fold(0.0, f64::max);
    for (n, (a, b)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(a.len(), b.len());
        let largest = largest(b).max(0.1 * overall);
        let error = a
            .iter()
            .zip(b)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max)
            / largest;
        assert!(
            error <= bound,
            "{name}: tensor {n} is off by {error:.2e} of its largest value"
        );
    }
}
