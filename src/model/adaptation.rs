//! Of what model low-rank adapters are a change.

use crate::Error;
use crate::error::positive;
use crate::file::short;
use serde::{Deserialize, Serialize};

/// What a file of low-rank adapters says of them in its card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Adaptation {
    /// SHA-256 of the file of the model that they were made for.
    pub base: String,
    /// The rank that was asked for; a small layer may have less.
    pub rank: usize,
    /// What a product of factors is multiplied by, times the rank.
    pub alpha: f64,
}

impl Adaptation {
    /// What the product of the two factors is multiplied by, in every layer.
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        positive("rank", self.rank as f64)?;
        positive("alpha", self.alpha)
    }

    /// Whether a file is the base: the one with this SHA-256.
    ///
    /// # Errors
    /// [`Error::Incompatible`] that names both.
    pub fn check_base(&self, given: &str) -> Result<(), Error> {
        if self.base == given {
            return Ok(());
        }
        Err(Error::Incompatible {
            first: format!("adapters of a base with SHA-256 {}", short(&self.base)),
            second: format!("the given one ({})", short(given)),
            remedy: "give the file that they were made for; on another model of the family they are used with `sample MODEL \
                     --lora FILE`"
                .into(),
        })
    }
}
