//! The pieces of work that a distillation is made of, for those who time them or compare them with another
//! implementation.

mod preset;
mod result;

pub use preset::Preset;

use crate::denoiser::{Condition, Contexts, Denoiser, Preconditioned, one_hot};
use crate::distill::{Distiller, Recipe, Resolved, Round, TrajectorySource};
use crate::model::{Card, Kind, Model};
use crate::network::{Gathered, Precision, gather, gradients, replace};
use crate::{Error, Images, noise};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use fewstep_kernels::Frozen;
use std::cell::OnceCell;

/// The noise level of [`Workload::forward`] and [`Workload::gradient`].
const SIGMA: f64 = 2.0;

/// Tokens of the text that networks are told that take one.
const TOKENS: usize = 77;

/// The seed of all noise and of random weights.
const SEED: u64 = 0;

/// A network at work on one batch. What it works on is a function of the network's sizes and the batch alone.
#[derive(Debug)]
pub struct Workload {
    teacher: Model,
    recipe: Resolved,
    device: Device,
    noisy: Images,
    direction: Images,
    condition: Condition,
    /// As the trajectories of a run freeze their teacher.
    _frozen: Frozen,
    /// With autodiff; made when it is first needed.
    student: OnceCell<Preconditioned>,
    /// Made when it is first needed.
    distillation: Option<(TrajectorySource, Distiller)>,
}

/// The gradient of one parameter.
#[derive(Clone, Debug)]
pub struct Gradient {
    /// Official name of the parameter.
    pub name: String,
    /// Dimensions of the parameter.
    pub shape: Vec<usize>,
    /// The gradient, flattened.
    pub values: Tensor<1>,
}

impl Workload {
    /// Prepares the work of `model`'s network. Whether the model is a teacher or a student does not matter: its
    /// network is used as a teacher, without the step branch.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if `batch` is 0.
    pub fn new(model: &Model, batch: usize, device: &Device) -> Result<Self, Error> {
        Self::in_precision(model, batch, Precision::F32, device)
    }

    /// As [`new`](Self::new), with networks that compute in `precision`; weights are held and learnt in f32.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`Error::Incompatible`] for a device without the type.
    pub fn in_precision(
        model: &Model,
        batch: usize,
        precision: Precision,
        device: &Device,
    ) -> Result<Self, Error> {
        let recipe = Recipe {
            seed: SEED,
            batch,
            compute_precision: precision,
            // Random masks would not be another implementation's.
            student_dropout: false,
            ..Recipe::default()
        };
        let teacher = recipe.teacher(&Model {
            card: Card {
                kind: Kind::Teacher,
                ..model.card.clone()
            },
            ..model.clone()
        })?;
        let recipe = recipe.for_teacher(&teacher.card)?;
        recipe.check_device(device)?;
        let (shape, classes) = (
            teacher.card.network.image_shape(),
            teacher.card.network.classes(),
        );
        let samples = 0..batch as u64;
        let noise = |round| noise::latents_keyed(SEED, round, samples.clone(), shape, device);
        let labels = (classes > 0).then(|| {
            let labels = noise::labels_keyed(SEED, 0, samples.clone(), classes)?;
            one_hot(&labels, classes, device)
        });
        let labels = labels.transpose()?;
        let context = teacher.card.network.context_width().map(|width| {
            let rows = TOKENS + teacher.card.network.context_rows();
            let values = noise::latents_keyed(SEED, 2, samples.clone(), [1, rows, width], device);
            values.reshape([batch, rows, width])
        });
        Ok(Self {
            noisy: noise(0).mul_scalar(SIGMA),
            direction: noise(1),
            condition: Condition {
                labels,
                context,
                ..Condition::default()
            },
            _frozen: teacher.network.frozen_weights(),
            teacher,
            recipe,
            device: device.clone(),
            student: OnceCell::new(),
            distillation: None,
        })
    }

    /// The recipe of [`round`](Self::round): the default one, without dropout.
    pub fn recipe(&self) -> &Resolved {
        &self.recipe
    }

