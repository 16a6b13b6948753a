use crate::{check, inputs};
use burn::tensor::{Device, Tensor, TensorData};
use fewstep_kernels::{add_scaled, downsample_2x, join_channels, silu, upsample_2x};

#[test]
fn silu_matches_burn_in_f64() {
    for len in [1, 7, 8, 9, 4096, 20_001] {
        for scale in [1e-3, 1.0, 20.0, 90.0] {
            check(
                &format!("silu {len} {scale}"),
                &inputs(&[len], scale),
                5e-7,
                &|t| silu(t[0].clone()),
            );
        }
    }
}

#[test]
fn silu_is_accurate_relative_to_each_value() {
    let x: Vec<f32> = (-80_000..80_000).map(|i| i as f32 / 1000.0).collect();
    let t = Tensor::<1>::from_data(TensorData::new(x.clone(), [x.len()]), &Device::flex());
    let y = silu(t).into_data().try_to_vec::<f32>().expect("f32");
    for (x, y) in x.into_iter().zip(y) {
        let exact = f64::from(x) / (1.0 + (-f64::from(x)).exp());
        let error = (f64::from(y) - exact).abs();
        assert!(error <= 4e-7 * exact.abs(), "silu({x}) = {y}, not {exact}");
    }
}

#[test]
fn silu_keeps_the_special_values() {
    let x = [f32::NAN, f32::INFINITY, 1e30, -1e30, 0.0, 200.0, -200.0];
    let t = Tensor::<1>::from_data(x, &Device::flex());
    let y = silu(t).into_data().try_to_vec::<f32>().expect("f32");
    assert!(y[0].is_nan());
    assert_eq!(y[1..3], x[1..3]);
    assert!(y[3].abs() < 1e-6, "{}", y[3]);
    assert_eq!(y[4..6], x[4..6]);
    assert!(y[6].abs() < 1e-30, "{}", y[6]);
}

#[test]
fn scaled_sums_match_burn_in_f64() {
    for len in [1, 7, 8, 20_001] {
        for scale in [1.0, 0.5f64.sqrt()] {
            let x = inputs(&[len, len], 1.0);
            check(&format!("sum {len} {scale}"), &x, 2e-7, &|t| {
                add_scaled(t[0].clone(), t[1].clone(), scale)
            });
        }
    }
}

/// A block in which both summands come from one tensor, and the sum is used twice.
#[test]
fn gradients_of_scaled_sums_add_up() {
    check("twice", &inputs(&[50], 1.0), 4e-7, &|t| {
        let y = add_scaled(silu(t[0].clone()), t[0].clone(), 0.7);
        add_scaled(y.clone(), silu(y), 1.0)
    });
}

/// Rows shorter and longer than what a task copies, and gradients that meet others.
#[test]
fn joined_channels_match_burn_in_f64() {
    for [b, of_a, of_b, h, w] in [
        [1, 1, 1, 1, 1],
        [3, 2, 5, 3, 7],
        [2, 40, 9, 32, 17],
        [5, 1, 33, 16, 16],
    ] {
        let pixels = h * w;
        let x = inputs(&[b * of_a * pixels, b * of_b * pixels], 1.0);
        check("join", &x, 2e-7, &|t| {
            let a = t[0].clone().reshape([b, of_a, h, w]);
            let y = join_channels(a.clone(), t[1].clone().reshape([b, of_b, h, w]));
            assert_eq!(y.dims(), [b, of_a + of_b, h, w]);
            let y = join_channels(silu(y), a);
            y.reshape([b * (2 * of_a + of_b) * pixels])
        });
    }
    let images = Tensor::<4>::ones([2, 3, 4, 5], &Device::flex());
    let none = images
        .clone()
        .narrow(0, 0, 2)
        .slice([0..2, 0..0, 0..4, 0..5]);
    assert_eq!(join_channels(none, images).dims(), [2, 3, 4, 5]);
}

#[test]
fn images_of_one_row_have_no_half() {
    let x = Tensor::<4>::ones([2, 3, 1, 5], &Device::flex().autodiff()).require_grad();
    let half = downsample_2x(x.clone());
    assert_eq!(half.dims(), [2, 3, 0, 2]);
    let gradient = x.grad(&half.sum().backward()).expect("a gradient");
    assert_eq!(gradient.into_data().iter::<f32>().sum::<f32>(), 0.0);
}

#[test]
fn resampling_matches_burn_in_f64() {
    for [b, c, h, w] in [[1, 1, 2, 2], [2, 3, 4, 6], [2, 3, 7, 5], [1, 4, 32, 32]] {
        let x = inputs(&[b * c * h * w], 1.0);
        check("up", &x, 3e-7, &|t| {
            let y = upsample_2x(t[0].clone().reshape([b, c, h, w]));
            assert_eq!(y.dims(), [b, c, 2 * h, 2 * w]);
            y.reshape([4 * b * c * h * w])
        });
        check("down", &x, 3e-7, &|t| {
            let y = downsample_2x(t[0].clone().reshape([b, c, h, w]));
            assert_eq!(y.dims(), [b, c, h / 2, w / 2]);
            y.reshape([b * c * (h / 2) * (w / 2)])
        });
    }
}
