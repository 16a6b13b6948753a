use crate::{inputs, run};
use burn::tensor::{DType, Device, Tensor, TensorData};
use fewstep_kernels::{add_scaled, conv2d_1x1, conv2d_3x3, group_norm_silu, join_channels, silu};

/// Bits of the output and all gradients of a small network of `c` channels, on `threads` threads.
fn bits(threads: usize, c: usize) -> Vec<Vec<u64>> {
    let [b, h, w] = [40, 15, 12];
    let lens = [b * c * h * w, c * c * 9, c, c, b * c, 2 * c * c, c];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let result = pool.expect("thread pool").install(|| {
        run(&inputs(&lens, 1.0), DType::F32, &|t| {
            let t = |i: usize| t[i].clone();
            let x: Tensor<4> = t(0).reshape([b, c, h, w]);
            let x = conv2d_3x3(x, t(1).reshape([c, c, 3, 3]), Some(t(2)));
            let x = group_norm_silu(x, Some(t(4).reshape([b, c])), t(3), t(6), 2, 1e-6, true);
            let x = add_scaled(silu(x.clone()), x, 0.7);
            let x = join_channels(x.clone(), silu(x));
            let x = conv2d_1x1(x, t(5).reshape([c, 2 * c, 1, 1]), None);
            x.reshape([b * c * h * w])
        })
    });
    let to_bits = |v: Vec<f64>| v.into_iter().map(f64::to_bits).collect();
    result.into_iter().map(to_bits).collect()
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    // Either transform; sums in groups and sums together.
    for channels in [8, 16, 50] {
        let one = bits(1, channels);
        assert_eq!(one, bits(2, channels), "{channels} channels");
        assert_eq!(one, bits(5, channels), "{channels} channels");
    }
}

#[test]
fn images_do_not_depend_on_their_batch() {
    let device = Device::flex();
    let tensor = |seed, shape: [usize; 4]| {
        let values = crate::values(seed, shape.iter().product(), 1.0);
        Tensor::<4>::from_data(TensorData::new(values, shape), &device)
    };
    for [channels, height, width] in [[3, 7, 12], [16, 8, 8], [40, 9, 5], [520, 5, 6]] {
        let (batch, outputs) = (5, if channels > 500 { 505 } else { 7 });
        let x = tensor(1, [batch, channels, height, width]);
        let weight = tensor(2, [outputs, channels, 3, 3]);
        let bits = |x: Tensor<4>| -> Vec<u32> {
            let y = conv2d_3x3(x, weight.clone(), None).into_data();
            y.iter::<f32>().map(f32::to_bits).collect()
        };
        let single = (0..batch).flat_map(|n| bits(x.clone().narrow(0, n, 1)));
        assert_eq!(bits(x.clone()), single.collect::<Vec<_>>());
    }
}
