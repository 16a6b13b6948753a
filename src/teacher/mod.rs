//! Training a teacher from images, for people who have data but no weights. [EDM Sec. 5]

mod change;
mod learning;
mod recipe;

pub use change::TeacherChange;
pub use recipe::TeacherRecipe;

use crate::data::Dataset;
use crate::denoiser::{Condition, Preconditioned, one_hot};
use crate::group::{Alone, Group, Total, turns};
use crate::learner::{Learner, Trained};
use crate::model::{Answer, Card, Kind, Model, Progress, State, recipe_json, same_data};
use crate::network::{Dropout, Gathered, Network, add_gradients, gather, replace, shapes};
use crate::noise::{self, Domain, Stream};
use crate::{Error, Images, transfer};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use std::ops::Range;
use std::sync::Arc;

/// A training run of a teacher: the caller loops over [`Trainer::round`].
#[derive(Debug)]
pub struct Trainer {
    recipe: TeacherRecipe,
    /// With autodiff.
    model: Preconditioned,
    learner: Learner,
    round: u64,
    /// SHA-256 of the file whose weights it started from, if any.
    parent: Option<String>,
    /// The digest of its images, once they are known.
    data: Option<String>,
    /// Of the data, if the network knows classes.
    class_names: Vec<String>,
    device: Device,
    group: Arc<dyn Group>,
}

/// What one round did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TeacherRound {
    /// Images seen up to and including this round.
    pub images: u64,
    /// The weighted loss, mean over batch and pixels; about 1 for an untrained network.
    pub loss: f64,
    /// The learning rate of this round.
    pub learning_rate: f64,
}

/// The EDM loss of one batch with its ingredients given. [EDM Eq. 8]
#[derive(Clone, Debug)]
pub struct EdmLoss {
    /// What the network made of the noisy images, `[b, c, h, w]`.
    pub denoised: Images,
    /// (D - y)^2 times the weight of its level, `[b, c, h, w]`.
    pub elementwise: Images,
}

/// The weighted denoising error of clean images `[b, c, h, w]` with the given noise (standard normal, same shape) at
/// the given levels (`b` entries). [EDM Eq. 8]
pub fn edm_loss(
    model: &Preconditioned,
    clean: Images,
    noise: Images,
    sigmas: &[f64],
    condition: &Condition,
    dropout: Option<&Dropout>,
) -> EdmLoss {
    let device = clean.device();
    let column = |values: Vec<f32>| {
        let rows = values.len();
        transfer::send::<4, _>(TensorData::new(values, [rows, 1, 1, 1]), &device)
    };
    let levels = column(sigmas.iter().map(|s| *s as f32).collect());
    let weight = |s: &f64| model.preconditioning.loss_weight(*s) as f32;
    let weights = column(sigmas.iter().map(weight).collect());
    let noisy = clean.clone() + noise * levels;
    let denoised = model.denoise_each(noisy, sigmas, condition, dropout);
    EdmLoss {
        elementwise: (denoised.clone() - clean).square() * weights,
        denoised,
    }
}

impl Trainer {
    /// Starts a run at round 0.
    ///
    /// # Errors
    /// Those of [`TeacherRecipe::check`].
    pub fn new(recipe: TeacherRecipe, device: &Device) -> Result<Self, Error> {
        recipe.check()?;
        let network = recipe.network.init(recipe.seed, &device.clone().inner())?;
        Self::start(recipe, network, None, device)
    }

    /// Starts a run at round 0 with the weights of `model` instead of random ones; `parent` is the SHA-256 of its file.
    ///
    /// # Errors
    /// Those of [`TeacherRecipe::check`]; [`Error::Incompatible`] naming the first parameter if the model's network is
    /// another one than the recipe's. Dropout and what only sampling needs may differ.
    pub fn from_model(
        recipe: TeacherRecipe,
        model: &Model,
        parent: String,
        device: &Device,
    ) -> Result<Self, Error> {
        recipe.check()?;
        let (wanted, found) = (
            recipe.preconditioning()?.predicted(),
            model.card.answer.preconditioning.predicted(),
        );
        if wanted != found {
            return Err(Error::Incompatible {
                first: format!("prediction = \"{wanted}\""),
                second: format!("a model to start from that predicts {found}"),
                remedy: "set `prediction` to what that model predicts".into(),
            });
        }
        let device = &device.clone().inner();
        let network = recipe.network.blank(device)?;
        let mut values = gather(&model.network);
        let (wanted, found) = (shapes(&network), shapes(&model.network));
        let odd = wanted.iter().zip(&found).find(|(a, b)| a != b);
        if odd.is_some() || wanted.len() != found.len() {
            let at = odd.map_or_else(
                || format!("{} parameters, {} there", wanted.len(), found.len()),
                |(a, b)| format!("{} {:?}, {} {:?} there", a.0, a.1, b.0, b.1),
            );
            return Err(Error::Incompatible {
                first: format!("the recipe's network ({at})"),
                second: "that of the model to start from".into(),
                remedy: "copy the settings of [network] from `fewstep inspect`".into(),
            });
        }
        let network = replace(network, &mut |i, _, _| {
            values[i].tensor.take().map(|t| t.to_device(device))
        });
        Self::start(recipe, network, Some(parent), device)
    }

