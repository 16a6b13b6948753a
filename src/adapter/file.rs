//! A file of adapters: ours, or of diffusers, PEFT or kohya's scripts.

use super::entry::{self, Entries, Entry};
use super::factor::{Factor, Factors};
use super::layer::{Known, Layer};
use super::name::Part;
use super::peft::Peft;
use crate::Error;
use crate::container::Checkpoint;
use crate::file::CARD;
use crate::model::Card;
use crate::network::{NetworkConfig, is_step_parameter};
use std::collections::BTreeMap;
use std::path::Path;

/// How many unknown layers a message names.
const NAMED: usize = 2;

/// A file of adapters, sorted but not loaded.
#[derive(Debug)]
pub struct AdapterFile {
    checkpoint: Checkpoint,
    entries: Entries,
    peft: Peft,
    card: Option<Card>,
}

impl AdapterFile {
    /// Whether a file is one of adapters, of whatever kind.
    pub fn is_one(checkpoint: &Checkpoint) -> bool {
        entry::looks_like(checkpoint)
    }

    /// Reads what is in a file, but not its numbers.
    ///
    /// # Errors
    /// As [`Checkpoint::read`]; [`Error::Malformed`] for a file of something else, or of another kind of adapters (LoHa, LoKr,
    /// DoRA and others).
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::of(Checkpoint::read(path)?)
    }

    /// As [`open`](Self::open), of a file that is open.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn of(checkpoint: Checkpoint) -> Result<Self, Error> {
        if !Self::is_one(&checkpoint) {
            let reason = "it has no factors of adapters";
            return Err(Error::malformed(
                checkpoint.path(),
                "low-rank adapter",
                reason,
            ));
        }
        let json = checkpoint.metadata.get(CARD);
        let card = json.map(|json| Card::parse(json, checkpoint.path()));
        let card = card.transpose()?;
        // A student's step branch is in its file as well.
        let branch = |name: &str| card.is_some() && is_step_parameter(name);
        Ok(Self {
            entries: entry::sort(&checkpoint, &branch)?,
            peft: Peft::of(&checkpoint)?,
            card,
            checkpoint,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.checkpoint.path()
    }

    /// The opened file.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The card of the student that it is, where it is one of ours: how to sample with it, and what its base was.
    pub fn card(&self) -> Option<&Card> {
        self.card.as_ref()
    }

    /// The networks that it has adapters for, and of how many layers.
    pub fn parts(&self) -> Vec<(Part, usize)> {
        let parts = self.entries.iter();
        parts.map(|(part, layers)| (*part, layers.len())).collect()
    }

    /// The smallest and the largest rank of what it has for a network.
    pub fn ranks(&self, part: Part) -> Option<(usize, usize)> {
        let tensors = self.checkpoint.tensors();
        let rank = |entry: &Entry| tensors.get(entry.down.as_ref()?)?.shape.first().copied();
        let ranks: Vec<usize> = self.entries.get(&part)?.values().filter_map(rank).collect();
        Some((*ranks.iter().min()?, *ranks.iter().max()?))
    }

    /// The adapters of the denoising network. `alpha` stands for what the tensors do not say; without it the
    /// header does, or it is the rank.
    ///
    /// # Errors
    /// [`Error::Incompatible`] if they are for another network, [`Error::Malformed`] for numbers that do not fit each other.
    pub fn factors(&self, network: &NetworkConfig, alpha: Option<f64>) -> Result<Factors, Error> {
        let known = Known::of(network);
        let none = BTreeMap::new();
        let layers = self.entries.get(&Part::Network).unwrap_or(&none);
        let unknown = layers.keys().filter(|name| known.named(name).is_none());
        let unknown: Vec<&str> = unknown.map(String::as_str).collect();
        if !unknown.is_empty() {
            let (named, rest) = unknown.split_at(unknown.len().min(NAMED));
            let rest = match rest.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let (count, all) = (unknown.len(), layers.len());
            return Err(self.unfit(
                format!("{count} of its {all} layers ({}{rest})", named.join(", ")),
                "a network that does not have them",
            ));
        }
        let mut found = BTreeMap::new();
        for (name, entry) in layers {
            let Some(layer) = known.named(name) else {
                continue;
            };
            let factor = self.factor(name, entry, layer, alpha)?;
            if found.insert(layer.own.name.clone(), factor).is_some() {
                let reason = format!("{} is there by two names", layer.own.name);
                return Err(self.malformed(reason));
            }
        }
        let factors = Factors(found);
        factors.check(self.path())?;
        Ok(factors)
    }

    fn factor(
        &self,
        name: &str,
        entry: &Entry,
        layer: &Layer,
        said: Option<f64>,
    ) -> Result<Factor, Error> {
        let shape = |name: &Option<String>| -> (String, Vec<usize>) {
            let name = name.clone().unwrap_or_default();
            let info = self.checkpoint.tensors().get(&name);
            let shape = info.map(|info| info.shape.clone()).unwrap_or_default();
            (name, shape)
        };
        let ((down, down_shape), (up, up_shape)) = (shape(&entry.down), shape(&entry.up));
        let own = &layer.own.shape;
        let rank = down_shape.first().copied().unwrap_or(0);
        // A 1x1 convolution may be written as a matrix, and the reverse; taps stand in A alone.
        let taps = |shape: &[usize]| shape.get(2..).unwrap_or_default().iter().product::<usize>();
        let fits = rank > 0
            && down_shape.get(1) == Some(&own[1])
            && taps(&down_shape) == taps(own)
            && up_shape.get(..2) == Some(&[own[0], rank][..])
            && taps(&up_shape) == 1;
        if !fits {
            return Err(self.unfit(
                format!("its factors {down_shape:?} and {up_shape:?} of {name}"),
                &format!("a layer of {own:?}"),
            ));
        }
        let alpha = match &entry.alpha {
            Some(tensor) => {
                let values = self.checkpoint.values(tensor)?;
                match values.as_slice() {
                    [alpha] => Some(f64::from(*alpha)),
                    other => {
                        let reason = format!("{tensor} has {} numbers, not one", other.len());
                        return Err(self.malformed(reason));
                    }
                }
            }
            None => said,
        };
        let scale = match (&self.card, alpha) {
            (_, Some(alpha)) => alpha / rank as f64,
            (Some(card), None) => card.adapter.as_ref().map_or(1.0, |adapter| adapter.scale()),
            (None, None) => self.peft.scale(name, rank).unwrap_or(1.0),
        };
        Ok(Factor {
            rank,
            down: self.checkpoint.values(&down)?,
            up: self.checkpoint.values(&up)?,
            scale,
        })
    }

    fn malformed(&self, reason: String) -> Error {
        Error::malformed(self.path(), "low-rank adapter", reason)
    }

    fn unfit(&self, what: String, other: &str) -> Error {
        Error::Incompatible {
            first: format!("{}: {what}", self.path().display()),
            second: other.into(),
            remedy: "it was made for another model; give one of the family that it is for".into(),
        }
    }
}
