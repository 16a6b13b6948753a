use crate::{check, inputs};
use burn::tensor::{DType, Device, Tensor, TensorData};
use fewstep_kernels::group_norm_silu;

/// [batch, channels, groups, height, width].
const SHAPES: &[[usize; 5]] = &[
    [1, 4, 1, 1, 1],
    [1, 1, 1, 7, 5],
    [2, 6, 3, 7, 5],
    [3, 16, 4, 8, 8],
    [2, 32, 8, 16, 16],
    [1, 16, 4, 32, 32],
];

fn norm(s: [usize; 5], shift: bool, silu: bool, scale: f32, bound: f64) {
    let [b, c, groups, h, w] = s;
    let mut lens = vec![b * c * h * w, c, c];
    lens.extend(shift.then_some(b * c));
    let name = format!("{s:?} shift {shift} silu {silu} scale {scale}");
    check(&name, &inputs(&lens, scale), bound, &|t| {
        let x: Tensor<4> = t[0].clone().reshape([b, c, h, w]);
        let shift = t.get(3).map(|t| t.clone().reshape([b, c]));
        let y = group_norm_silu(x, shift, t[1].clone(), t[2].clone(), groups, 1e-6, silu);
        y.reshape([b * c * h * w])
    });
}

#[test]
fn matches_the_composition_in_f64() {
    for &s in SHAPES {
        for (shift, silu) in [(false, false), (false, true), (true, false), (true, true)] {
            norm(s, shift, silu, 1.0, 2e-6);
        }
    }
}

#[test]
fn a_large_mean_does_not_spoil_the_variance() {
    let device = Device::flex();
    let noise = crate::values(5, 4 * 256, 1.0);
    // 1000 is exact in f32 together with multiples of 2^-12.
    let near: Vec<f32> = noise
        .iter()
        .map(|v| (v * 4096.0).round() / 4096.0)
        .collect();
    let far: Vec<f32> = near.iter().map(|v| v + 1000.0).collect();
    let run = |v: Vec<f32>| {
        let x = Tensor::<4>::from_data(TensorData::new(v, [1, 4, 16, 16]), &device);
        let (one, zero) = (Tensor::ones([4], &device), Tensor::zeros([4], &device));
        group_norm_silu(x, None, one, zero, 1, 1e-6, false)
    };
    let error = (run(near) - run(far)).abs().max().into_scalar::<f32>();
    assert!(error < 1e-4, "off by {error}");
}

#[test]
fn normalises_two_values_to_plus_and_minus_one() {
    let device = Device::flex();
    let x = Tensor::<4>::from_data([[[[3.0f32]], [[7.0]]]], &device);
    let gamma = Tensor::<1>::from_data([2.0f32, 3.0], &device);
    let beta = Tensor::<1>::from_data([0.5f32, -1.0], &device);
    let y = group_norm_silu(x, None, gamma, beta, 1, 0.0, false);
    let y = y.into_data().try_to_vec::<f32>().expect("f32");
    assert_eq!(y, [-1.5, 2.0]);
}

/// In half precision the squares of a group's numbers add up to more than there is in half precision.
#[test]
fn statistics_of_half_precision_are_taken_in_single() {
    let [c, h, w] = [4, 16, 16];
    let x = crate::values(1, c * h * w, 100.0);
    let device = Device::flex();
    let norm = |dtype: DType| -> Vec<f64> {
        let full = |value: f32| Tensor::<1>::full([c], value, (&device, dtype));
        let x = TensorData::new(x.clone(), [1, c, h, w]);
        let x = Tensor::<4>::from_data(x, (&device, dtype));
        let y = group_norm_silu(x, None, full(1.0), full(0.5), 2, 1e-6, false);
        assert_eq!(y.dtype(), dtype);
        y.into_data().iter::<f64>().collect()
    };
    let (half, single) = (norm(DType::F16), norm(DType::F32));
    for (half, single) in half.iter().zip(&single) {
        assert!((half - single).abs() < 4e-3, "{half} {single}");
    }
}
