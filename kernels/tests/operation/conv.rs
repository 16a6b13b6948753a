use crate::{check, inputs};
use burn::tensor::Tensor;
use fewstep_kernels::{conv2d_1x1, conv2d_3x3};

/// [batch, cin, cout, height, width]: single samples, channels and pixels, ragged rows, whole vectors,
/// channels that do and do not fill the kernels' blocks, few and many, batches over one group of samples.
const SHAPES: &[[usize; 5]] = &[
    [1, 1, 1, 1, 1],
    [1, 1, 4, 7, 5],
    [2, 3, 5, 7, 5],
    [3, 4, 6, 5, 17],
    [2, 16, 16, 8, 8],
    [1, 8, 7, 32, 32],
    [5, 6, 9, 16, 16],
    [35, 2, 3, 4, 9],
    [2, 64, 32, 8, 8],
    [1, 12, 7, 9, 10],
    [3, 20, 13, 6, 7],
    [1, 33, 18, 5, 18],
    [1, 16, 1, 3, 33],
    [70, 13, 2, 4, 4],
    // Small images with many channels.
    [2, 512, 515, 3, 5],
    [17, 521, 512, 4, 4],
];

fn conv(s: [usize; 5], side: usize, bias: bool) {
    let [b, ci, co, h, w] = s;
    let mut lens = vec![b * ci * h * w, co * ci * side * side];
    lens.extend(bias.then_some(co));
    check(
        &format!("{side}x{side} {s:?}"),
        &inputs(&lens, 1.0),
        1e-6,
        &|t| {
            let x: Tensor<4> = t[0].clone().reshape([b, ci, h, w]);
            let weight: Tensor<4> = t[1].clone().reshape([co, ci, side, side]);
            let bias = t.get(2).cloned();
            let y = match side {
                1 => conv2d_1x1(x, weight, bias),
                _ => conv2d_3x3(x, weight, bias),
            };
            assert_eq!(y.dims(), [b, co, h, w]);
            y.reshape([b * co * h * w])
        },
    );
}

#[test]
fn three_by_three_matches_burn_in_f64() {
    for &s in SHAPES {
        conv(s, 3, true);
        conv(s, 3, false);
    }
}

#[test]
fn one_by_one_matches_burn_in_f64() {
    for &s in SHAPES {
        conv(s, 1, true);
        conv(s, 1, false);
    }
}

#[test]
fn takes_views_that_are_not_contiguous() {
    let [b, ci, co, h, w] = [2, 3, 4, 6, 10];
    let lens = [(b + 1) * ci * h * w, co * ci * 9, co];
    check("view", &inputs(&lens, 1.0), 1e-6, &|t| {
        // A transposed slice as input, and a transposed result so that the gradient comes as a view.
        let x: Tensor<4> = t[0].clone().reshape([b + 1, h, w, ci]);
        let x = x.permute([0, 3, 1, 2]).narrow(0, 1, b);
        let weight: Tensor<4> = t[1].clone().reshape([3, 3, ci, co]);
        let y = conv2d_3x3(x, weight.permute([3, 2, 0, 1]), Some(t[2].clone()));
        y.permute([1, 3, 0, 2]).reshape([b * co * h * w])
    });
}

#[test]
#[should_panic(expected = "does not fit")]
fn refuses_weights_for_other_channels() {
    let device = burn::tensor::Device::flex();
    let x = Tensor::<4>::zeros([1, 2, 4, 4], &device);
    let weight = Tensor::<4>::zeros([3, 5, 3, 3], &device);
    conv2d_3x3(x, weight, None);
}

#[test]
fn an_empty_batch_gives_an_empty_result() {
    let device = burn::tensor::Device::flex();
    let x = Tensor::<4>::zeros([0, 2, 4, 4], &device);
    let weight = Tensor::<4>::ones([3, 2, 3, 3], &device);
    assert_eq!(conv2d_3x3(x, weight, None).dims(), [0, 3, 4, 4]);
}