    /// One call of the network without gradients, as a teacher makes it: the denoised images, `[batch, channels,
    /// height, width]`.
    pub fn forward(&self) -> Images {
        let noisy = self.noisy.clone();
        self.teacher
            .denoiser()
            .denoise(noisy, SIGMA, &self.condition)
    }

    /// One call with gradients, as a student's step makes it: those of the scalar product of the denoised images with
    /// a fixed direction. A distance would do the same work, but its sign turns where rounding turns it.
    pub fn gradient(&self) -> Vec<Gradient> {
        let student = self.student.get_or_init(|| {
            // Weights of its own: those of a student are not frozen.
            let network = self.teacher.network.clone();
            let all = gather(&network);
            let network = replace(network, &mut |i, _, _| {
                let weight = all.get(i)?.tensor.clone()?;
                Some(weight.mul_scalar(1.0))
            });
            let autodiff = self.device.clone().autodiff();
            Preconditioned {
                network: network.to_device(&autodiff).train(),
                ..self.teacher.denoiser()
            }
        });
        let noisy = self.noisy.clone().autodiff();
        let denoised = student.denoise_each(noisy, &[SIGMA], &self.condition, None);
        let product = (denoised * self.direction.clone().autodiff()).sum();
        let all = gradients(&student.network, &product.backward()).into_iter();
        all.filter_map(
            |Gathered {
                 name,
                 shape,
                 tensor,
             }| {
                tensor.map(|values| Gradient {
                    name,
                    shape,
                    values,
                })
            },
        )
        .collect()
    }

    /// One round of a distillation after another, as [`Distiller::advance`] does it: an update for every step of the student
    /// that calls the network, and the teacher's trajectories, with several threads on a CPU those of the round after it
    /// (the first call then solves its own as well).
    ///
    /// # Errors
    /// [`Error::Diverged`] if the distance becomes infinite or no number.
    pub fn round(&mut self) -> Result<Round, Error> {
        let (source, mut distiller) = match self.distillation.take() {
            Some(both) => both,
            None => (self.source()?, self.distiller_at_start()?),
        };
        let round = distiller.advance(&source);
        self.distillation = Some((source, distiller));
        round
    }

    /// Calls of the network in a round: the teacher's without, the student's with gradients.
    ///
    /// # Errors
    /// None for a workload that could be prepared.
    pub fn calls(&self) -> Result<[usize; 2], Error> {
        let source = self.source()?;
        let student = self.recipe.steps - usize::from(self.recipe.analytic_first_step);
        Ok([source.evaluations()?, student])
    }

    /// The teacher's trajectories, with the texts of the condition if there are any.
    fn source(&self) -> Result<TrajectorySource, Error> {
        let source = TrajectorySource::new(&self.recipe, &self.teacher, &self.device)?;
        match &self.condition.context {
            Some(context) => source.with_contexts(Contexts::new(context.clone(), None)?),
            None => Ok(source),
        }
    }

