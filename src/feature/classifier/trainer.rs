//! Training the feature network as a classifier.

use super::augment::augmented;
use super::file::load;
use super::network::{FeatureConfig, FeatureNetwork};
use super::norm::Trained;
use super::recipe::ClassifierRecipe;
use super::task::{Task, labels};
use super::update::Update;
use crate::Error;
use crate::data::Dataset;
use crate::denoiser::one_hot;
use crate::model::{Progress, State, same_data};
use crate::noise::epoch_index;
use burn::module::Module;
use burn::optim::{Adam, AdamConfig, AdamState, AdaptiveMomentumState};
use burn::tensor::{DType, Device, Gradients, Tensor, TensorData, activation};
use std::collections::BTreeMap;
use std::path::Path;

/// A training run of a classifier, with Adam on the cross-entropy: the caller loops over [`ClassifierTrainer::step`].
/// The result is a function of the recipe and the data only.
pub struct ClassifierTrainer {
    recipe: ClassifierRecipe,
    config: FeatureConfig,
    /// With autodiff.
    network: Trained,
    /// Burn's, not [`crate::optimizer::Adam`]: that one is for denoising networks and rounds in another order, so that
    /// a recipe would end in other weights than those of the bundled feature network. Its state is saved here likewise.
    optimizer: Adam,
    /// Of each parameter, flattened, in the network's order; empty before the first step.
    moments: Vec<AdamState<1>>,
    step: u64,
    steps: u64,
    /// The digest of the images.
    data: String,
    /// With autodiff.
    device: Device,
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassifierStep {
    /// Mean cross-entropy of its batch, in nats.
    pub loss: f32,
    /// Its learning rate.
    pub learning_rate: f64,
}

impl ClassifierTrainer {
    /// Starts a run at step 0.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for a recipe out of range or data without classes.
    pub fn new(recipe: ClassifierRecipe, data: &Dataset, device: &Device) -> Result<Self, Error> {
        recipe.check()?;
        if recipe.task.of(data) == Task::Classes {
            labels(data)?;
        }
        let config = recipe.network(data);
        let device = device.clone().inner().autodiff();
        let network = FeatureNetwork::init(&config, recipe.seed, &device)?;
        let norms = match recipe.batch_norm {
            true => config.widths.as_slice(),
            false => &[],
        };
        Ok(Self {
            network: Trained::new(network, norms, &device),
            optimizer: AdamConfig::new().with_epsilon(1e-8).build(),
            moments: Vec::new(),
            step: 0,
            steps: recipe.steps(data),
            data: data.digest(),
            recipe,
            config,
            device,
        })
    }

    /// One update on the next batch.
    ///
    /// # Errors
    /// [`Error::Diverged`] (the round is the step) if the loss is not finite, [`Error::InvalidValue`] for data without
    /// classes; the run is then as before the step.
    pub fn step(&mut self, data: &Dataset) -> Result<ClassifierStep, Error> {
        let batch = self.recipe.batch as u64;
        let first = self.step * batch;
        let positions: Vec<u64> = (first..first + batch).collect();
        let index = |&position: &u64| epoch_index(self.recipe.seed, position, data.len());
        let indices: Vec<usize> = positions.iter().map(index).collect::<Result<_, _>>()?;
        let images = augmented(&self.recipe, data, &positions, &indices, &self.device)?;
        let (classes, images) =
            self.recipe
                .task
                .set(self.recipe.seed, data, &positions, &indices, images)?;
        let targets = one_hot(&classes, self.config.classes, &self.device)?;
        let scores = activation::log_softmax(self.network.scores(images), 1);
        let loss = (scores * targets).sum().div_scalar(-(batch as f64));
        let value: f32 = loss.clone().into_scalar();
        if !value.is_finite() {
            let round = self.step;
            return Err(Error::Diverged { round, step: 0 });
        }
        let learning_rate = self.recipe.learning_rate(self.step, self.steps);
        self.update(&loss.backward(), learning_rate);
        self.step += 1;
        Ok(ClassifierStep {
            loss: value,
            learning_rate,
        })
    }

    /// Adam on every parameter.
    fn update(&mut self, gradients: &Gradients, learning_rate: f64) {
        let mut update = Update {
            optimizer: &self.optimizer,
            gradients,
            learning_rate,
            before: std::mem::take(&mut self.moments).into_iter(),
            after: Vec::new(),
        };
        self.network = self.network.clone().map(&mut update);
        self.moments = update.after;
    }

    /// The network with its norms.
    #[cfg(test)]
    pub(super) fn trained(&self) -> &Trained {
        &self.network
    }

    /// Steps done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// Steps of the whole training.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Whether all steps are done.
    pub fn is_finished(&self) -> bool {
        self.step >= self.steps
    }

