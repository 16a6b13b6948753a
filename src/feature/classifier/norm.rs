//! The network while it is trained with batch norms behind its convolutions, which are folded into them in the end.

use super::network::FeatureNetwork;
use crate::Images;
use crate::data::Dataset;
use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};

/// Added to variances. [Ioffe & Szegedy 2015]
const EPSILON: f64 = 1e-5;
/// Images whose statistics the folded network has.
const IMAGES: usize = 2048;

/// A network, and a norm for each of its convolutions or none at all.
#[derive(Module, Debug)]
pub(super) struct Trained {
    pub(super) network: FeatureNetwork,
    norms: Vec<Norm>,
}

/// What each channel is multiplied with and what is added, once its mean is 0 and its variance 1.
#[derive(Module, Debug)]
struct Norm {
    gain: Param<Tensor<1>>,
    shift: Param<Tensor<1>>,
}

/// Of each channel.
type Moments = (Tensor<1>, Tensor<1>);

impl Trained {
    /// With norms for convolutions of so many channels.
    pub fn new(network: FeatureNetwork, channels: &[usize], device: &Device) -> Self {
        let norm = |channels: &usize| Norm {
            gain: Param::from_tensor(Tensor::ones([*channels], device)),
            shift: Param::from_tensor(Tensor::zeros([*channels], device)),
        };
        Self {
            network,
            norms: channels.iter().map(norm).collect(),
        }
    }

    /// Class scores, each channel normalised over the batch.
    pub fn scores(&self, images: Images) -> Tensor<2> {
        self.network
            .scores_with(images, &mut |i, x| self.normed(i, x).0)
    }

    fn normed(&self, i: usize, x: Images) -> (Images, Option<Moments>) {
        let Some(norm) = self.norms.get(i) else {
            return (x, None);
        };
        let [_, channels, ..] = x.dims();
        let mean = |x: Images| x.mean_dim(0).mean_dim(2).mean_dim(3);
        let centre = mean(x.clone());
        let x = x - centre.clone();
        let variance = mean(x.clone().square());
        let x = x / variance.clone().add_scalar(EPSILON).sqrt();
        let wide = |row: Tensor<1>| row.reshape([1, channels, 1, 1]);
        let x = x * wide(norm.gain.val()) + wide(norm.shift.val());
        let moments = (centre.reshape([channels]), variance.reshape([channels]));
        (x, Some(moments))
    }

    /// The network alone, which for the first images of the data answers as with its norms.
    pub fn folded(&self, data: &Dataset) -> FeatureNetwork {
        let plain = self.clone().valid();
        if plain.norms.is_empty() {
            return plain.network;
        }
        let device = plain.norms[0].gain.val().device();
        let some: Vec<usize> = (0..data.len().min(IMAGES)).collect();
        let mut found = Vec::new();
        plain
            .network
            .scores_with(data.batch(&some, &[], &device), &mut |i, x| {
                let (x, moments) = plain.normed(i, x);
                found.extend(moments);
                x
            });
        let mut network = plain.network.clone();
        for (i, (norm, (mean, variance))) in plain.norms.iter().zip(found).enumerate() {
            let scale = norm.gain.val() / variance.add_scalar(EPSILON).sqrt();
            let shift = norm.shift.val() - mean * scale.clone();
            network = network.scaled(i, scale, shift);
        }
        network
    }

    /// All parameters in the order of the module, with all their digits.
    pub fn weights(&self) -> Vec<(String, TensorData)> {
        let mut all = self.network.weights();
        for (i, norm) in self.norms.iter().enumerate() {
            for (name, value) in [("gain", &norm.gain), ("shift", &norm.shift)] {
                let data = value.val().without_autodiff().into_data_dtype(DType::F32);
                all.push((format!("norm{i}.{name}"), data));
            }
        }
        all
    }

    /// The same norms with other numbers, by their names; those that `find` does not know stay.
    pub fn with_norms(
        mut self,
        device: &Device,
        mut find: impl FnMut(&str) -> Option<TensorData>,
    ) -> Self {
        for (i, norm) in self.norms.iter_mut().enumerate() {
            for (name, value) in [("gain", &mut norm.gain), ("shift", &mut norm.shift)] {
                if let Some(data) = find(&format!("norm{i}.{name}")) {
                    *value = Param::from_tensor(Tensor::from_data(data, device));
                }
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::classifier::recipe::tests::RECIPE;
    use crate::feature::classifier::{ClassifierRecipe, ClassifierTrainer, Task};
    use crate::model::State;
    use crate::noise::{Domain, Stream};

    fn data() -> Dataset {
        let mut pixels = Vec::new();
        for i in 0..96 {
            let mut stream = Stream::new(3, Domain::Test, i);
            let base = stream.below(90).unwrap() as usize;
            for at in 0..64 {
                let noise = stream.below(40).unwrap() as usize;
                pixels.push((base + 15 * (at / 8) + noise) as u8);
            }
        }
        Dataset::new(pixels, [1, 8, 8], None, vec![]).unwrap()
    }

    fn recipe() -> ClassifierRecipe {
        ClassifierRecipe {
            task: Task::Rotation,
            batch_norm: true,
            epochs: 3,
            ..RECIPE
        }
    }

    #[test]
    fn the_folded_network_answers_as_the_one_that_was_trained() {
        let (data, device) = (data(), Device::flex());
        let mut trainer = ClassifierTrainer::new(recipe(), &data, &device).unwrap();
        let first = trainer.step(&data).unwrap().loss;
        let mut last = first;
        while !trainer.is_finished() {
            last = trainer.step(&data).unwrap().loss;
        }
        assert!(last < 0.8 * first, "{first} {last}");
        let all: Vec<usize> = (0..data.len()).collect();
        let images = data.batch(&all, &[], &device);
        let trained = trainer.trained().clone().valid();
        let values = |scores: Tensor<2>| scores.into_data().iter::<f32>().collect::<Vec<f32>>();
        let (want, got) = (
            values(trained.scores(images.clone())),
            values(trained.folded(&data).scores(images)),
        );
        let scale = want.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        for (want, got) in want.iter().zip(&got) {
            assert!((want - got).abs() < 1e-4 * scale, "{want} {got}");
        }
    }

    #[test]
    fn a_run_with_norms_goes_on_bit_for_bit() {
        let (data, device) = (data(), Device::flex());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        let run = |stop: u64| {
            let mut trainer = ClassifierTrainer::new(recipe(), &data, &device).unwrap();
            while trainer.steps_done() < stop {
                trainer.step(&data).unwrap();
            }
            trainer.state(serde_json::json!({})).write(&path).unwrap();
            let state = State::read(&path).unwrap();
            let mut trainer = ClassifierTrainer::resume(&state, recipe(), &data, &device).unwrap();
            while !trainer.is_finished() {
                trainer.step(&data).unwrap();
            }
            trainer.network(&data).tensors()
        };
        let whole = run(0);
        assert_eq!(run(1), whole);
        assert_eq!(run(7), whole);
    }
}
