//! What both families of U-Nets are between the embedding and the answer: an encoder, a decoder, and one or more heads.

use super::block::{BlockConfig, BlockStyle, UNetBlock};
use super::outline::{Layer, Place};
use super::plan::Plan;
use super::variant::{Decoder, Encoder};
use crate::Images;
use crate::graph::{Graph, Value};
use crate::layer::{Conv2d, GroupNorm, Resample, ResampleFilter};
use crate::network::inputs::Told;
use crate::network::walk::{START, Walk, joined, trace_joined};
use crate::parameter::Site;
use burn::module::Module;

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

impl Head {
    fn forward(&self, x: Images) -> Images {
        self.conv.forward(self.norm.forward(x, None, true))
    }

    /// [`forward`](Self::forward) in a graph.
    fn trace(&self, graph: &mut Graph, x: &Value) -> Value {
        let x = self.norm.trace(graph, x, None, true);
        self.conv.trace(graph, &x)
    }
}

/// How the layers are joined.
#[derive(Clone, Debug)]
struct Layout {
    /// For each decoder block, whether it takes a kept output, and whether a head follows.
    joins: Vec<(bool, bool)>,
    kind: Encoder,
    filter: ResampleFilter,
}

/// Sums of two branches of the residual encoder keep their variance.
const SIDE_SCALE: f64 = std::f64::consts::FRAC_1_SQRT_2;

impl UNetBody {
    /// `plan` must have passed [`Plan::check`].
    pub(crate) fn new(plan: &Plan<'_>, style: BlockStyle, site: &Site<'_>) -> Self {
        let conv = |layer: &Layer, taps, site: &Site<'_>| {
            Conv2d::new(layer.input, layer.output, taps, Resample::Keep, site)
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
            UNetBlock::new(config, &site.at(&layer.name))
        };
        let mut layers = plan.layers().into_iter();
        let first = layers.next().expect("an outline begins with the stem");
        let mut body = Self {
            stem: conv(&first, 3, &site.at(&first.name)),
            encoder: Vec::new(),
            sides: Vec::new(),
            decoder: Vec::new(),
            heads: Vec::new(),
            layout: Layout {
                joins: Vec::new(),
                kind: plan.encoder(),
                filter: plan.filter(),
            },
        };
        for layer in layers {
            match layer.place {
                Place::Stem => {}
                Place::Encoder(resample, count) => {
                    body.encoder.push(block(&layer, resample, count));
                }
                Place::Side => {
                    let site = site.at(&layer.name);
                    let taps = if body.layout.kind == Encoder::Skip {
                        1
                    } else {
                        3
                    };
                    body.sides.push(conv(&layer, taps, &site));
                }
                Place::Decoder(resample, count, joins) => {
                    body.decoder.push(block(&layer, resample, count));
                    body.layout.joins.push((joins, false));
                }
                Place::Head => {
                    let end = |end: &str| site.at(format_args!("{}_{end}", layer.name));
                    body.heads.push(Head {
                        norm: GroupNorm::new(layer.input, style.epsilon, &end("norm")),
                        conv: conv(&layer, 3, &end("conv").zero()),
                    });
                    if let Some((_, ends)) = body.layout.joins.last_mut() {
                        *ends = true;
                    }
                }
            }
            body.layout.note_filter(plan, &layer, site);
        }
        body
    }

    /// The way from images `[b, channels, h, w]` to the answer, of the same shape.
    pub(crate) fn walk(&self) -> Walk<'_> {
        let mut walk = Walk::new();
        let mut sides = self.sides.iter();
        let mut side = START;
        let mut x = walk.then(
            START,
            |images, _| self.stem.forward(images),
            |graph, images, _| self.stem.trace(graph, images),
        );
        let mut kept = vec![x];
        for block in &self.encoder {
            x = then(&mut walk, block, x);
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
                Some(skip) => walk.add(
                    &[x, skip],
                    |both, told| run(block, joined(both), told),
                    |graph, both, told| {
                        let both = trace_joined(graph, both);
                        block.trace(graph, &both, told)
                    },
                ),
                None => then(&mut walk, block, x),
            };
            if *ends && let Some(head) = heads.next() {
                let up = Resample::Up(self.layout.filter);
                answer = Some(match answer {
                    Some(below) => walk.add(
                        &[x, below],
                        move |mut both, _| {
                            let below = up.apply(both.remove(1));
                            head.forward(both.remove(0)) + below
                        },
                        move |graph, both, _| {
                            let answer = head.trace(graph, &both[0]);
                            let below = up.trace(graph, &both[1], head.conv.weight.dims()[0]);
                            graph.add(&answer, &below)
                        },
                    ),
                    None => walk.then(
                        x,
                        |x, _| head.forward(x),
                        |graph, x, _| head.trace(graph, x),
                    ),
                });
            }
        }
        walk
    }
}

impl Layout {
    /// Notes the constants that official files hold for a layer, besides those of blocks.
    fn note_filter(&self, plan: &Plan<'_>, layer: &Layer, site: &Site<'_>) {
        let size = layer.resolution;
        match (layer.place, self.kind) {
            // Images that are halved before they are added.
            (Place::Side, Encoder::Skip) => {
                let site = site.at(format_args!("enc.{size}x{size}_aux_down"));
                self.filter.note(&site);
            }
            (Place::Side, _) => self.filter.note(&site.at(&layer.name)),
            // The answer of the level below is doubled.
            (Place::Head, _)
                if plan.decoder() == Decoder::Skip && size != plan.lowest_resolution() =>
            {
                self.filter
                    .note(&site.at(format_args!("{}_up", layer.name)));
            }
            _ => {}
        }
    }

    /// Brings `side` down to the size of `x`; returns the sum, and what goes further down.
    fn join_side<'a>(
        &'a self,
        walk: &mut Walk<'a>,
        conv: &'a Conv2d,
        side: usize,
        x: usize,
    ) -> (usize, usize) {
        if self.kind == Encoder::Skip {
            let down = Resample::Down(self.filter);
            let side = walk.then(
                side,
                move |side, _| down.apply(side),
                move |graph, side, _| down.trace(graph, side, conv.weight.dims()[1]),
            );
            let sum = walk.add(
                &[x, side],
                |mut both, _| {
                    let side = conv.forward(both.remove(1));
                    both.remove(0) + side
                },
                |graph, both, _| {
                    let side = conv.trace(graph, &both[1]);
                    graph.add(&both[0], &side)
                },
            );
            return (sum, side);
        }
        let sum = walk.add(
            &[x, side],
            |mut both, _| {
                let side = both.remove(1);
                let side = self.filter.halve_answer(side, |side| conv.forward(side));
                (both.remove(0) + side).mul_scalar(SIDE_SCALE)
            },
            |graph, both, _| {
                let wider = conv.trace_strided(graph, &both[1], 1, 2);
                let side = self
                    .filter
                    .trace_halved(graph, &wider, conv.weight.dims()[0]);
                let sum = graph.add(&both[0], &side);
                graph.scale(&sum, SIDE_SCALE)
            },
        );
        (sum, sum)
    }
}

/// Adds a block that takes one answer.
fn then<'a>(walk: &mut Walk<'a>, block: &'a UNetBlock, x: usize) -> usize {
    walk.then(
        x,
        |x, told| run(block, x, told),
        |graph, x, told| block.trace(graph, x, told),
    )
}

fn run(block: &UNetBlock, images: Images, told: &Told<'_>) -> Images {
    let embedding = (&told.time, told.each);
    block.forward(images, embedding, told.step.as_ref(), told.dropout)
}
