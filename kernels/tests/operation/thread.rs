use crate::{inputs, run};
use burn::tensor::{DType, Tensor};
use fewstep_kernels::{conv2d_1x1, conv2d_3x3, group_norm_silu, silu};

/// Bits of the output and all gradients of a small network, on `threads` threads.
fn bits(threads: usize) -> Vec<Vec<u64>> {
    let [b, c, h, w] = [40, 8, 7, 12];
    let lens = [b * c * h * w, c * c * 9, c, c, b * c, c * c, c];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let result = pool.expect("thread pool").install(|| {
        run(&inputs(&lens, 1.0), DType::F32, &|t| {
            let t = |i: usize| t[i].clone();
            let x: Tensor<4> = t(0).reshape([b, c, h, w]);
            let x = conv2d_3x3(x, t(1).reshape([c, c, 3, 3]), Some(t(2)));
            let x = group_norm_silu(x, Some(t(4).reshape([b, c])), t(3), t(6), 2, 1e-6, true);
            let x = conv2d_1x1(silu(x), t(5).reshape([c, c, 1, 1]), None);
            x.reshape([b * c * h * w])
        })
    });
    let to_bits = |v: Vec<f64>| v.into_iter().map(f64::to_bits).collect();
    result.into_iter().map(to_bits).collect()
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let one = bits(1);
    assert_eq!(one, bits(2));
    assert_eq!(one, bits(5));
}
