//! Times the operations that a network is made of, forward and forward + backward, at the shapes of the networks that
//! figures are reported for. Throughput is in multiply-adds of the forward pass for convolutions, in elements otherwise.
//!
//! `cargo bench --bench kernel`, or a part of it: `cargo bench --bench kernel -- conv3x3`. `RAYON_NUM_THREADS` sets the
//! threads. `cargo run --release -p fewstep-kernels --example bench` compares with Burn's own operations.

use burn::tensor::{Device, Distribution, Tensor, activation};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use fewstep_kernels as kernels;
use std::hint::black_box;
use std::time::Duration;

/// An operation on images and what else it has a gradient for.
type Operation<'a> = &'a dyn Fn(Tensor<4>, &[Tensor<1>]) -> Tensor<4>;

/// Times `operation` on images `shape` and flat parameters of `sizes`.
fn both(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    shape: [usize; 4],
    sizes: &[usize],
    operation: Operation<'_>,
) {
    let draw = |device: &Device| {
        let normal = Distribution::Normal(0.0, 1.0);
        let parameters = sizes
            .iter()
            .map(|n| Tensor::<1>::random([*n], normal, device));
        let parameters: Vec<_> = parameters.collect();
        (Tensor::<4>::random(shape, normal, device), parameters)
    };
    let (images, parameters) = draw(&Device::flex());
    group.bench_function(format!("{name}/forward"), |bencher| {
        bencher.iter(|| black_box(operation(images.clone(), &parameters)));
    });
    let (images, parameters) = draw(&Device::flex().autodiff());
    let images = images.require_grad();
    let parameters: Vec<_> = parameters.into_iter().map(Tensor::require_grad).collect();
    group.bench_function(format!("{name}/gradient"), |bencher| {
        bencher.iter(|| {
            let gradients = operation(images.clone(), &parameters).sum().backward();
            let parameters: Vec<_> = parameters.iter().map(|p| p.grad(&gradients)).collect();
            black_box((images.grad(&gradients), parameters))
        });
    });
}

fn convolutions(criterion: &mut Criterion) {
    for (side, shapes) in [
        (
            3,
            &[
                // batch, channels in and out, size
                (8, 16, 16, 32),
                (8, 32, 32, 16),
                (8, 64, 64, 32),
                (8, 128, 64, 32),
                (8, 128, 128, 16),
                (8, 256, 128, 16),
                (8, 128, 128, 8),
                (2, 256, 256, 32),
                (2, 512, 256, 32),
                (2, 256, 256, 16),
                (2, 256, 256, 8),
            ][..],
        ),
        (
            1,
            &[(8, 128, 384, 16), (8, 192, 64, 32), (2, 512, 256, 32)][..],
        ),
    ] {
        let mut group = group(criterion, &format!("conv{side}x{side}"));
        for &(batch, from, to, size) in shapes {
            let taps = side * side;
            group.throughput(Throughput::Elements(
                (batch * from * to * taps * size * size) as u64,
            ));
            let operation = |images: Tensor<4>, parameters: &[Tensor<1>]| {
                let weight = parameters[0].clone().reshape([to, from, side, side]);
                let bias = Some(parameters[1].clone());
                match side {
                    1 => kernels::conv2d_1x1(images, weight, bias),
                    _ => kernels::conv2d_3x3(images, weight, bias),
                }
            };
            both(
                &mut group,
                &format!("{batch}x{from}-{to}x{size}x{size}"),
                [batch, from, size, size],
                &[from * to * taps, to],
                &operation,
            );
        }
        group.finish();
    }
}

/// Everything that is not a convolution.
fn others(criterion: &mut Criterion) {
    let norm = |images: Tensor<4>, parameters: &[Tensor<1>]| {
        let channels = images.dims()[1];
        let (gain, offset) = (parameters[0].clone(), parameters[1].clone());
        let groups = (channels / 4).min(32);
        kernels::group_norm_silu(images, None, gain, offset, groups, 1e-6, true)
    };
    let operations: [(&str, bool, Operation<'_>); 5] = [
        ("group-norm-silu", true, &norm),
        ("silu", false, &|images, _| kernels::silu(images)),
        ("double", false, &|images, _| kernels::upsample_2x(images)),
        ("halve", false, &|images, _| kernels::downsample_2x(images)),
        ("attention", false, &|images, _| attention(images)),
    ];
    for (name, has_parameters, operation) in operations {
        let mut group = group(criterion, name);
        for (batch, channels, size) in [(8, 16, 32), (8, 64, 32), (8, 128, 16), (2, 256, 16)] {
            if name == "attention" && size > 16 {
                continue;
            }
            let shape = [batch, channels, size, size];
            group.throughput(Throughput::Elements(shape.iter().product::<usize>() as u64));
            let sizes = if has_parameters {
                &[channels; 2][..]
            } else {
                &[]
            };
            let name = format!("{batch}x{channels}x{size}x{size}");
            both(&mut group, &name, shape, sizes, operation);
        }
        group.finish();
    }
}

/// Self-attention over the pixels, all three of query, key and value being the images.
fn attention(images: Tensor<4>) -> Tensor<4> {
    let [b, c, h, w] = images.dims();
    let tokens = images.reshape([b, c, h * w]);
    let scores = tokens.clone().swap_dims(1, 2).matmul(tokens.clone());
    let weights = activation::softmax(scores.mul_scalar(1.0 / (c as f64).sqrt()), 2);
    tokens.matmul(weights.swap_dims(1, 2)).reshape([b, c, h, w])
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(2));
    group
}

criterion_group!(benches, convolutions, others);
criterion_main!(benches);
