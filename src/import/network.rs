//! From a file to a network: every name and shape is compared before any memory is taken.

use super::Checkpoint;
use super::architecture::Architecture;
use super::key::Key;
use crate::Error;
use crate::checkpoint::{Card, Model};
use crate::denoiser::Preconditioned;
use crate::network::replace;
use burn::tensor::{Device, Tensor, TensorData};
use std::collections::BTreeMap;

impl Checkpoint {
    /// Compares the file with the key table of an architecture.
    ///
    /// Constants (`resample_filter`) may be missing. Parameters of the step branch may be missing if all of them are,
    /// which [`Checkpoint::architecture`] finds out: then the network has no such branch.
    ///
    /// # Errors
    /// [`Error::Weights`] that lists every difference, or [`Error::Malformed`] if tensors share their numbers.
    pub fn check_keys(&self, architecture: &Architecture) -> Result<(), Error> {
        self.matched(architecture).map(|_| ())
    }

    /// The file's name of each parameter.
    pub(super) fn matched(&self, architecture: &Architecture) -> Result<Vec<(Key, String)>, Error> {
        architecture.check()?;
        let named = self.named();
        let (mut missing, mut mismatched, mut found) = (Vec::new(), Vec::new(), Vec::new());
        let mut rest: BTreeMap<_, _> = named.tensors;
        let mut bytes = 0u64;
        for key in architecture.keys() {
            match rest.remove(&key.name) {
                None if key.buffer => {}
                None => missing.push(key.name),
                Some((_, shape)) if shape != key.shape => {
                    let (name, ours) = (&key.name, &key.shape);
                    mismatched.push(format!("{name}: file {shape:?}, network {ours:?}"));
                }
                Some(_) if key.buffer => {}
                Some((name, _)) => {
                    bytes = bytes.saturating_add(self.info(name)?.bytes());
                    found.push((key, name.to_string()));
                }
            }
        }
        let unexpected: Vec<String> = rest.into_keys().collect();
        if !(missing.is_empty() && mismatched.is_empty() && unexpected.is_empty()) {
            return Err(Error::Weights {
                path: self.path().to_path_buf(),
                missing,
                unexpected,
                mismatched,
            });
        }
        if bytes > self.source.len() {
            let reason = format!(
                "its weights are {bytes} bytes in a file of {}",
                self.source.len()
            );
            return Err(self.source.broken("EDM or SFD model", reason));
        }
        Ok(found)
    }

    /// The network with the file's weights, one tensor in memory at a time besides it.
    ///
    /// # Errors
    /// [`Error::Weights`] if they do not fit the card's network, [`Error::Malformed`] or [`Error::File`].
    pub fn model(&self, card: Card, device: &Device) -> Result<Model, Error> {
        let names: BTreeMap<String, String> = self
            .matched(&Architecture::of(&card.network)?)?
            .into_iter()
            .map(|(key, name)| (key.name, name))
            .collect();
        let mut failure = None;
        let network = replace(card.network.blank(device)?, &mut |_, name, _| {
            let read = |name: &String| self.values(name);
            let values = match names.get(name).map(read) {
                Some(Ok(values)) if failure.is_none() => values,
                Some(Err(error)) => {
                    failure.get_or_insert(error);
                    return None;
                }
                // The table names every parameter: a test compares them.
                _ => return None,
            };
            let len = values.len();
            Some(Tensor::from_data(TensorData::new(values, [len]), device))
        });
        match failure {
            Some(error) => Err(error),
            None => Ok(Model {
                denoiser: Preconditioned::new(network, card.sigma_data),
                card,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::parameters;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_names_every_parameter_of_our_networks() {
        let small = |network: &str| Architecture {
            model_channels: 64,
            classes: 10,
            blocks: 1,
            ..super::super::key::tests::published(network)
        };
        let plain = |network: &str| Architecture {
            step_branch: false,
            augment_labels: 0,
            ..small(network)
        };
        for architecture in [
            plain("cifar10"),
            small("cifar10"),
            plain("imagenet64"),
            small("imagenet64"),
        ] {
            let network = architecture
                .config()
                .unwrap()
                .blank(&Device::flex())
                .unwrap();
            let ours: BTreeSet<_> = parameters(&network)
                .into_iter()
                .map(|p| (p.name, p.shape))
                .collect();
            let keys = architecture.keys().into_iter().filter(|key| !key.buffer);
            let table: BTreeSet<_> = keys.map(|key| (key.name, key.shape)).collect();
            assert_eq!(ours, table);
        }
    }
}
