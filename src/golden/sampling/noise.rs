//! Noise of PyTorch's generators.

use crate::Error;
use crate::golden::case::Case;
use crate::golden::measure::Report;
use crate::golden::measure::{Measure, Problem, largest, worse};
use crate::noise::{TorchCpu, TorchCuda};
use burn::tensor::Device;
use serde_json::Value;

/// Classes of the labels in a sequence, by definition of the kind.
const CLASSES: u64 = 10;

/// A generator to be seeded.
#[derive(Clone, Copy)]
enum Kind {
    Cpu,
    /// On a device that runs so many blocks at a time.
    Cuda(u32),
}

/// A seeded one.
enum Torch {
    Cpu(Box<TorchCpu>),
    Cuda(TorchCuda),
}

impl Kind {
    fn read(case: &Case) -> Result<Self, Problem> {
        let config = case.config();
        match case.text(config, "generator")? {
            "torch-cpu" => Ok(Self::Cpu),
            "torch-cuda" => match case.count(config, "blocks")? {
                0 => Err(case.malformed("`blocks` is 0")),
                blocks => Ok(Self::Cuda(blocks as u32)),
            },
            other => Err(Problem::unsupported(format!("generator {other:?}"))),
        }
    }

    fn seeded(self, seed: u64) -> Result<Torch, Problem> {
        Ok(match self {
            Self::Cpu => Torch::Cpu(Box::new(TorchCpu::new(seed))),
            Self::Cuda(blocks) => Torch::Cuda(TorchCuda::new(seed, blocks)?),
        })
    }
}

impl Torch {
    fn normals(&mut self, n: usize) -> Vec<f32> {
        match self {
            Self::Cpu(torch) => torch.normals(n),
            Self::Cuda(torch) => torch.normals(n),
        }
    }

    fn below(&mut self, n: u64) -> Result<u64, Error> {
        match self {
            Self::Cpu(torch) => torch.below(n),
            Self::Cuda(torch) => torch.below(n),
        }
    }
}

/// A row for the shapes of each seed, each from a fresh generator, and one for its sequence of noise, label, noise.
pub(crate) fn run(case: &Case, _: &Device, report: Report<'_>) -> Result<(), Problem> {
    let config = case.config();
    let kind = Kind::read(case)?;
    let (shapes, seeds) = (case.list(config, "shapes")?, case.list(config, "seeds")?);
    if shapes.is_empty() || seeds.is_empty() {
        return Err(case.malformed("there is nothing to draw"));
    }
    for seed in seeds {
        let seed = seed
            .as_u64()
            .ok_or_else(|| case.malformed("a seed is no whole number"))?;
        report(&format!("seed {seed}"), fresh(case, kind, seed, shapes));
        report(
            &format!("seed {seed}, sequence"),
            sequence(case, kind, seed),
        );
    }
    Ok(())
}

fn fresh(case: &Case, kind: Kind, seed: u64, shapes: &[Value]) -> Result<Measure, Problem> {
    let mut error = 0.0;
    for shape in shapes {
        let sizes = shape.as_array().into_iter().flatten();
        let sizes: Vec<String> = sizes.map(Value::to_string).collect();
        let want = case.values(&format!("out/seed{seed}/{}", sizes.join("x")))?;
        let got = kind.seeded(seed)?.normals(want.len());
        error = worse(error, difference(&got, &want));
    }
    Ok(Measure::new(error, case.tolerance("abs")?))
}

fn sequence(case: &Case, kind: Kind, seed: u64) -> Result<Measure, Problem> {
    let mut torch = kind.seeded(seed)?;
    let want = |part: &str| case.values(&format!("out/seed{seed}/sequence/{part}"));
    let latent = want("latent")?;
    let mut error = difference(&torch.normals(latent.len()), &latent);
    for label in want("label")? {
        // Another class is not nearly right.
        if torch.below(CLASSES)? as f64 != label {
            error = f64::INFINITY;
        }
    }
    let after = want("after")?;
    error = worse(error, difference(&torch.normals(after.len()), &after));
    Ok(Measure::new(error, case.tolerance("abs")?))
}

fn difference(got: &[f32], want: &[f64]) -> f64 {
    let got: Vec<f64> = got.iter().map(|&v| v.into()).collect();
    largest(&got, want, |g, w| (g - w).abs())
}
