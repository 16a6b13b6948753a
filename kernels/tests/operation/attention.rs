use crate::{check, inputs, values};
use burn::tensor::{Device, Tensor, TensorData};
use fewstep_kernels::{attention, gated_gelu, self_attention};

/// [batch, heads, queries, keys, width]: single ones, widths that fill no vector, one, and several panels; keys and queries
/// over a tile and a block, and just short of them.
const SHAPES: &[[usize; 5]] = &[
    [1, 1, 1, 1, 1],
    [1, 1, 5, 3, 3],
    [2, 3, 7, 9, 8],
    [1, 2, 48, 128, 12],
    [1, 1, 49, 129, 40],
    [2, 2, 100, 77, 20],
    [1, 1, 130, 300, 33],
    [3, 1, 16, 16, 160],
];

#[test]
fn attention_matches_burn_in_f64() {
    for &[b, h, n, m, w] in SHAPES {
        for scale in [0.3, 3.0] {
            for tokens in [false, true] {
                let all = inputs(&[b * h * n * w, b * h * m * w, b * h * m * w], scale);
                // Exponentials of sums of up to 160 products.
                check(
                    &format!("{:?} {scale}", [b, h, n, m, w]),
                    &all,
                    4e-6,
                    &|t| {
                        // As transformers have them, one token after the other, and as convolutions do.
                        let heads = |t: &Tensor<1>, n: usize| match tokens {
                            true => t.clone().reshape([b, n, h, w]).swap_dims(1, 2),
                            false => t.clone().reshape([b, h, w, n]).swap_dims(2, 3),
                        };
                        let y =
                            attention(heads(&t[0], n), heads(&t[1], m), heads(&t[2], m), tokens);
                        assert_eq!(y.dims(), [b, h, n, w]);
                        y.reshape([b * h * n * w])
                    },
                );
            }
        }
    }
}

#[test]
fn self_attention_is_attention_with_queries_keys_and_values_in_one() {
    for [b, h, w, n] in [[1, 1, 1, 1], [2, 1, 3, 5], [1, 2, 40, 49], [3, 2, 17, 130]] {
        let all = inputs(&[3 * b * h * w * n], 1.0);
        check(&format!("{:?}", [b, h, w, n]), &all, 4e-6, &|t| {
            let y = self_attention(t[0].clone().reshape([b, 3 * h, w, n]));
            assert_eq!(y.dims(), [b, h, w, n]);
            y.reshape([b * h * w * n])
        });
        let qkv = tensor(7, [b, 3 * h, w, n], 1.0);
        let part = |i: usize| qkv.clone().narrow(1, i * h, h).swap_dims(2, 3);
        let apart = attention(part(0), part(1), part(2), false).swap_dims(2, 3);
        assert_eq!(bits(self_attention(qkv.clone())), bits(apart));
    }
}

fn tensor(seed: u64, shape: [usize; 4], scale: f32) -> Tensor<4> {
    let values = values(seed, shape.iter().product(), scale);
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn bits(t: Tensor<4>) -> Vec<u32> {
    t.into_data().iter::<f32>().map(f32::to_bits).collect()
}

#[test]
fn attention_of_a_head_depends_on_nothing_else() {
    let [b, h, n, w] = [3, 2, 60, 24];
    let [q, k, v] = [1, 2, 3].map(|seed| tensor(seed, [b, h, n, w], 1.0));
    let all = attention(q.clone(), k.clone(), v.clone(), false);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let all = [q.clone(), k.clone(), v.clone()];
        pool.expect("thread pool").install(|| {
            let [q, k, v] = all;
            bits(attention(q, k, v, true))
        })
    };
    assert_eq!(run(1), run(3));
    assert_eq!(run(1), bits(all.clone()));
    for i in 0..b {
        let one = |t: &Tensor<4>| t.clone().narrow(0, i, 1).narrow(1, 1, 1);
        let single = attention(one(&q), one(&k), one(&v), false);
        assert_eq!(bits(single), bits(one(&all)));
    }
}

#[test]
fn attention_bears_large_scores_and_shows_broken_ones() {
    let [q, k, v] = [1, 2, 3].map(|seed| tensor(seed, [1, 1, 20, 8], 100.0));
    let y = attention(q.clone(), k.clone(), v.clone(), true);
    assert!(y.into_data().iter::<f32>().all(|v| v.abs() <= 100.0));
    for bad in [f32::NAN, f32::INFINITY] {
        let broken = v.clone().slice_assign(
            [0..1, 0..1, 3..4, 0..8],
            Tensor::full([1, 1, 1, 8], bad, &Device::flex()),
        );
        for (q, v) in [(q.clone(), broken.clone()), (broken, v.clone())] {
            let y = attention(q, k.clone(), v, true).into_data();
            assert!(y.iter::<f32>().any(|v| !v.is_finite()));
        }
    }
}

#[test]
fn gates_match_burn_in_f64() {
    for [rows, width] in [[1, 1], [3, 7], [5, 8], [70, 33]] {
        for scale in [0.1, 1.0, 6.0, 50.0] {
            let x = inputs(&[rows * 2 * width], scale);
            check(&format!("{rows} {width} {scale}"), &x, 5e-7, &|t| {
                let y = gated_gelu(t[0].clone().reshape([rows, 2 * width]));
                y.reshape([rows * width])
            });
        }
    }
}
