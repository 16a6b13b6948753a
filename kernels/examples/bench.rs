//! Times this crate's operations against Burn's own on Flex, forward and forward + backward, in the
//! same run. Prints medians in milliseconds and how many times faster the kernels are.
//!
//! `cargo run --release -p fewstep-kernels --example bench [batch]`

use burn::nn::{GroupNorm, GroupNormConfig};
use burn::tensor::module::{avg_pool2d, conv2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions};
use burn::tensor::{Device, Distribution, Tensor, activation};
use fewstep_kernels as k;
use std::time::Instant;

const REPEATS: usize = 7;

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn median(mut work: impl FnMut()) -> f64 {
    work();
    let mut times: Vec<f64> = (0..REPEATS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[REPEATS / 2]
}

type Op<'a> = &'a dyn Fn(Tensor<4>, Tensor<4>) -> Tensor<4>;

/// Times both operations on an input of `shape` and a weight of `weight`.
fn compare(name: &str, shape: [usize; 4], weight: [usize; 4], ours: Op<'_>, burn: Op<'_>) {
    let time = |op: Op<'_>, backward: bool| {
        let device = match backward {
            true => Device::flex().autodiff(),
            false => Device::flex(),
        };
        let (x, w) = (random(shape, &device), random(weight, &device));
        let (x, w) = match backward {
            true => (x.require_grad(), w.require_grad()),
            false => (x, w),
        };
        median(|| {
            let y = op(x.clone(), w.clone());
            if backward {
                let grads = y.sum().backward();
                std::hint::black_box((x.grad(&grads), w.grad(&grads)));
            } else {
                std::hint::black_box(y);
            }
        })
    };
    let row = [
        time(ours, false),
        time(burn, false),
        time(ours, true),
        time(burn, true),
    ];
    println!(
        "{name:<26} {:>8.2} {:>8.2} {:>6.1}x {:>8.2} {:>8.2} {:>6.1}x",
        row[0],
        row[1],
        row[1] / row[0],
        row[2],
        row[3],
        row[3] / row[2]
    );
}

fn main() {
    k::keep_freed_memory();
    let batch = std::env::args()
        .nth(1)
        .and_then(|a| a.parse().ok())
        .unwrap_or(64);
    println!(
        "batch {batch}; ms                forward: ours     Burn          + backward: ours     Burn"
    );
    for (side, cin, cout, size) in [
        (3, 1, 16, 32),
        (3, 16, 16, 32),
        (3, 32, 16, 32),
        (3, 48, 32, 32),
        (3, 16, 1, 32),
        (3, 32, 32, 16),
        (3, 64, 32, 16),
        (3, 96, 32, 16),
        (3, 64, 64, 8),
        (3, 128, 64, 8),
        (1, 48, 16, 32),
        (1, 32, 32, 16),
        (1, 32, 96, 16),
        (1, 64, 192, 8),
    ] {
        let own: Op<'_> = match side {
            1 => &|x, w| k::conv2d_1x1(x, w, None),
            _ => &|x, w| k::conv2d_3x3(x, w, None),
        };
        compare(
            &format!("conv {side}x{side} {cin}->{cout} {size}x{size}"),
            [batch, cin, size, size],
            [cout, cin, side, side],
            own,
            &|x, w| {
                conv2d(
                    x,
                    w,
                    None,
                    ConvOptions::new([1, 1], [side / 2; 2], [1, 1], 1),
                )
            },
        );
    }
    let none = [1, 1, 1, 1];
    for (c, size) in [(16, 32), (32, 32), (32, 16), (64, 16), (64, 8), (128, 8)] {
        let shape = [batch, c, size, size];
        let groups = 32.min(c / 4);
        let image = format!("{c} {size}x{size}");
        let norm = |device: &Device| -> GroupNorm {
            GroupNormConfig::new(groups, c)
                .with_epsilon(1e-6)
                .init(device)
        };
        let (plain, tracked) = (norm(&Device::flex()), norm(&Device::flex().autodiff()));
        let norm = |x: &Tensor<4>| {
            if x.device().is_autodiff() {
                &tracked
            } else {
                &plain
            }
        };
        compare(
            &format!("group norm + silu {image}"),
            shape,
            none,
            &|x, w| {
                let one = Tensor::ones([c], &x.device());
                let zero = Tensor::zeros([c], &x.device());
                k::group_norm_silu(x, None, one, zero, groups, 1e-6, true) * w
            },
            &|x, w| activation::silu(norm(&x).forward(x)) * w,
        );
        compare(
            &format!("silu {image}"),
            shape,
            none,
            &|x, w| k::silu(x) * w,
            &|x, w| activation::silu(x) * w,
        );
        compare(
            &format!("upsample {image}"),
            shape,
            none,
            &|x, w| k::upsample_2x(x) * w,
            &|x, w| {
                let [b, c, h, w_] = x.dims();
                let x = x.reshape([b, c, h, 1, w_, 1]).expand([b, c, h, 2, w_, 2]);
                x.reshape([b, c, 2 * h, 2 * w_]) * w
            },
        );
        compare(
            &format!("downsample {image}"),
            shape,
            none,
            &|x, w| k::downsample_2x(x) * w,
            &|x, w| avg_pool2d(x, AvgPoolOptions::new([2, 2])) * w,
        );
    }
}
