//! A block: branches of convolutions over the same maps, whose outcomes are joined.

use super::weight::{Folded, Weights};
use crate::Error;
use burn::tensor::Device;
use fewstep_kernels::{Convolution, Kernel, Maps};
use std::ops::Range;

/// One of the network's blocks.
#[derive(Debug)]
pub(super) struct Block {
    /// All convolutions of one tap that look at the block's input, as one.
    first: Convolution,
    input: usize,
    branches: Vec<Branch>,
    pool: Pool,
}

/// What a branch does after its first convolution of one tap.
#[derive(Debug)]
pub(super) struct Branch {
    /// Its channels of the first convolution's, or `None` for the block's input itself.
    from: Option<Range<usize>>,
    chain: Vec<Convolution>,
    /// Two convolutions side by side, or none.
    ends: Vec<Convolution>,
    inputs: Vec<usize>,
    outputs: usize,
}

/// The last branch.
#[derive(Debug)]
enum Pool {
    /// Every second maximum of the input.
    Halve,
    /// The mean of channels of the first convolution: it is linear, so that it may come after.
    Mean(Range<usize>),
    /// A convolution of maxima.
    Maximum(Box<Convolution>),
}

/// Builds blocks and single convolutions.
pub(super) struct Builder<'a, 'b> {
    pub weights: &'a mut Weights<'b>,
    pub device: &'a Device,
}

/// A branch by the names of its layers: that of one tap which looks at the block's input, or none; those that follow each
/// other; and those side by side at the end.
pub(super) type Plan<'a> = (Option<&'a str>, &'a [&'a str], &'a [&'a str]);

/// What the last branch is, with the name of its layer.
pub(super) enum PoolPlan {
    Halve,
    Mean,
    Maximum,
}

impl Builder<'_, '_> {
    /// One convolution with its rectifier.
    pub fn single(&mut self, name: &str) -> Result<Convolution, Error> {
        let folded = self.weights.take(name)?;
        let output = folded.layer.output;
        Ok(self.convolution(vec![folded], output))
    }

    /// Convolutions of the same input as one, of which the first `rectified` channels are.
    fn convolution(&self, parts: Vec<Folded>, rectified: usize) -> Convolution {
        let layer = parts[0].layer.clone();
        let kernel = Kernel {
            output: parts.iter().map(|part| part.layer.output).sum(),
            input: layer.input,
            taps: layer.taps,
            stride: layer.stride,
            padding: layer.padding,
            rectified,
        };
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for part in parts {
            weight.extend(part.weight);
            bias.extend(part.bias);
        }
        Convolution::new(kernel, weight, bias, self.device)
    }

    /// A block of branches.
    pub fn block(
        &mut self,
        name: &str,
        plans: &[Plan<'_>],
        pool: &PoolPlan,
    ) -> Result<Block, Error> {
        let (mut parts, mut branches, mut channels) = (Vec::new(), Vec::new(), 0);
        for (first, chain, ends) in plans {
            let mut branch = Branch {
                from: None,
                chain: Vec::new(),
                ends: Vec::new(),
                inputs: Vec::new(),
                outputs: 0,
            };
            if let Some(first) = first {
                let part = self.weights.take(&format!("{name}.{first}"))?;
                branch.outputs = part.layer.output;
                branch.from = Some(channels..channels + branch.outputs);
                channels += branch.outputs;
                parts.push(part);
            }
            for (list, names) in [(&mut branch.chain, chain), (&mut branch.ends, ends)] {
                for layer in *names {
                    let part = self.weights.take(&format!("{name}.{layer}"))?;
                    branch.inputs.push(part.layer.input);
                    branch.outputs = part.layer.output;
                    list.push(self.convolution(vec![part], branch.outputs));
                }
            }
            branches.push(branch);
        }
        let rectified = channels;
        let pool = match pool {
            PoolPlan::Halve => Pool::Halve,
            PoolPlan::Maximum => {
                Pool::Maximum(Box::new(self.single(&format!("{name}.branch_pool"))?))
            }
            PoolPlan::Mean => {
                let part = self.weights.take(&format!("{name}.branch_pool"))?;
                let range = channels..channels + part.layer.output;
                parts.push(part);
                Pool::Mean(range)
            }
        };
        let input = parts[0].layer.input;
        Ok(Block {
            first: self.convolution(parts, rectified),
            input,
            branches,
            pool,
        })
    }
}

impl Block {
    /// Maps to maps.
    pub fn forward(&self, input: Maps) -> Maps {
        let first = self.first.forward(&input, 0..self.input);
        let mut found: Vec<Maps> = Vec::new();
        // Where each part of the answer lies: in the first convolution's, or by number in `found`.
        let mut parts: Vec<(Option<usize>, Range<usize>)> = Vec::new();
        for branch in &self.branches {
            let source = match &branch.from {
                Some(range) => (&first, range.clone()),
                None => (&input, 0..self.input),
            };
            if branch.chain.is_empty() && branch.ends.is_empty() {
                parts.push((None, source.1));
                continue;
            }
            let mut now: Option<Maps> = None;
            for (layer, inputs) in branch.chain.iter().zip(&branch.inputs) {
                now = Some(match &now {
                    Some(maps) => layer.forward(maps, 0..*inputs),
                    None => layer.forward(source.0, source.1.clone()),
                });
            }
            if branch.ends.is_empty() {
                parts.push((Some(found.len()), 0..branch.outputs));
                found.extend(now);
                continue;
            }
            for end in &branch.ends {
                parts.push((Some(found.len()), 0..branch.outputs));
                found.push(match &now {
                    Some(maps) => end.forward(maps, 0..maps.dims()[3]),
                    None => end.forward(source.0, source.1.clone()),
                });
            }
        }
        let last = match &self.pool {
            Pool::Halve => input.halve_by_maximum(),
            Pool::Mean(range) => first.rectified_mean(range.clone()),
            Pool::Maximum(layer) => layer.forward(&input.maximum(), 0..self.input),
        };
        parts.push((Some(found.len()), 0..last.dims()[3]));
        found.push(last);
        let parts = parts.into_iter().map(|(at, range)| match at {
            Some(at) => (&found[at], range),
            None => (&first, range),
        });
        Maps::join(&parts.collect::<Vec<_>>())
    }
}