    fn distiller_at_start(&self) -> Result<Distiller, Error> {
        let recipe = self.recipe.clone();
        Distiller::new(recipe, &self.teacher, String::new(), &self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{NetworkConfig, parameters};
    use crate::noise::{Domain, Stream};
    use burn::tensor::TensorData;

    fn tiny() -> Model {
        let device = Device::flex();
        let mut model = Preset::FashionMnist.model(&device).unwrap();
        let NetworkConfig::SongUnet(config) = &mut model.card.network else {
            unreachable!("the presets are DDPM++")
        };
        (config.resolution, config.model_channels, config.blocks) = (8, 8, 1);
        config.attention_resolutions = vec![4];
        let network = model.card.network.init(3, &device).unwrap();
        model.network = replace(network, &mut |i, _, shape| {
            let values = Stream::new(5, Domain::Test, i as u64).normals(shape.iter().product());
            let values: Vec<f32> = values.into_iter().map(|v| 0.2 * v).collect();
            Some(Tensor::from_data(values.as_slice(), &device))
        });
        model
    }

    /// A step along the gradient changes the product by the gradient's square.
    #[test]
    fn the_gradient_is_that_of_the_product() {
        let device = Device::flex();
        let model = tiny();
        let workload = Workload::new(&model, 3, &device).unwrap();
        let gradient = workload.gradient();
        let names = parameters(&model.network);
        assert!(
            gradient
                .iter()
                .map(|g| &g.name)
                .eq(names.iter().map(|p| &p.name))
        );
        let square: f64 = gradient
            .iter()
            .map(|g| g.values.clone().square().sum().into_scalar::<f64>())
            .sum();
        let length = 1e-3 / square.sqrt();
        let product = |sign: f64| {
            let mut moved = model.clone();
            let network = moved.network.clone();
            let mut values = parameters(&network).into_iter().zip(&gradient);
            moved.network = replace(network, &mut |_, _, _| {
                let (parameter, gradient) = values.next()?;
                let count = parameter.data.num_elements();
                let values: Vec<f32> = parameter.data.iter::<f32>().collect();
                let value = Tensor::from_data(TensorData::new(values, [count]), &device);
                Some(value + gradient.values.clone().mul_scalar(sign * length))
            });
            let moved = Workload::new(&moved, 3, &device).unwrap();
            (moved.forward() * moved.direction.clone())
                .sum()
                .into_scalar::<f64>()
        };
        let slope = (product(1.0) - product(-1.0)) / (2.0 * length);
        // Differences of f32 sums over 200 numbers.
        assert!((slope / square - 1.0).abs() < 0.01, "{slope} {square}");
    }

    #[test]
    fn half_precision_is_near_and_not_the_same() {
        let device = Device::flex();
        let model = tiny();
        let answer = |precision| {
            let work = Workload::in_precision(&model, 3, precision, &device).unwrap();
            let gradient = work.gradient();
            let sum = |g: &Gradient| g.values.clone().abs().sum().into_scalar::<f64>();
            (work.forward(), gradient.iter().map(sum).sum::<f64>())
        };
        let (images, gradient) = answer(Precision::F32);
        let (half, of_half) = answer(Precision::Bf16);
        let size = |images: Images| images.abs().mean().into_scalar::<f64>();
        let off = size(half - images.clone()) / size(images);
        // A number of bf16 is off by up to 0.004 of itself.
        assert!((1e-5..0.02).contains(&off), "{off}");
        let off = (of_half / gradient - 1.0).abs();
        assert!((1e-7..0.05).contains(&off), "{off}");
    }

    #[test]
    fn results_are_those_of_the_work() {
        let device = Device::flex();
        let model = tiny();
        let mut workload = Workload::new(&model, 3, &device).unwrap();
        let results = workload.results().unwrap();
        assert_eq!(
            results.tensors["forward/denoised"],
            workload.forward().into_data()
        );
        assert_eq!(results.tensors["labels"].shape().as_slice(), [3, 10]);
        let round = workload.round().unwrap();
        let distances: Vec<f64> = results.tensors["round/distances"].iter().collect();
        assert_eq!(distances, round.distances);
        assert_eq!(round.trajectories, 3);
        assert_eq!(workload.calls().unwrap(), [12, 2]);
        // Each round takes the next noise.
        assert_ne!(workload.round().unwrap().distances, distances);
        for i in 0..=3 {
            let images = &results.tensors[&format!("round/teacher.{i}")];
            assert_eq!(images.shape().as_slice(), [3, 1, 8, 8]);
        }
        for parameter in parameters(&model.network) {
            let name = parameter.name;
            let after = &results.tensors[&format!("after/{name}")];
            assert_eq!(after.shape(), parameter.data.shape(), "{name}");
            assert_ne!(*after, parameter.data, "{name}");
            assert!(results.tensors.contains_key(&format!("gradient/{name}")));
        }
        assert!(results.to_bytes().is_ok());
        assert!(Workload::new(&model, 0, &device).is_err());
    }
}