    /// The recipe.
    pub fn recipe(&self) -> &ClassifierRecipe {
        &self.recipe
    }

    /// The network as it is now, without autodiff, with its norms folded in by the statistics of the first images, and with
    /// its weights rounded to f16, so that what is measured is what [`Features::write`](super::Features::write) stores.
    pub fn network(&self, data: &Dataset) -> FeatureNetwork {
        self.network.folded(data).rounded()
    }

    /// Everything that the next step depends on; `recipe` is what the run was started from, complete.
    pub fn state(&self, recipe: serde_json::Value) -> State {
        let mut tensors = BTreeMap::new();
        let weights = self.network.weights();
        for ((name, _), moments) in weights.iter().zip(&self.moments) {
            let AdaptiveMomentumState {
                time,
                moment_1,
                moment_2,
                ..
            } = moments.momentum.clone();
            tensors.insert(format!("mean/{name}"), moment_1.into_data_dtype(DType::F32));
            tensors.insert(
                format!("square/{name}"),
                moment_2.into_data_dtype(DType::F32),
            );
            let time = TensorData::new(vec![time as i64], [1]);
            tensors.insert(format!("time/{name}"), time);
        }
        let weights = weights.into_iter();
        tensors.extend(weights.map(|(name, data)| (format!("weight/{name}"), data)));
        let progress = Progress {
            round: self.step,
            recipe,
            data: Some(self.data.clone()),
            ..Progress::default()
        };
        State::new(progress, tensors)
    }

