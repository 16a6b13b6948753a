//! The state of a training run: all that its next round depends on, in one file.
//!
//! Random draws are keyed by round, so the position of every random stream is the round itself.

use super::card::Card;
use super::file::{File, Value, write_values};
use crate::Error;
use crate::file::short;
use crate::network::{Named, Network, gather, load};
use crate::optimizer::{Adam, Average, Moments};
use burn::tensor::{Tensor, TensorData};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How far a run is, and what it is a run of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Progress {
    /// Rounds done.
    pub round: u64,
    /// The complete recipe.
    pub recipe: serde_json::Value,
    /// SHA-256 of the teacher's file, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Which [images](crate::data::Dataset::digest) it is trained on, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The card of the model as it is now, with no recipe in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<Card>,
}

/// The card of the model in a state, by the JSON text in the state's header; `None` for a text that is none, and for states
/// of feature networks.
pub(crate) fn card_of_state(json: &str) -> Option<Card> {
    let progress: Progress = serde_json::from_str(json).ok()?;
    Some(Card {
        recipe: progress.recipe,
        ..progress.card?
    })
}

/// Whether a run that was begun with some images goes on with the same; a state of old does not say.
pub(crate) fn same_data(begun: Option<&str>, given: &str) -> Result<(), Error> {
    match begun {
        Some(begun) if begun != given => Err(Error::Incompatible {
            first: format!("the run's images (SHA-256 {})", short(begun)),
            second: format!("the given ones ({})", short(given)),
            remedy: "give those that it was begun with, read as they were then, or start anew"
                .into(),
        }),
        _ => Ok(()),
    }
}

/// Weights, optimizer, average and progress.
#[derive(Clone, Debug)]
pub struct State {
    /// How far the run is.
    pub progress: Progress,
    /// Not copied before they are written: a state is as large as all else that a run holds.
    pub(crate) tensors: BTreeMap<String, Value>,
    /// Where it was read from, for messages.
    path: PathBuf,
}

impl State {
    /// A state of tensors named `group/name`.
    pub(crate) fn new(progress: Progress, tensors: BTreeMap<String, TensorData>) -> Self {
        let tensors = tensors.into_iter();
        Self {
            progress,
            tensors: tensors
                .map(|(name, data)| (name, Value::Data(data)))
                .collect(),
            path: PathBuf::from("state"),
        }
    }

    /// The tensors of a group, by name.
    pub(crate) fn group(&self, wanted: &str) -> BTreeMap<String, TensorData> {
        let inside = self.tensors.iter().filter_map(|(name, data)| {
            let (group, name) = name.split_once('/')?;
            (group == wanted).then(|| (name.to_string(), data.data()))
        });
        inside.collect()
    }

    /// Where it was read from, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes a snapshot.
    pub(crate) fn gather(
        progress: Progress,
        network: &Network,
        optimizer: &Adam,
        average: Option<&Average>,
    ) -> Self {
        let mut tensors = BTreeMap::new();
        let mut put = |group: &str, name: &str, value: Value| {
            tensors.insert(format!("{group}/{name}"), value);
        };
        let flat = |t: &Tensor<1>| Value::Live(t.clone(), vec![t.dims()[0]]);
        let own = network.own();
        for (i, p) in gather(network).into_iter().enumerate() {
            if let Some(Some(m)) = optimizer.moments().get(i) {
                put("mean", &p.name, flat(&m.mean));
                put("square", &p.name, flat(&m.square));
                let time = TensorData::new(vec![i64::from(m.time)], [1]);
                put("time", &p.name, Value::Data(time));
            }
            if let Some(Some(average)) = average.map(|average| &average.values()[i]) {
                put("average", &p.name, flat(average));
            }
            if let Some(weight) = p.tensor.filter(|_| own[i]) {
                put("weight", &p.name, Value::Live(weight, p.shape));
            }
        }
        Self {
            tensors,
            ..Self::new(progress, BTreeMap::new())
        }
    }

