//! Files of CompVis' latent models: which of their tensors are the U-Net's, under which names, and which U-Net it is.
//!
//! They hold autoencoder and text encoder as well, averaged weights under names without dots, and the noise table as
//! buffers.

mod infer;
mod schedule;

use super::kind::{Kind, Named};
use super::latent::card;
use crate::Error;
use crate::container::Checkpoint;
use crate::model::Card;
use crate::network::{LATENT_NAME, NetworkConfig};
use std::collections::BTreeMap;

/// The name by which the start of all others is found.
const LANDMARK: &str = "time_embed.0.weight";

/// Start of the names of averaged weights. How they were averaged (`model_ema.decay`, `model_ema.num_updates`) stays in files from
/// which they were taken out.
const AVERAGED: &str = "model_ema.diffusion_model";

/// Whether a file has averaged weights, beside those that training ended with.
pub(super) fn has_averaged(file: &Checkpoint) -> bool {
    file.tensors().keys().any(|name| name.starts_with(AVERAGED))
}

/// Files with the official names, whatever is before them.
#[derive(Debug)]
pub(super) struct Compvis;

impl Kind for Compvis {
    fn named<'a>(&self, file: &'a Checkpoint) -> Option<Named<'a>> {
        let mut names = file.tensors().keys();
        let prefix = names.find_map(|name| name.strip_suffix(LANDMARK))?;
        Some(named_after(file, prefix))
    }

    fn network(
        &self,
        file: &Checkpoint,
        named: &Named<'_>,
    ) -> Result<Option<NetworkConfig>, Error> {
        let text = schedule::whole_text(file);
        let Some(config) = infer::infer(named, text) else {
            return Ok(None);
        };
        let network = NetworkConfig::LatentUnet(schedule::sized(file, config));
        let wrong = |e| file.source.broken("latent model", e);
        network.check().map_err(wrong)?;
        Ok(Some(network))
    }

    fn card(&self, file: &Checkpoint, network: NetworkConfig) -> Result<Card, Error> {
        let (preconditioning, why) = schedule::trained_to_predict(file, &network)?;
        card::card(file, network, preconditioning, why)
    }
}

/// The tensors that start so. Where the file has averaged weights they stand for the others.
fn named_after<'a>(file: &'a Checkpoint, prefix: &str) -> Named<'a> {
    let averaged = !file.raw && has_averaged(file);
    let mut tensors = BTreeMap::new();
    for (name, info) in file.tensors() {
        // Of a network alone, marks that say how it was trained stand among its own names.
        let rest = name.strip_prefix(prefix);
        let Some(rest) = rest.filter(|_| !schedule::is_mark(name)) else {
            continue;
        };
        let found = match averaged {
            true => file.tensors().get_key_value(&averaged_name(rest)),
            false => Some((name, info)),
        };
        // One that is missing is reported as such: a mixture of averaged weights and others is no network.
        if let Some((name, info)) = found {
            let entry = (name.as_str(), info.shape.as_slice());
            tensors.insert(format!("{LATENT_NAME}.{rest}"), entry);
        }
    }
    Named { tensors }
}

/// The averaged weight's name of a parameter of the U-Net: all dots but the first are left out.
fn averaged_name(rest: &str) -> String {
    format!("{AVERAGED}{}", rest.replace('.', ""))
}
