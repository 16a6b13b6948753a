//! What both families of U-Nets are between the embedding and the answer: an encoder, a decoder, and one or more heads.

use super::layers::{Conv2d, GroupNorm};
use super::outline::{Layer, Part};
use super::plan::Plan;
use super::resample::{Resample, ResampleFilter};
use super::song_unet::Encoder;
use super::unet_block::{BlockConfig, BlockStyle, UNetBlock, official_block_path};
use super::walk::{START, Told, Walk, joined};
use crate::Images;
use burn::module::Module;
use burn::tensor::Device;

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

    /// The way from images `[b, channels, h, w]` to the answer, of the same shape.
    pub(super) fn walk(&self) -> Walk<'_> {
        let mut walk = Walk::new();
        let mut sides = self.sides.iter();
        let mut side = START;
        let mut x = walk.then(START, |images, _| self.stem.forward(images));
        let mut kept = vec![x];
        for block in &self.encoder {
            x = walk.then(x, |x, told| run(block, x, told));
            if block.halves()
                && let Some(conv) = sides.next()
            {
                (x, side) = self.layout.join_side(&mut walk, conv, side, x);
            }
            kept.push(x);
        }
        let mut heads = self.heads.iter();
        let mut answer = None;
        for (block, (joins, ends)) in self.decoder.iter().zip(&self.layout.joins) {
            x = match if *joins { kept.pop() } else { None } {
                Some(skip) => walk.add(&[x, skip], |both, told| run(block, joined(both), told)),
                None => walk.then(x, |x, told| run(block, x, told)),
            };
            if *ends && let Some(head) = heads.next() {
                let part = |x| head.conv.forward(head.norm.forward(x, None, true));
                answer = Some(match answer {
                    Some(below) => walk.add(&[x, below], move |mut both, _| {
                        let below = Resample::Up(self.layout.filter).apply(both.remove(1));
                        part(both.remove(0)) + below
                    }),
                    None => walk.then(x, move |x, _| part(x)),
                });
            }
        }
        walk
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
    fn join_side<'a>(
        &'a self,
        walk: &mut Walk<'a>,
        conv: &'a Conv2d,
        side: usize,
        x: usize,
    ) -> (usize, usize) {
        if self.kind == Encoder::Skip {
            let side = walk.then(side, |side, _| Resample::Down(self.filter).apply(side));
            let sum = walk.add(&[x, side], |mut both, _| {
                let side = conv.forward(both.remove(1));
                both.remove(0) + side
            });
            return (sum, side);
        }
        let sum = walk.add(&[x, side], |mut both, _| {
            let side = both.remove(1);
            let side = self.filter.halve_answer(side, |side| conv.forward(side));
            (both.remove(0) + side).mul_scalar(SIDE_SCALE)
        });
        (sum, sum)
    }
}

fn run(block: &UNetBlock, images: Images, told: &Told<'_>) -> Images {
    let embedding = (&told.time, told.each);
    block.forward(images, embedding, told.step.as_ref(), told.dropout)
}