    /// Reads a state file.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Malformed`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = File::read(path)?;
        let malformed = |reason: String| Error::malformed(path, "training state", reason);
        let json = file
            .json
            .ok_or_else(|| malformed("it has no metadata key `fewstep`".into()))?;
        let progress = serde_json::from_str(&json)
            .map_err(|e| malformed(format!("its header cannot be understood: {e}")))?;
        Ok(Self {
            path: path.to_path_buf(),
            ..Self::new(progress, file.tensors)
        })
    }

    /// Writes the state atomically.
    ///
    /// # Errors
    /// As [`File::write`].
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let json = serde_json::to_string(&self.progress)
            .map_err(|e| Error::invalid("progress", e, "representable as JSON"))?;
        write_values(path, &self.tensors, &json)
    }

    /// The recipe the run was started with.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is of another kind of run.
    pub fn recipe<R: DeserializeOwned>(&self) -> Result<R, Error> {
        serde_json::from_value(self.progress.recipe.clone()).map_err(|e| {
            let reason = format!("its recipe is not one of this kind of run: {e}");
            Error::malformed(&self.path, "training state", reason)
        })
    }

    /// Puts weights, moments and average back.
    ///
    /// # Errors
    /// [`Error::Weights`] if the state belongs to another network, [`Error::Malformed`] if moments or average are
    /// incomplete or of another size.
    pub(crate) fn restore(
        &self,
        network: Network,
        optimizer: &mut Adam,
        average: Option<&mut Average>,
    ) -> Result<Network, Error> {
        let group = |wanted: &str| self.group(wanted);
        let own = network.own();
        let all: Vec<(String, usize, bool)> = network
            .keys()
            .all()
            .iter()
            .zip(own)
            .map(|(key, own)| (key.name.clone(), key.shape.iter().product(), own))
            .collect();
        let of_base: BTreeSet<&str> = all
            .iter()
            .filter_map(|(name, _, own)| (!own).then_some(name.as_str()))
            .collect();
        let of_base = |name: &str| of_base.contains(name);
        let network = load(network, &group("weight"), &of_base, &self.path)?;
        let device = crate::network::device(&network);
        let malformed = |reason: String| Error::malformed(&self.path, "training state", reason);
        let mut groups = ["mean", "square", "time", "average"].map(group);
        let tensor = |data: TensorData| Tensor::<1>::from_data(data, &device);
        let mut moments = Vec::new();
        let (mut values, mut missing) = (Vec::new(), false);
        for (name, len, own) in &all {
            let [mean, square, time, average] = groups.each_mut().map(|g| g.remove(name));
            let len = *len;
            for data in [&mean, &square, &average].into_iter().flatten() {
                if data.num_elements() != len {
                    let found = data.num_elements();
                    let reason = format!("it has {found} numbers for the {len} of {name}");
                    return Err(malformed(reason));
                }
            }
            let time = time.map(|t| t.iter::<i64>().next().and_then(|t| u32::try_from(t).ok()));
            moments.push(match (mean, square, time) {
                (Some(mean), Some(square), Some(Some(time))) => Some(Moments {
                    time,
                    mean: tensor(mean),
                    square: tensor(square),
                }),
                // A parameter that has not had a gradient yet.
                (None, None, None) => None,
                _ => {
                    let reason = format!("the optimizer's moments of {name} are incomplete");
                    return Err(malformed(reason));
                }
            });
            let average = average.map(&tensor);
            missing |= average.is_none() && *own;
            values.push(average);
        }
        if let Some(name) = groups.iter().find_map(|group| group.keys().next()) {
            return Err(malformed(format!(
                "it has moments of {name}, which the network has not"
            )));
        }
        match average {
            Some(average) if !missing => average.restore(values),
            None if values.iter().all(Option::is_none) => {}
            Some(_) => return Err(malformed("it has no moving average of the weights".into())),
            None => {
                return Err(malformed(
                    "it has a moving average, which its recipe has not".into(),
                ));
            }
        }
        optimizer.restore(moments);
        Ok(network)
    }
}