    fn start(
        recipe: TeacherRecipe,
        network: Network,
        parent: Option<String>,
        device: &Device,
    ) -> Result<Self, Error> {
        let device = device.clone().inner();
        let trained = Trained::all(&network);
        let learner = Learner::new(recipe.adam, trained, &network, true);
        let network = network.to_device(&device.clone().autodiff()).train();
        Ok(Self {
            model: Preconditioned::new(network, recipe.preconditioning()?),
            learner,
            round: 0,
            parent,
            data: None,
            class_names: Vec::new(),
            device,
            group: Arc::new(Alone),
            recipe,
        })
    }

    /// Makes it one of several processes that train the same teacher with the same images, each with some micro-batches of
    /// every round. All have the same teacher then, with the bytes that one process alone would give it.
    #[must_use]
    pub fn with_group(self, group: Arc<dyn Group>) -> Self {
        Self { group, ..self }
    }

    /// One update on the next batch of `data`, micro-batch by micro-batch. The names of its classes go into the model's card.
    ///
    /// # Errors
    /// [`Error::Diverged`] for a non-finite loss or gradient; the run is then as before the round. [`Error::Group`] if another
    /// process of the group is gone.
    pub fn round(&mut self, data: &Dataset) -> Result<TeacherRound, Error> {
        if self.recipe.network.classes() == data.classes().len() && self.class_names.is_empty() {
            self.class_names = data.classes().to_vec();
        }
        let recipe = &self.recipe;
        let batch = recipe.batch as u64;
        let first = self.round * batch;
        let micro = recipe.micro_batch.unwrap_or(recipe.batch) as u64;
        let parts = (0..batch).step_by(micro as usize);
        let parts = parts.map(|start| start..(start + micro).min(batch));
        let group = self.group.as_ref();
        let diverged = Error::Diverged {
            round: self.round,
            step: 0,
        };
        let mut total = Total::new(group, &self.model.network);
        for part in turns(group, parts.collect()) {
            let part =
                part.map(|samples| |sum: &mut _| self.micro_batch(data, first, samples, sum));
            if !total.turn(part)? {
                return Err(diverged);
            }
        }
        let loss = total.loss();
        let Some(checked) = self.learner.check(total.gradients()?.unwrap_or_default()) else {
            return Err(diverged);
        };
        let shown = first + batch;
        let learning_rate = self.recipe.learning_rate_at(first);
        self.learner.configure(self.recipe.adam_at(self.round));
        let network = self.model.network.clone();
        self.model.network = self.learner.update(network, checked, learning_rate);
        let decay = self.recipe.average_decay(shown);
        self.learner.follow(&self.model.network, Some(decay));
        self.round += 1;
        Ok(TeacherRound {
            images: shown,
            loss,
            learning_rate,
        })
    }

    /// Loss of some samples of the batch (its share of the batch's mean); if it is finite, adds their gradients to `sum`.
    fn micro_batch(
        &self,
        data: &Dataset,
        first: u64,
        samples: Range<u64>,
        sum: &mut Option<Vec<Gathered>>,
    ) -> Result<f64, Error> {
        let recipe = &self.recipe;
        let (seed, round) = (recipe.seed, self.round);
        let device = self.device.clone().autodiff();
        let index = |s: u64| noise::epoch_index(seed, first + s, data.len());
        let indices: Vec<usize> = samples.clone().map(index).collect::<Result<_, _>>()?;
        let flips = samples
            .clone()
            .map(|s| recipe.flip && Stream::new(seed, Domain::Flip, first + s).uniform_f64() < 0.5);
        let flips: Vec<bool> = flips.collect();
        let clean = data.batch(&indices, &flips, &device);
        let shape = recipe.network.image_shape();
        let noise = noise::latents_keyed(seed, round, samples.clone(), shape, &device);
        let sigmas: Vec<f64> = samples
            .clone()
            .map(|s| {
                let normal = Stream::new(seed, Domain::TrainLevel, first + s).normal_f64();
                (normal * recipe.level_deviation + recipe.level_mean).exp()
            })
            .collect();
        let condition = Condition {
            labels: self.labels(data, &indices).transpose()?,
            ..Condition::default()
        };
        let dropout = Dropout::new(seed, round, samples.start, 0);
        let [c, h, w] = shape;
        let count = (recipe.batch * c * h * w) as f64;
        let terms = edm_loss(
            &self.model,
            clean,
            noise,
            &sigmas,
            &condition,
            Some(&dropout),
        );
        let loss = terms.elementwise.sum().div_scalar(count);
        let value = transfer::number(loss.clone());
        if value.is_finite() {
            add_gradients(&self.model.network, &mut loss.backward(), sum);
        }
        Ok(value)
    }

