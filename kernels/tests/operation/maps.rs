//! Convolutions and pools with the channels last, against Burn's own in f64.

use crate::values;
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions};
use burn::tensor::{DType, Device, Tensor, TensorData, activation, module};
use fewstep_kernels::{Convolution, Kernel, Maps};

/// Values in f64, `[batch, channels, height, width]`.
fn exact(values: &[f32], [b, h, w, c]: [usize; 4]) -> Tensor<4> {
    let data = TensorData::new(values.to_vec(), [b, h, w, c]);
    Tensor::<4>::from_data(data, (&Device::flex(), DType::F64)).permute([0, 3, 1, 2])
}

fn numbers(t: Tensor<4>) -> Vec<f64> {
    t.into_data_dtype(DType::F64).iter::<f64>().collect()
}

/// Asserts that `found` is within 1e-6 of `expected`, relative to the largest, where each is a sum of `terms`: what their
/// roundings come to grows with the square root of their number.
fn close(name: &str, found: Maps, expected: Tensor<4>, terms: usize) {
    let [b, h, w, c] = found.dims();
    assert_eq!(expected.dims(), [b, c, h, w], "{name}");
    let (found, expected) = (numbers(found.into_tensor()), numbers(expected));
    let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let rounding = 2.0 * f64::from(f32::EPSILON) * (terms as f64).sqrt();
    let allowed = rounding.max(1e-6) * largest;
    for (a, b) in found.iter().zip(&expected) {
        assert!((a - b).abs() <= allowed, "{name}: {a} instead of {b}");
    }
}

/// Batch, height, width; channels that are there; kernel.
fn cases() -> Vec<([usize; 4], Kernel)> {
    let kernel = |output, input, taps, stride, padding, rectified| Kernel {
        output,
        input,
        taps,
        stride,
        padding,
        rectified,
    };
    vec![
        ([1, 1, 1, 1], kernel(1, 1, [1, 1], 1, [0, 0], 0)),
        ([2, 9, 8, 3], kernel(32, 3, [3, 3], 2, [0, 0], 32)),
        ([1, 7, 23, 5], kernel(7, 5, [3, 3], 1, [1, 1], 7)),
        ([3, 6, 17, 20], kernel(48, 16, [1, 7], 1, [0, 3], 16)),
        ([2, 17, 5, 16], kernel(33, 16, [7, 1], 1, [3, 0], 16)),
        ([2, 5, 7, 48], kernel(64, 40, [1, 1], 1, [0, 0], 48)),
        ([5, 4, 4, 19], kernel(16, 19, [5, 5], 1, [2, 2], 0)),
        ([2, 35, 13, 12], kernel(80, 9, [3, 3], 2, [0, 0], 80)),
        ([9, 3, 3, 130], kernel(96, 130, [3, 3], 1, [0, 0], 96)),
    ]
}

#[test]
fn convolutions_match_burn_in_f64() {
    for (dims, kernel) in cases() {
        let name = format!("{dims:?} {kernel:?}");
        let Kernel {
            output,
            input,
            taps: [down, across],
            ..
        } = kernel;
        let x = values(1, dims.iter().product(), 1.0);
        let weight = values(2, output * input * down * across, 1.0);
        let bias = values(3, output, 1.0);
        let maps = Maps::new(x.clone(), dims, &Device::flex());
        // The last channels, where there are more than the kernel takes.
        let from = dims[3] - input;
        let layer = Convolution::new(kernel, weight.clone(), bias.clone(), &Device::flex());
        let found = layer.forward(&maps, from..dims[3]);
        let options = (&Device::flex(), DType::F64);
        let weight = TensorData::new(weight, [output, input, down, across]);
        let bias = TensorData::new(bias, [output]);
        let expected = module::conv2d(
            exact(&x, dims).narrow(1, from, input),
            Tensor::from_data(weight, options),
            Some(Tensor::from_data(bias, options)),
            ConvOptions::new([kernel.stride; 2], kernel.padding, [1, 1], 1),
        );
        let rectified = activation::relu(expected.clone());
        let parts = [
            (rectified, 0..kernel.rectified),
            (expected, kernel.rectified..output),
        ];
        let parts = parts.into_iter().filter(|(_, range)| !range.is_empty());
        let parts = parts.map(|(t, range)| t.narrow(1, range.start, range.len()));
        let terms = input * down * across;
        close(&name, found, Tensor::cat(parts.collect(), 1), terms);
    }
}

