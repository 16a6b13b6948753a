//! From a file of adapters and a model to a whole model.

use super::factor::Factors;
use super::file::AdapterFile;
use crate::Error;
use crate::model::{Card, File, Model};
use crate::network::{StepInit, add_step_branch, replace};
use burn::tensor::{Device, Tensor, TensorData};
use std::path::Path;

impl Model {
    /// A student of adapters as it comes from a run, with the adapters multiplied out; any other model as it is.
    ///
    /// # Errors
    /// None for a model whose card is its network's.
    pub fn merged(&self) -> Result<Self, Error> {
        let Some(adapter) = &self.card.adapter else {
            return Ok(self.clone());
        };
        let factors = Factors::of(&self.network, adapter.scale());
        let plain = self.network.without_adapters(&self.card.network)?;
        Ok(Self {
            card: Card {
                adapter: None,
                ..self.card.clone()
            },
            network: factors.merge(plain),
            compute: self.compute,
        })
    }
}

impl AdapterFile {
    /// The model with the adapters multiplied out into its weights, `scale` times their effect; the step branch of a student
    /// of ours comes along. The card stays the model's, but for the network.
    ///
    /// # Errors
    /// Those of [`factors`](Self::factors).
    pub fn apply(&self, model: Model, scale: f64) -> Result<Model, Error> {
        let Model {
            mut card,
            network,
            compute,
        } = model;
        let factors = self.factors(&card.network, None)?.scaled(scale);
        let mut network = factors.merge(network);
        if self
            .card()
            .is_some_and(|card| card.network.has_step_branch())
        {
            (card.network, network) =
                add_step_branch(&card.network, network, 0, StepInit::Official)?;
            network = self.with_branch(network)?;
        }
        Ok(Model {
            card,
            network,
            compute,
        })
    }

    /// The student that the file is, as a whole model: its base with the adapters multiplied out. `hash` is the SHA-256 of the
    /// base's file.
    ///
    /// # Errors
    /// [`Error::Incompatible`] if `base` is another model than they were made for, [`Error::Malformed`] for a file that is no
    /// student of ours, and those of [`factors`](Self::factors).
    pub fn student(&self, base: Model, hash: &str) -> Result<Model, Error> {
        let (card, adapter) = self.whose()?;
        adapter.check_base(hash)?;
        let whole = self.apply(base, 1.0)?;
        Ok(Model {
            card: Card {
                adapter: None,
                ..card.clone()
            },
            ..whole
        })
    }

    /// The card, and what it says of the base.
    fn whose(&self) -> Result<(&Card, &crate::model::Adaptation), Error> {
        let card = self.card();
        let found = card.and_then(|card| Some((card, card.adapter.as_ref()?)));
        found.ok_or_else(|| {
            let reason = "it does not say how to sample with it, nor of what model it is a change";
            Error::malformed(self.path(), "student of adapters", reason)
        })
    }

    fn with_branch(
        &self,
        network: crate::network::Network,
    ) -> Result<crate::network::Network, Error> {
        let file = self.checkpoint();
        let device = crate::network::device(&network);
        let mut failure = None;
        let network = replace(network, &mut |_, name, shape| {
            if !crate::network::is_step_parameter(name) {
                return None;
            }
            let len: usize = shape.iter().product();
            let values = file
                .values(name)
                .and_then(|values| match values.len() == len {
                    true => Ok(values),
                    false => {
                        let reason = format!("{name} has {} numbers, not {len}", values.len());
                        Err(Error::malformed(file.path(), "student of adapters", reason))
                    }
                });
            match values {
                Ok(values) => Some(Tensor::from_data(TensorData::new(values, [len]), &device)),
                Err(error) => {
                    failure.get_or_insert(error);
                    None
                }
            }
        });
        failure.map_or(Ok(network), Err)
    }
}

/// Reads a student that was distilled from `base`, whose file has this SHA-256, and the SHA-256 of its own file: a whole one,
/// or one of adapters, which are then multiplied out.
///
/// # Errors
/// As [`Model::read`] and [`AdapterFile::student`].
pub fn read_student(
    path: &Path,
    (base, hash): (&Model, &str),
    device: &Device,
) -> Result<(Model, String), Error> {
    let json = File::read_metadata(path)?.remove(crate::file::CARD);
    let card = json.map(|json| Card::parse(&json, path)).transpose()?;
    if card.is_none_or(|card| card.adapter.is_none()) {
        return Model::read(path, device);
    }
    let file = AdapterFile::open(path)?;
    Ok((file.student(base.clone(), hash)?, file.checkpoint().hash()?))
}
