//! What both families of U-Nets are between the embedding and the answer: an encoder, a decoder, and one or more heads.

use super::layers::{Conv2d, Dropout, GroupNorm};
use super::outline::{Layer, Part};
use super::plan::Plan;
use super::resample::{Resample, ResampleFilter};
use super::song_unet::Encoder;
use super::unet_block::{BlockConfig, BlockStyle, UNetBlock, official_block_path};
use crate::Images;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

/// Encoder, decoder and heads.
#[derive(Module, Debug)]
pub(crate) struct UNetBody {
    stem: Conv2d,
    encoder: Vec<UNetBlock>,
    /// One for each halving; none in a standard encoder.
    sides: Vec<Conv2d>,
    decoder: Vec<UNetBlock>,
    /// The last only in a standard decoder.
    heads: Vec<Head>,
    #[module(skip)]
    layout: Layout,
}

/// Norm, SiLU and convolution to the channels of the images.
#[derive(Module, Debug)]
struct Head {
    norm: GroupNorm,
    conv: Conv2d,
}

/// How the layers are joined, and their official names without `model.`.
#[derive(Clone, Debug)]
struct Layout {
    stem: String,
    encoder: Vec<String>,
    sides: Vec<String>,
    decoder: Vec<String>,
    heads: Vec<String>,
    /// For each decoder block, whether it takes a kept output, and whether a head follows.
    joins: Vec<(bool, bool)>,
    kind: Encoder,
    filter: ResampleFilter,
}

/// Sums of two branches of the residual encoder keep their variance.
const SIDE_SCALE: f64 = std::f64::consts::FRAC_1_SQRT_2;

impl UNetBody {
    /// All weights zero and norms one; `plan` must have passed [`Plan::check`].
    pub(crate) fn new(plan: &Plan<'_>, style: BlockStyle, device: &Device) -> Self {
        let conv = |layer: &Layer, taps| {
            Conv2d::new(layer.input, layer.output, taps, Resample::Keep, device)
        };
        let block = |layer: &Layer, resample, heads| {
            let config = BlockConfig {
                input: layer.input,
                output: layer.output,
                embedding: plan.embedding(),
                resample,
                heads,
                skip_weights: plan.has_skip_weights(layer.input, layer.output, resample),
                step_branch: plan.step_branch,
                dropout: plan.dropout,
                style,
            };
            UNetBlock::new(config, device)
        };
        let mut layers = plan.layers().into_iter();
        let first = layers.next().expect("an outline begins with the stem");
        let mut layout = Layout {
            stem: first.name.clone(),
            encoder: Vec::new(),
            sides: Vec::new(),
            decoder: Vec::new(),
            heads: Vec::new(),
            joins: Vec::new(),
            kind: plan.encoder(),
            filter: plan.filter(),
        };
        let (mut encoder, mut sides) = (Vec::new(), Vec::new());
        let (mut decoder, mut heads) = (Vec::new(), Vec::new());
        for layer in layers {
            match layer.part {
                Part::Stem => {}
                Part::Encoder(resample, count) => {
                    encoder.push(block(&layer, resample, count));
                    layout.encoder.push(layer.name);
                }
                Part::Side => {
                    let taps = if layout.kind == Encoder::Skip { 1 } else { 3 };
                    sides.push(conv(&layer, taps));
                    layout.sides.push(layer.name);
                }
                Part::Decoder(resample, count, joins) => {
                    decoder.push(block(&layer, resample, count));
                    layout.decoder.push(layer.name);
                    layout.joins.push((joins, false));
                }
                Part::Head => {
                    heads.push(Head {
                        norm: GroupNorm::new(layer.input, style.epsilon, device),
                        conv: conv(&layer, 3),
                    });
                    layout.heads.push(layer.name);
                    if let Some((_, ends)) = layout.joins.last_mut() {
                        *ends = true;
                    }
                }
            }
        }
        Self {
            stem: conv(&first, 3),
            encoder,
            sides,
            decoder,
            heads,
            layout,
        }
    }

    /// `images` `[b, channels, h, w]` and the answer, of the same shape; embeddings as in [`UNetBlock::forward`].
    pub(crate) fn forward(
        &self,
        images: Images,
        embedding: &Tensor<2>,
        step: Option<&Tensor<2>>,
        dropout: Option<&Dropout>,
    ) -> Images {
        let mut sides = self.sides.iter();
        let mut side = (!self.sides.is_empty()).then(|| images.clone());
        let mut x = self.stem.forward(images);
        let mut kept = vec![x.clone()];
        for block in &self.encoder {
            x = block.forward(x, embedding, step, dropout);
            if block.halves()
                && let (Some(conv), Some(from)) = (sides.next(), side.take())
            {
                let (joined, next) = self.layout.join_side(conv, from, x);
                (x, side) = (joined, Some(next));
            }
            kept.push(x.clone());
        }
        let mut heads = self.heads.iter();
        let mut answer: Option<Images> = None;
        for (block, (joins, ends)) in self.decoder.iter().zip(&self.layout.joins) {
            if *joins && let Some(skip) = kept.pop() {
                x = Tensor::cat(vec![x, skip], 1);
            }
            x = block.forward(x, embedding, step, dropout);
            if *ends && let Some(head) = heads.next() {
                let part = head.conv.forward(head.norm.forward(x.clone(), None, true));
                answer = Some(match answer {
                    Some(below) => part + Resample::Up(self.layout.filter).apply(below),
                    None => part,
                });
            }
        }
        answer.expect("an outline ends with a head")
    }

    /// The filter of halving and doubling.
    pub(crate) fn filter(&self) -> ResampleFilter {
        self.layout.filter
    }

    /// `encoder.3.conv0.weight` to `model.enc.16x16_block0.conv0.weight`, and so on.
    pub(crate) fn official_name(&self, path: &str) -> String {
        let (head, rest) = path.split_once('.').unwrap_or((path, ""));
        let (index, inside) = rest.split_once('.').unwrap_or((rest, ""));
        let names = match head {
            "stem" => return format!("model.{}.{rest}", self.layout.stem),
            "encoder" => &self.layout.encoder,
            "sides" => &self.layout.sides,
            "decoder" => &self.layout.decoder,
            _ => &self.layout.heads,
        };
        let name = index.parse().ok().and_then(|i: usize| names.get(i));
        let name = name.map_or("?", String::as_str);
        let separator = if head == "heads" { "_" } else { "." };
        format!("model.{name}{separator}{}", official_block_path(inside))
    }
}

impl Layout {
    /// Brings `side` down to the size of `x`; returns the sum, and what goes further down.
    fn join_side(&self, conv: &Conv2d, side: Images, x: Images) -> (Images, Images) {
        if self.kind == Encoder::Skip {
            let side = Resample::Down(self.filter).apply(side);
            return (x + conv.forward(side.clone()), side);
        }
        let side = self.filter.halve_answer(side, |side| conv.forward(side));
        let sum = (x + side).mul_scalar(SIDE_SCALE);
        (sum.clone(), sum)
    }
}