    /// Goes on where `state` was taken, with the same recipe and data.
    ///
    /// # Errors
    /// Those of [`ClassifierTrainer::new`]; [`Error::Incompatible`] for other images; [`Error::Weights`] if the state is of another network, [`Error::Malformed`]
    /// if it is incomplete.
    pub fn resume(
        state: &State,
        recipe: ClassifierRecipe,
        data: &Dataset,
        device: &Device,
    ) -> Result<Self, Error> {
        let mut trainer = Self::new(recipe, data, device)?;
        same_data(state.progress.data.as_deref(), &trainer.data)?;
        let path = state.path();
        let mut weights = state.group("weight");
        let names: Vec<(String, usize)> = trainer
            .network
            .weights()
            .into_iter()
            .map(|(name, data)| (name, data.num_elements()))
            .collect();
        let norms: BTreeMap<String, TensorData> = names
            .iter()
            .filter(|(name, _)| name.starts_with("norm"))
            .map(|(name, len)| Ok((name.clone(), find(&weights, "weight", name, *len, path)?)))
            .collect::<Result<_, Error>>()?;
        weights.retain(|name, _| !norms.contains_key(name));
        let fresh = trainer.network.clone();
        trainer.network = fresh.with_norms(&trainer.device, |name| norms.get(name).cloned());
        trainer.network.network = load(&trainer.config, weights, path, &trainer.device)?;
        trainer.step = state.progress.round;
        if trainer.step > 0 {
            let groups = ["mean", "square", "time"].map(|group| (group, state.group(group)));
            let moments = names.iter().map(|(name, len)| {
                let find = |(group, tensors): &(&str, BTreeMap<String, TensorData>), len| {
                    find(tensors, group, name, len, path)
                };
                let [mean, square, time] = &groups;
                let tensor = |data| Tensor::from_data(data, &trainer.device.clone().inner());
                let time = find(time, 1)?.iter::<i64>().next();
                Ok(AdamState::new(AdaptiveMomentumState::new(
                    time.and_then(|time| usize::try_from(time).ok())
                        .unwrap_or_default(),
                    tensor(find(mean, *len)?),
                    tensor(find(square, *len)?),
                )))
            });
            trainer.moments = moments.collect::<Result<_, Error>>()?;
        }
        Ok(trainer)
    }
}

/// A tensor of a state with so many numbers.
fn find(
    tensors: &BTreeMap<String, TensorData>,
    group: &str,
    name: &str,
    len: usize,
    path: &Path,
) -> Result<TensorData, Error> {
    let found = tensors.get(name).filter(|data| data.num_elements() == len);
    found.cloned().ok_or_else(|| {
        let reason = format!("it has no tensor `{group}/{name}` of {len} numbers");
        Error::malformed(path, "training state", reason)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::classifier::recipe::tests::RECIPE;
    use crate::feature::classifier::task::accuracy;
    use crate::noise::{Domain, Stream};

    /// Images of 8 x 8: class 0 has a bright horizontal bar, class 1 a vertical one, over noise.
    fn bars(seed: u64, images: usize) -> Dataset {
        let mut pixels = Vec::new();
        for i in 0..images {
            let mut stream = Stream::new(seed, Domain::Test, i as u64);
            let place = 1 + stream.below(6).unwrap() as usize;
            for at in 0..64 {
                let along = if i % 2 == 0 { at / 8 } else { at % 8 };
                let bar = if along == place { 120 } else { 0 };
                pixels.push(bar + stream.below(100).unwrap() as u8);
            }
        }
        let labels = (0..images).map(|i| i % 2).collect();
        let classes = vec!["across".into(), "down".into()];
        Dataset::new(pixels, [1, 8, 8], Some(labels), classes).unwrap()
    }

    fn train(data: &Dataset) -> (FeatureNetwork, Vec<f32>) {
        let mut trainer = ClassifierTrainer::new(RECIPE, data, &Device::flex()).unwrap();
        let mut losses = Vec::new();
        while !trainer.is_finished() {
            losses.push(trainer.step(data).unwrap().loss);
        }
        (trainer.network(data), losses)
    }

    #[test]
    fn it_learns_what_it_has_not_seen() {
        let (network, losses) = train(&bars(1, 256));
        assert_eq!(losses.len() as u64, RECIPE.steps(&bars(1, 256)));
        let accuracy = accuracy(&network, Task::Classes, &bars(2, 200), &Device::flex()).unwrap();
        assert!(accuracy > 0.95, "{accuracy}");
    }

    #[test]
    fn the_recipe_decides_everything() {
        let data = bars(1, 64);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| train(&data).1)
        };
        let losses = run(1);
        assert_eq!(run(1), losses);
        assert_eq!(run(2), losses);
    }

    #[test]
    fn a_run_goes_on_from_its_state_bit_for_bit() {
        let data = bars(1, 40);
        let device = Device::flex();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        let json = serde_json::json!({"size": 8});
        let (whole, _) = train(&data);
        let mut trainer = ClassifierTrainer::new(RECIPE, &data, &device).unwrap();
        // From the start, after one step, and at the end.
        for steps in [0, 1, 6, 23] {
            for _ in 0..steps {
                trainer.step(&data).unwrap();
            }
            trainer.state(json.clone()).write(&path).unwrap();
            let state = State::read(&path).unwrap();
            assert_eq!(state.progress.recipe, json);
            trainer = ClassifierTrainer::resume(&state, RECIPE, &data, &device).unwrap();
        }
        assert_eq!((trainer.steps_done(), trainer.is_finished()), (30, true));
        assert_eq!(trainer.network(&data).tensors(), whole.tensors());
        let others =
            ClassifierTrainer::resume(&trainer.state(json.clone()), RECIPE, &bars(2, 40), &device);
        let error = others.err().unwrap();
        assert!(error.to_string().contains("the run's images"), "{error}");
        // A state of another network says so.
        let state = State::read(&path).unwrap();
        let other = ClassifierRecipe {
            features: 9,
            ..RECIPE
        };
        let error = ClassifierTrainer::resume(&state, other, &data, &device);
        let error = error.err().unwrap();
        assert!(error.to_string().contains("hidden.weight"), "{error}");
        let mut broken = trainer.state(json);
        broken.tensors.remove("mean/conv0.weight");
        let error = ClassifierTrainer::resume(&broken, RECIPE, &data, &device);
        let error = error.err().unwrap();
        assert!(error.to_string().contains("mean/conv0.weight"), "{error}");
    }

    #[test]
    fn bad_recipes_and_data_are_refused() {
        let device = Device::flex();
        let refuse = |recipe: &ClassifierRecipe, data: &Dataset, reason: &str| {
            let run = || -> Result<(), Error> {
                let mut trainer = ClassifierTrainer::new(recipe.clone(), data, &device)?;
                while !trainer.is_finished() {
                    trainer.step(data)?;
                }
                Ok(())
            };
            let error = run().unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        };
        let data = bars(1, 8);
        refuse(
            &ClassifierRecipe {
                epochs: 0,
                ..RECIPE
            },
            &data,
            "`epochs`",
        );
        refuse(&ClassifierRecipe { batch: 0, ..RECIPE }, &data, "`batch`");
        refuse(&ClassifierRecipe { shift: 9, ..RECIPE }, &data, "`shift`");
        refuse(
            &ClassifierRecipe {
                learning_rate: f64::NAN,
                ..RECIPE
            },
            &data,
            "`learning-rate`",
        );
        refuse(
            &ClassifierRecipe {
                learning_rate: 1e30,
                ..RECIPE
            },
            &data,
            "not finite",
        );
        let unlabelled = Dataset::new(vec![0; 64], [1, 8, 8], None, vec![]).unwrap();
        refuse(&RECIPE, &unlabelled, "without labels");
    }
}
