//! From a file to a network: every name and shape is compared before any memory is taken.

use crate::Error;
use crate::container::{Checkpoint, Scalar};
use crate::model::{Card, Model};
use crate::network::{Adapters, Key, Network, NetworkConfig, Precision, replace};
use crate::parameter::Differences;
use burn::tensor::{Device, Tensor, TensorData};
use std::collections::BTreeMap;

impl Checkpoint {
    /// Compares the file with the key table of a network.
    ///
    /// Constants (`resample_filter`) may be missing. Parameters of the step branch may be missing if all of them are,
    /// which [`Checkpoint::network_config`] finds out: then the network has no such branch.
    ///
    /// # Errors
    /// [`Error::Weights`] that lists every difference, [`Error::Malformed`] if tensors share their numbers, or
    /// [`Error::InvalidValue`] if `network` is not that of a network.
    pub fn check_keys(&self, network: &NetworkConfig) -> Result<(), Error> {
        self.matched(network).map(|_| ())
    }

    /// Checks that the file's constant filters, if it has any, are those that the network applies. Their names and
    /// shapes must have been compared.
    pub(super) fn check_filters(&self, network: &NetworkConfig) -> Result<(), Error> {
        let ours = network.filter();
        let named = self.named();
        for key in network.keys().into_iter().filter(|key| key.buffer) {
            let Some((name, _)) = named.tensors.get(&key.name) else {
                continue;
            };
            let values = self.values(name)?;
            // Sums of powers of two: exact in every type.
            if values != ours {
                let reason = format!("its {name} is {values:?}; the network's is {ours:?}");
                return Err(self.source.broken("EDM or SFD model", reason));
            }
        }
        Ok(())
    }

    /// Official name and the file's name of each parameter, in the order of the key table.
    ///
    /// # Errors
    /// As [`check_keys`](Self::check_keys).
    pub fn parameter_names(&self, network: &NetworkConfig) -> Result<Vec<(String, String)>, Error> {
        let matched = self.matched(network)?.into_iter();
        Ok(matched.map(|(key, name)| (key.name, name)).collect())
    }

    /// The file's name of each parameter.
    pub(crate) fn matched(&self, network: &NetworkConfig) -> Result<Vec<(Key, String)>, Error> {
        network.check()?;
        let named = self.named();
        let (mut differences, mut found) = (Differences::default(), Vec::new());
        let mut rest: BTreeMap<_, _> = named.tensors;
        let mut bytes = 0u64;
        for key in network.keys() {
            match rest.remove(&key.name) {
                None if key.buffer => {}
                None => differences.miss(&key.name),
                Some((_, shape)) if shape != key.shape => {
                    differences.differ(&key.name, shape, &key.shape);
                }
                Some(_) if key.buffer => {}
                Some((name, _)) => {
                    bytes = bytes.saturating_add(self.info(name)?.bytes());
                    found.push((key, name.to_string()));
                }
            }
        }
        rest.keys().for_each(|name| differences.surplus(name));
        differences.check(self.path())?;
        if bytes > self.size() {
            let reason = format!("its weights are {bytes} bytes in a file of {}", self.size());
            return Err(self.source.broken("EDM or SFD model", reason));
        }
        Ok(found)
    }

    /// The network with the file's weights, one tensor in memory at a time besides it.
    ///
    /// # Errors
    /// [`Error::Weights`] if they do not fit the card's network, [`Error::MissingPart`] for a file of adapters only,
    /// [`Error::Malformed`] or [`Error::File`].
    pub fn model(&self, card: Card, device: &Device) -> Result<Model, Error> {
        card.check_whole(self.path())?;
        let network = self.load_network(&card.network, device)?;
        Ok(Model::new(card, network))
    }

    /// As [`model`](Self::model), of a model that does not learn, with its weights rounded to `precision` and held in it. They
    /// are never in single precision as a whole: what [`Network::with_precision`] makes, in half of the memory.
    ///
    /// # Errors
    /// As [`model`](Self::model), and [`Error::InvalidValue`] naming a weight that is too large for the type.
    pub fn model_in(
        &self,
        card: Card,
        precision: Precision,
        device: &Device,
    ) -> Result<Model, Error> {
        card.check_whole(self.path())?;
        let network = self.load_network_in(&card.network, precision, device)?;
        Ok(Model::new(card, network))
    }

    /// The narrowest type that holds every weight of a network as the file does: f32, unless all are of half precision or
    /// less.
    ///
    /// # Errors
    /// As [`check_keys`](Self::check_keys).
    pub fn precision(&self, network: &NetworkConfig) -> Result<Precision, Error> {
        let mut found = None;
        for (_, name) in self.matched(network)? {
            let own = match self.info(&name)?.scalar {
                _ if self.is_scaled(&name) => Precision::F32,
                Scalar::F16 | Scalar::F8E4M3 | Scalar::F8E5M2 => Precision::F16,
                Scalar::BF16 => Precision::Bf16,
                _ => Precision::F32,
            };
            if *found.get_or_insert(own) != own {
                return Ok(Precision::F32);
            }
        }
        Ok(found.unwrap_or_default())
    }

    /// The network alone.
    ///
    /// # Errors
    /// As [`model`](Self::model).
    pub(crate) fn load_network(
        &self,
        config: &NetworkConfig,
        device: &Device,
    ) -> Result<Network, Error> {
        self.load_network_in(config, Precision::F32, device)
    }

    fn load_network_in(
        &self,
        config: &NetworkConfig,
        precision: Precision,
        device: &Device,
    ) -> Result<Network, Error> {
        let names: BTreeMap<String, String> = self
            .matched(config)?
            .into_iter()
            .map(|(key, name)| (key.name, name))
            .collect();
        let mut failure = None;
        let bare = config.blank_adapted(&Adapters::none_yet(), device)?;
        let network = replace(bare, &mut |_, name, _| {
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
            // What is broken in the file is said where it shows.
            let fits = |value: &f32| !value.is_finite() || precision.holds(*value);
            if let Some(value) = values.iter().find(|value| !fits(value)) {
                failure = Some(Error::invalid(name, value, precision.range()));
                return None;
            }
            let data = TensorData::new(values, [len]).convert_dtype(precision.dtype());
            Some(Tensor::from_data(data, (device, precision.dtype())))
        });
        match failure {
            Some(error) => Err(error),
            None => Ok(network),
        }
    }
}
