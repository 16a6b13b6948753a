//! Text encoders under the names that they have in single files of Stable Diffusion.

use super::half::HalfFile;
use super::openclip::{BLOCKS, How, PROJECTION, to_open_clip};
use crate::Error;

/// Starts of the names in files of 1.x and 2.x.
const FIRST: &str = "cond_stage_model.transformer.";
const SECOND: &str = "cond_stage_model.model.";
/// And of both encoders in those of XL.
pub(super) const EMBEDDERS: [&str; 2] = ["conditioner.embedders.0.", "conditioner.embedders.1."];

/// A tensor of a single file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Official {
    /// Its name in the file.
    pub name: String,
    pub shape: Vec<usize>,
    /// Which of the encoders it is of.
    half: usize,
    numbers: Numbers,
}

/// What its numbers are.
#[derive(Clone, Debug, PartialEq)]
enum Numbers {
    /// Those of these, one after the other, by the names of transformers.
    Of(Vec<String>),
    /// Those of this one, turned over.
    Turned(String),
    /// One on the diagonal: a projection that changes nothing.
    Identity,
}

/// Which single file is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    First,
    Second,
    Xl,
}

/// The tensors of the encoders in a file of this kind.
pub(super) fn tensors(halves: &[HalfFile], family: Family) -> Vec<Official> {
    let transformers = |half: usize, start: &str| -> Vec<Official> {
        let shapes = halves.get(half).into_iter().flat_map(HalfFile::shapes);
        let one = shapes.map(|(name, shape)| Official {
            name: format!("{start}{name}"),
            shape: shape.to_vec(),
            half,
            numbers: Numbers::Of(vec![name.to_string()]),
        });
        one.collect()
    };
    match family {
        Family::First => transformers(0, FIRST),
        Family::Second => {
            let mut all = open_clip(halves, 0, SECOND);
            all.extend(unused(halves, SECOND));
            all
        }
        Family::Xl => {
            let [first, second] = EMBEDDERS;
            let mut all = transformers(0, &format!("{first}transformer."));
            all.extend(open_clip(halves, 1, &format!("{second}model.")));
            all
        }
    }
}

/// Those of one encoder by OpenCLIP's names.
fn open_clip(halves: &[HalfFile], half: usize, start: &str) -> Vec<Official> {
    let mut all: Vec<Official> = Vec::new();
    let shapes = halves.get(half).into_iter().flat_map(HalfFile::shapes);
    let mut named: Vec<_> = shapes
        .filter_map(|(name, shape)| Some((to_open_clip(name)?, name, shape)))
        .collect();
    // Thirds in their order.
    named.sort_by_key(|((theirs, how), ..)| match how {
        How::Third(third) => (theirs.clone(), *third),
        _ => (theirs.clone(), 0),
    });
    for ((theirs, how), name, shape) in named {
        let full = format!("{start}{theirs}");
        if let (How::Third(_), Some(last)) = (how, all.last_mut())
            && last.name == full
            && let Numbers::Of(names) = &mut last.numbers
        {
            names.push(name.to_string());
            last.shape[0] += shape[0];
            continue;
        }
        all.push(Official {
            name: full,
            shape: match how {
                How::Turned => shape.iter().rev().copied().collect(),
                _ => shape.to_vec(),
            },
            half,
            numbers: match how {
                How::Turned => Numbers::Turned(name.to_string()),
                _ => Numbers::Of(vec![name.to_string()]),
            },
        });
    }
    all
}

/// What files of 2.x hold besides and nobody uses: a last layer, for which the one before it stands here, and a projection.
fn unused(halves: &[HalfFile], start: &str) -> Vec<Official> {
    let Some(half) = halves.first() else {
        return Vec::new();
    };
    let layers = half.config().layers;
    let block = |layer: usize| format!("{start}{BLOCKS}{layer}.");
    let (before, next) = (block(layers.saturating_sub(1)), block(layers));
    let all = open_clip(halves, 0, start);
    let copied = all.iter().filter_map(|tensor| {
        let rest = tensor.name.strip_prefix(&before)?;
        Some(Official {
            name: format!("{next}{rest}"),
            ..tensor.clone()
        })
    });
    let mut more: Vec<Official> = copied.collect();
    if !half.shapes().any(|(name, _)| name == PROJECTION) {
        let width = half.config().width;
        more.push(Official {
            name: format!("{start}text_projection"),
            shape: vec![width, width],
            half: 0,
            numbers: Numbers::Identity,
        });
    }
    more
}

/// The numbers of one of them.
pub(super) fn values(halves: &[HalfFile], of: &Official) -> Result<Vec<f32>, Error> {
    let half = halves
        .get(of.half)
        .ok_or_else(|| Error::invalid("text encoder", of.half, "one of the model's"))?;
    match &of.numbers {
        Numbers::Of(names) => {
            let parts = names.iter().map(|name| half.values(name));
            Ok(parts.collect::<Result<Vec<_>, _>>()?.concat())
        }
        Numbers::Turned(name) => Ok(How::Turned.apply(half.values(name)?, &of.shape)),
        Numbers::Identity => {
            let width = of.shape[0];
            let on = |i: usize| {
                if i.is_multiple_of(width + 1) {
                    1.0
                } else {
                    0.0
                }
            };
            Ok((0..width * width).map(on).collect())
        }
    }
}
