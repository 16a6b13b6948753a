//! The public operations: the kernels where they apply, Burn's own operations elsewhere.

use super::extension::Kernels;
use burn::backend::Dispatch;
use burn::tensor::ops::{AttentionModuleOptions, AvgPoolOptions, ConvOptions};
use burn::tensor::{DType, Device, Tensor, activation, module};

/// Whether the kernels can take this tensor: f32 on Flex.
fn supported<const D: usize>(t: &Tensor<D>) -> bool {
    t.dtype() == DType::F32 && t.device() == Device::flex()
}

/// In f32 if it is in half precision.
fn single<const D: usize>(t: Tensor<D>) -> Tensor<D> {
    match t.dtype() {
        DType::F16 | DType::BF16 => t.cast(DType::F32),
        _ => t,
    }
}

/// 3x3 convolution, stride 1, padding 1: `x` `[B, Cin, H, W]`, `weight` `[Cout, Cin, 3, 3]`, `bias`
/// `[Cout]` -> `[B, Cout, H, W]`.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn conv2d_3x3(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<4> {
    conv2d_same(x, weight, bias, 3)
}

/// 1x1 convolution: `x` `[B, Cin, H, W]`, `weight` `[Cout, Cin, 1, 1]`, `bias` `[Cout]` -> `[B, Cout, H, W]`.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn conv2d_1x1(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<4> {
    conv2d_same(x, weight, bias, 1)
}

fn conv2d_same(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, side: usize) -> Tensor<4> {
    let ([_, cin, _, _], [cout, weight_cin, kh, kw]) = (x.dims(), weight.dims());
    assert!(
        (weight_cin, kh, kw) == (cin, side, side),
        "weight [{cout}, {weight_cin}, {kh}, {kw}] does not fit {cin} input channels and {side}x{side} taps"
    );
    if let Some(bias) = &bias {
        assert_eq!(bias.dims(), [cout], "one bias per output channel");
    }
    if !(supported(&x) && supported(&weight) && bias.as_ref().is_none_or(supported)) {
        let options = ConvOptions::new([1, 1], [side / 2; 2], [1, 1], 1);
        return module::conv2d(x, weight, bias, options);
    }
    let bias = bias.unwrap_or_else(|| Tensor::zeros([cout], (&weight.device(), DType::F32)));
    Tensor::from_dispatch(Dispatch::conv2d_same(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// Group normalisation with a shift before it and SiLU after it:
/// `silu(norm(x + shift[:, :, None, None]) * gamma + beta)`, without SiLU if `silu` is false.
///
/// `x` is `[B, C, H, W]`, `shift` `[B, C]`, `gamma` and `beta` `[C]`; mean and biased variance are taken
/// over each sample's `C / groups` neighbouring channels; `eps` is added to the variance.
///
/// # Panics
/// If `groups` does not divide C or the shapes do not fit each other.
pub fn group_norm_silu(
    x: Tensor<4>,
    shift: Option<Tensor<2>>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    eps: f64,
    silu: bool,
) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    assert!(
        groups > 0 && c.is_multiple_of(groups),
        "{groups} groups do not divide {c} channels"
    );
    assert_eq!(
        (gamma.dims(), beta.dims()),
        ([c], [c]),
        "one gamma and beta per channel"
    );
    if let Some(shift) = &shift {
        assert_eq!(shift.dims(), [b, c], "one shift per sample and channel");
    }
    let kernels = supported(&x)
        && supported(&gamma)
        && supported(&beta)
        && shift.as_ref().is_none_or(supported);
    if !kernels {
        let x = match shift {
            Some(shift) => x + shift.reshape([b, c, 1, 1]),
            None => x,
        };
        // A sum of squares in half precision is soon infinite, and the result silently `beta`.
        let dtype = x.dtype();
        let [gamma, beta] = [gamma, beta].map(|t| single(t).reshape([1, c, 1, 1]));
        let x = single(x).reshape([b, groups, c / groups * h * w]);
        let (variance, mean) = x.clone().var_mean_bias(2);
        let x = (x - mean) / (variance + eps).sqrt();
        let x = x.reshape([b, c, h, w]) * gamma + beta;
        let x = if silu { activation::silu(x) } else { x };
        return x.cast(dtype);
    }
    let shift = shift.unwrap_or_else(|| Tensor::zeros([b, c], (&gamma.device(), DType::F32)));
    Tensor::from_dispatch(Dispatch::group_norm_silu(
        x.into_dispatch(),
        shift.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        groups,
        eps,
        silu,
    ))
}

/// `x * sigmoid(x)`, any shape.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !supported(&x) {
        return activation::silu(x);
    }
    Tensor::from_dispatch(Dispatch::silu_fast(x.into_dispatch()))
}

/// `(a + b) * scale` in one pass, any shape.
///
/// # Panics
/// If the shapes differ.
pub fn add_scaled<const D: usize>(a: Tensor<D>, b: Tensor<D>, scale: f64) -> Tensor<D> {
    assert_eq!(a.dims(), b.dims(), "a sum of equal shapes");
    if !(supported(&a) && supported(&b)) {
        let sum = a + b;
        return if scale == 1.0 {
            sum
        } else {
            sum.mul_scalar(scale)
        };
    }
    Tensor::from_dispatch(Dispatch::add_scaled(
        a.into_dispatch(),
        b.into_dispatch(),
        scale,
    ))
}