    /// One-hot classes of some images; `None` for an unconditional network.
    fn labels(&self, data: &Dataset, indices: &[usize]) -> Option<Result<Tensor<2>, Error>> {
        let classes = self.recipe.network.classes();
        let all = data.labels().filter(|_| classes > 0)?;
        let labels: Vec<usize> = indices.iter().map(|i| all[*i]).collect();
        Some(one_hot(&labels, classes, &self.device))
    }

    /// Checks that images and classes are what the network is for.
    ///
    /// # Errors
    /// [`Error::Incompatible`] naming both sizes.
    pub fn check_data(&self, data: &Dataset) -> Result<(), Error> {
        let network = &self.recipe.network;
        let (wanted, found) = (network.image_shape(), data.shape());
        if wanted != found {
            return Err(Error::Incompatible {
                first: format!("images of [channels, height, width] {found:?}"),
                second: format!("a network for {wanted:?}"),
                remedy: "change the network's `resolution` and `channels`".into(),
            });
        }
        let classes = network.classes();
        let found = data.labels().map_or(0, |_| data.classes().len());
        if classes > 0 && classes != found {
            return Err(Error::Incompatible {
                first: format!("data with {found} classes"),
                second: format!("a network with `classes` = {classes}"),
                remedy: match found {
                    0 => "set `network.classes` to 0".into(),
                    _ => format!("set `network.classes` to {found}, or to 0 to ignore them"),
                },
            });
        }
        Ok(())
    }

    /// Notes which images the run is trained on: states that are taken from now on say so, and go on with the same only.
    ///
    /// # Errors
    /// [`Error::Incompatible`] if the run was begun with others.
    pub fn with_data(self, data: &Dataset) -> Result<Self, Error> {
        let digest = data.digest();
        same_data(self.data.as_deref(), &digest)?;
        Ok(Self {
            data: Some(digest),
            ..self
        })
    }

    /// Rounds done.
    pub fn rounds(&self) -> u64 {
        self.round
    }

    /// Whether the recipe's number of images has been seen.
    pub fn is_finished(&self) -> bool {
        self.round >= self.recipe.rounds()
    }

    /// SHA-256 of the file whose weights the run started from, if any.
    pub fn parent(&self) -> Option<&str> {
        self.parent.as_deref()
    }

    /// The recipe.
    pub fn recipe(&self) -> &TeacherRecipe {
        &self.recipe
    }

    /// The model as it is now, with averaged weights and without autodiff.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if the recipe cannot be written as JSON.
    pub fn model(&self) -> Result<Model, Error> {
        let network: Network = self.learner.averaged(self.model.network.valid());
        Ok(Model::new(self.card(recipe_json(&self.recipe)?), network))
    }

    fn card(&self, recipe: serde_json::Value) -> Card {
        Card {
            format: 1,
            kind: Kind::Teacher,
            network: self.recipe.network.clone(),
            // Pictures, whatever is predicted.
            answer: Answer {
                preconditioning: self.model.preconditioning.clone(),
                latent: None,
            },
            sampling: self.recipe.sampling.clone(),
            recipe,
            trained_on: self.round * self.recipe.batch as u64,
            class_names: self.class_names.clone(),
            adapter: None,
            parent: self.parent.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }

    /// Everything that the next round depends on.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if the recipe cannot be written as JSON.
    pub fn state(&self) -> Result<State, Error> {
        let progress = Progress {
            round: self.round,
            recipe: recipe_json(&self.recipe)?,
            parent: self.parent.clone(),
            data: self.data.clone(),
            card: Some(self.card(serde_json::Value::Null)),
        };
        Ok(self.learner.state(progress, &self.model.network))
    }

    /// Goes on where `state` was taken; the recipe is the state's.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::Weights`] if the state is not one of a teacher's training.
    pub fn resume(state: &State, device: &Device) -> Result<Self, Error> {
        let recipe: TeacherRecipe = state.recipe()?;
        let mut trainer = Self::new(recipe, device)?;
        let network = trainer.model.network.clone();
        trainer.model.network = trainer.learner.restore(state, network)?;
        trainer.round = state.progress.round;
        trainer.parent = state.progress.parent.clone();
        trainer.data = state.progress.data.clone();
        let card = state.progress.card.as_ref();
        trainer.class_names = card.map_or(Vec::new(), |card| card.class_names.clone());
        Ok(trainer)
    }
}
