//! U-Nets in folders of the diffusers library, which has names of its own and settings beside the file.

mod infer;
mod name;
mod place;
mod schedule;
mod setting;

pub(crate) use name::names;
pub(super) use place::FILES;
pub use place::{FILE, SETTINGS};

use super::kind::{Kind, Named};
use super::latent::card;
use crate::Error;
use crate::container::Checkpoint;
use crate::model::Card;
use crate::network::NetworkConfig;
use std::collections::BTreeMap;

/// Files with diffusers' names.
#[derive(Debug)]
pub(super) struct Diffusers;

impl Kind for Diffusers {
    fn named<'a>(&self, file: &'a Checkpoint) -> Option<Named<'a>> {
        let config = infer::infer(file)?;
        let names = name::names(&config);
        let official: BTreeMap<&str, &str> = names
            .iter()
            .map(|(ours, theirs)| (theirs.as_str(), ours.as_str()))
            .collect();
        let tensors = file.tensors().iter().map(|(name, info)| {
            let ours = official
                .get(name.as_str())
                .map_or(name.as_str(), |ours| ours);
            (ours.to_string(), (name.as_str(), info.shape.as_slice()))
        });
        Some(Named {
            tensors: tensors.collect(),
        })
    }

    fn network(&self, file: &Checkpoint, _: &Named<'_>) -> Result<Option<NetworkConfig>, Error> {
        let Some(config) = infer::infer(file) else {
            return Ok(None);
        };
        let network = NetworkConfig::LatentUnet(setting::told(file.path(), config)?);
        let wrong = |e| file.source.broken("latent model", e);
        network.check().map_err(wrong)?;
        Ok(Some(network))
    }

    fn card(&self, file: &Checkpoint, network: NetworkConfig) -> Result<Card, Error> {
        let preconditioning = schedule::told(file)?;
        card::card(file, network, preconditioning, None)
    }
}