#[test]
fn pools_match_burn_in_f64() {
    for dims in [[1, 3, 3, 1], [2, 7, 9, 16], [3, 8, 5, 37]] {
        let x = values(4, dims.iter().product(), 1.0);
        let maps = Maps::new(x.clone(), dims, &Device::flex());
        let exact = exact(&x, dims);
        let options = |stride: usize, padding: usize| {
            let options = MaxPoolOptions::new([3, 3]).with_stride([stride; 2]);
            options.with_padding([padding; 2])
        };
        let halved = module::max_pool2d(exact.clone(), options(2, 0));
        close("every second maximum", maps.halve_by_maximum(), halved, 1);
        let largest = module::max_pool2d(exact.clone(), options(1, 1));
        close("maximum", maps.maximum(), largest, 1);
        let from = dims[3] / 3;
        let mean = AvgPoolOptions::new([3, 3])
            .with_stride([1, 1])
            .with_padding([1, 1])
            .with_count_include_pad(false);
        let part = exact.narrow(1, from, dims[3] - from);
        let mean = activation::relu(module::avg_pool2d(part, mean));
        close("mean", maps.rectified_mean(from..dims[3]), mean, 9);
    }
}

#[test]
fn maps_are_joined_and_averaged() {
    let device = Device::flex();
    let dims = [2, 3, 4, 5];
    let (a, b) = (values(5, 120, 1.0), values(6, 120, 1.0));
    let [first, second] = [&a, &b].map(|v| Maps::new(v.clone(), dims, &device));
    let joined = Maps::join(&[(&first, 1..3), (&second, 0..5), (&first, 4..5)]);
    let [x, y] = [exact(&a, dims), exact(&b, dims)];
    let parts = vec![x.clone().narrow(1, 1, 2), y, x.narrow(1, 4, 1)];
    let expected = Tensor::cat(parts, 1);
    let means: Vec<f64> = joined.mean().into_iter().map(f64::from).collect();
    let flat: Tensor<3> = expected.clone().flatten(2, 3);
    let wanted: Vec<f64> = flat
        .mean_dim(2)
        .into_data_dtype(DType::F64)
        .iter()
        .collect();
    for (a, b) in means.iter().zip(&wanted) {
        assert!((a - b).abs() < 1e-6);
    }
    close("joined", joined, expected, 1);
}

#[test]
fn results_do_not_depend_on_threads_or_batches() {
    let (dims, kernel) = ([6, 9, 9, 24], cases()[3].1);
    let kernel = Kernel {
        input: 24,
        ..kernel
    };
    let x = values(7, dims.iter().product(), 1.0);
    let weight = values(8, kernel.output * 24 * 7, 1.0);
    let layer = Convolution::new(kernel, weight, vec![0.0; kernel.output], &Device::flex());
    let run = |threads: usize, images: usize| -> Vec<f32> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| {
            let parts = x.chunks(images * 9 * 9 * 24);
            let answers = parts.flat_map(|part| {
                let maps = Maps::new(part.to_vec(), [images, 9, 9, 24], &Device::flex());
                let answer = layer
                    .forward(&maps, 0..24)
                    .into_tensor()
                    .permute([0, 2, 3, 1]);
                answer.into_data().iter::<f32>().collect::<Vec<_>>()
            });
            answers.collect()
        })
    };
    let whole = run(1, 6);
    for (threads, images) in [(2, 6), (3, 1), (1, 2)] {
        assert_eq!(run(threads, images), whole);
    }
}