/// The channels of `a`, then those of `b`: `[B, Ca, H, W]` and `[B, Cb, H, W]` -> `[B, Ca + Cb, H, W]`.
///
/// # Panics
/// If the shapes differ in more than the channels.
pub fn join_channels(a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
    let ([batch, _, h, w], [other, _, other_h, other_w]) = (a.dims(), b.dims());
    assert_eq!(
        [batch, h, w],
        [other, other_h, other_w],
        "images of the same size"
    );
    if !(supported(&a) && supported(&b)) {
        return Tensor::cat(vec![a, b], 1);
    }
    Tensor::from_dispatch(Dispatch::join_channels(
        a.into_dispatch(),
        b.into_dispatch(),
    ))
}

/// Nearest-neighbour upsampling: [B, C, H, W] -> [B, C, 2H, 2W], each pixel a 2x2 block.
pub fn upsample_2x(x: Tensor<4>) -> Tensor<4> {
    if !supported(&x) {
        let [b, c, h, w] = x.dims();
        let x = x.reshape([b, c, h, 1, w, 1]).expand([b, c, h, 2, w, 2]);
        return x.reshape([b, c, 2 * h, 2 * w]);
    }
    Tensor::from_dispatch(Dispatch::double(x.into_dispatch()))
}

/// Mean over 2x2 blocks: [B, C, H, W] -> [B, C, H / 2, W / 2]; an odd last row or column is left out.
pub fn downsample_2x(x: Tensor<4>) -> Tensor<4> {
    if !supported(&x) {
        return module::avg_pool2d(x, AvgPoolOptions::new([2, 2]));
    }
    Tensor::from_dispatch(Dispatch::halve(x.into_dispatch()))
}

/// Scaled dot-product attention, softmax(q k^T / sqrt(width)) v, without ever holding all scores: `query`
/// `[B, heads, N, width]`, `key` and `value` `[B, heads, M, width]` -> `[B, heads, N, width]`. None of them need be
/// contiguous. With `tokens` the answer lies in memory as `[B, N, heads, width]`, else as `[B, heads, width, N]`.
///
/// # Panics
/// If the shapes do not fit each other, or there are no keys or no numbers in one.
pub fn attention(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, tokens: bool) -> Tensor<4> {
    let [b, heads, _, width] = query.dims();
    let [_, _, keys, _] = key.dims();
    assert_eq!(
        key.dims(),
        [b, heads, keys, width],
        "keys of the queries' heads"
    );
    assert_eq!(value.dims(), key.dims(), "one value for each key");
    assert!(keys > 0 && width > 0, "attention needs keys");
    if !(supported(&query) && supported(&key) && supported(&value)) {
        if let DType::F16 | DType::BF16 = query.dtype() {
            let options = AttentionModuleOptions::default();
            return module::attention(query, key, value, None, None, options);
        }
        // Burn's own may compute in half precision on a GPU, whatever it is given.
        let query = query.mul_scalar(1.0 / (width as f64).sqrt());
        let weights = activation::softmax(query.matmul(key.swap_dims(2, 3)), 3);
        return weights.matmul(value);
    }
    let answer = Tensor::from_dispatch(Dispatch::attention_tiled(
        query.into_dispatch(),
        key.into_dispatch(),
        value.into_dispatch(),
        tokens,
    ));
    match tokens {
        true => answer.swap_dims(1, 2),
        false => answer.swap_dims(2, 3),
    }
}

/// [`attention`] among the same tokens, with queries, keys and values in one tensor: `[B, 3 heads, width, N]`, all heads of
/// the queries first -> `[B, heads, width, N]`.
///
/// # Panics
/// If the heads cannot be divided among the three, or there are no tokens or no numbers in one.
pub fn self_attention(qkv: Tensor<4>) -> Tensor<4> {
    let [_, all, width, tokens] = qkv.dims();
    assert!(
        all > 0 && all.is_multiple_of(3),
        "{all} heads are not queries, keys and values"
    );
    assert!(tokens > 0 && width > 0, "attention needs keys");
    if !supported(&qkv) {
        let heads = all / 3;
        let part = |i: usize| qkv.clone().narrow(1, i * heads, heads).swap_dims(2, 3);
        return attention(part(0), part(1), part(2), false).swap_dims(2, 3);
    }
    Tensor::from_dispatch(Dispatch::self_attention(qkv.into_dispatch()))
}

/// A linear layer over rows of which each belongs to another sample, `x w^T`: `x` `[rows, in]`, `weight` `[out, in]` ->
/// `[rows, out]`. A row's answer depends on that row alone, to the bit; of Burn's own product it depends on how many
/// there are.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    let ([_, depth], [_, inputs]) = (x.dims(), weight.dims());
    assert_eq!(depth, inputs, "as many inputs as a row has numbers");
    if !(supported(&x) && supported(&weight)) || depth == 0 {
        return x.matmul(weight.transpose());
    }
    Tensor::from_dispatch(Dispatch::linear(x.into_dispatch(), weight.into_dispatch()))
}

/// `value * gelu(gate)` with exact GELU: `[rows, 2 n]`, values before gates -> `[rows, n]`.
///
/// # Panics
/// If the rows cannot be halved.
pub fn gated_gelu(x: Tensor<2>) -> Tensor<2> {
    let [_, columns] = x.dims();
    assert!(
        columns.is_multiple_of(2),
        "{columns} columns cannot be halved"
    );
    if !supported(&x) {
        let width = columns / 2;
        let (value, gate) = (x.clone().narrow(1, 0, width), x.narrow(1, width, width));
        return value * activation::gelu(gate);
    }
    Tensor::from_dispatch(Dispatch::gated_gelu(x.into_dispatch()))
}
