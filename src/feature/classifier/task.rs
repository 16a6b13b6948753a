//! What the network learns to tell apart.

use super::network::FeatureNetwork;
use crate::data::Dataset;
use crate::noise::{Domain, Stream};
use crate::{Error, Images};
use burn::tensor::{Device, TensorData};
use serde::{Deserialize, Serialize};

/// A task that features are learnt by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// The classes of the images.
    #[default]
    Classes,
    /// By how many quarters each image is turned, which needs no classes. [Gidaris et al. 2018]
    Rotation,
    /// [`Classes`](Self::Classes) where the images have two or more, else [`Rotation`](Self::Rotation).
    Auto,
}

/// Quarters of a turn.
const QUARTERS: usize = 4;
/// Which of the random numbers of an image is its turn.
const TURN: u64 = 3;

impl Task {
    /// Whether it is the usual one, which recipes do not name.
    // Serde passes a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(super) fn is_usual(&self) -> bool {
        *self == Self::Classes
    }

    /// The task for these images: never [`Auto`](Self::Auto).
    pub fn of(self, data: &Dataset) -> Self {
        match self {
            Self::Auto if data.labels().is_some() && data.classes().len() >= 2 => Self::Classes,
            Self::Auto => Self::Rotation,
            other => other,
        }
    }

    /// How many answers there are.
    pub fn answers(self, data: &Dataset) -> usize {
        match self.of(data) {
            Self::Classes => data.classes().len(),
            _ => QUARTERS,
        }
    }

    /// The right answers for images at these positions of the training, and the images, turned where that is the task.
    pub(super) fn set(
        self,
        seed: u64,
        data: &Dataset,
        positions: &[u64],
        indices: &[usize],
        images: Images,
    ) -> Result<(Vec<usize>, Images), Error> {
        if self.of(data) == Self::Classes {
            let labels = labels(data)?;
            return Ok((indices.iter().map(|&i| labels[i]).collect(), images));
        }
        let quarter = |position: &u64| {
            let quarter = Stream::keyed(seed, Domain::Flip, 0, TURN, *position).below(4)?;
            Ok(quarter as usize)
        };
        let quarters: Vec<usize> = positions
            .iter()
            .map(quarter)
            .collect::<Result<_, Error>>()?;
        let images = turned(images, &quarters);
        Ok((quarters, images))
    }
}

/// Square images, each turned by so many quarters.
fn turned(images: Images, quarters: &[usize]) -> Images {
    let (device, dims) = (images.device(), images.dims());
    let [_, channels, side, _] = dims;
    let values: Vec<f32> = images.into_data().iter::<f32>().collect();
    let mut turned = vec![0.0; values.len()];
    let size = channels * side * side;
    let all = turned.chunks_mut(size).zip(values.chunks(size));
    for ((to, from), quarter) in all.zip(quarters) {
        for (i, to) in to.iter_mut().enumerate() {
            let (plane, y, x) = (i / (side * side), i / side % side, i % side);
            let last = side - 1;
            let (y, x) = match quarter {
                0 => (y, x),
                1 => (x, last - y),
                2 => (last - y, last - x),
                _ => (last - x, y),
            };
            *to = from[(plane * side + y) * side + x];
        }
    }
    Images::from_data(TensorData::new(turned, dims), &device)
}

/// The images of some indices in all four ways, and the answers.
fn all_ways(data: &Dataset, indices: &[usize], device: &Device) -> (Vec<usize>, Images) {
    let each: Vec<usize> = indices.iter().flat_map(|&i| [i; QUARTERS]).collect();
    let quarters: Vec<usize> = (0..each.len()).map(|i| i % QUARTERS).collect();
    let images = turned(data.batch(&each, &[], device), &quarters);
    (quarters, images)
}

/// Share of right answers, in [0, 1]: of every image, and in all four ways where turns are told.
///
/// # Errors
/// [`Error::InvalidValue`] for data without classes where those are told.
pub fn accuracy(
    network: &FeatureNetwork,
    task: Task,
    data: &Dataset,
    device: &Device,
) -> Result<f64, Error> {
    let (mut right, mut count) = (0, 0);
    let all: Vec<usize> = (0..data.len()).collect();
    for indices in all.chunks(250) {
        let (answers, images) = match task.of(data) {
            Task::Classes => {
                let labels = labels(data)?;
                let answers = indices.iter().map(|&i| labels[i]).collect();
                (answers, data.batch(indices, &[], device))
            }
            _ => all_ways(data, indices, device),
        };
        let classes = network.scores(images).argmax(1).into_data();
        let pairs = classes.iter::<i64>().zip(&answers);
        right += pairs
            .filter(|&(class, &answer)| class == answer as i64)
            .count();
        count += answers.len();
    }
    Ok(right as f64 / count as f64)
}

/// The class of each image.
pub(super) fn labels(data: &Dataset) -> Result<&[usize], Error> {
    let expected = "images with a class each; task = \"rotation\" needs none";
    let labels = data.labels();
    labels.ok_or_else(|| Error::invalid("data", "without labels", expected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::classifier::recipe::tests::RECIPE;
    use crate::feature::classifier::{ClassifierRecipe, ClassifierTrainer};

    #[test]
    fn four_quarters_are_a_whole_turn() {
        let data = Dataset::new((0..64).collect(), [1, 8, 8], None, vec![]).unwrap();
        let device = Device::flex();
        let one = data.batch(&[0], &[], &device);
        let values = |images: Images| images.into_data().iter::<f32>().collect::<Vec<_>>();
        let mut round = one.clone();
        for quarter in 1..=4 {
            round = turned(round, &[1]);
            let at_once = turned(one.clone(), &[quarter % 4]);
            assert_eq!(values(round.clone()), values(at_once), "{quarter}");
        }
        // The upper right corner goes to the upper left.
        assert_eq!(values(turned(one.clone(), &[1]))[0], values(one)[7]);
    }

    /// Images of 8 x 8 that are brighter at the top, over noise.
    fn slopes(seed: u64, images: u64) -> Dataset {
        let mut pixels = Vec::new();
        for i in 0..images {
            let mut stream = Stream::new(seed, Domain::Test, i);
            let base = stream.below(60).unwrap() as usize;
            for at in 0..64 {
                let noise = stream.below(60).unwrap() as usize;
                pixels.push((base + 15 * (7 - at / 8) + noise) as u8);
            }
        }
        Dataset::new(pixels, [1, 8, 8], None, vec![]).unwrap()
    }

    #[test]
    fn turns_are_learnt_without_classes() {
        let data = slopes(1, 256);
        let recipe = ClassifierRecipe {
            task: Task::Auto,
            ..RECIPE
        };
        let device = Device::flex();
        let train = |recipe: ClassifierRecipe| {
            let mut trainer = ClassifierTrainer::new(recipe, &data, &device).unwrap();
            while !trainer.is_finished() {
                trainer.step(&data).unwrap();
            }
            let network = trainer.network(&data);
            accuracy(&network, Task::Rotation, &slopes(2, 100), &device).unwrap()
        };
        let learnt = train(recipe.clone());
        assert!(learnt > 0.9, "{learnt}");
        // Fresh weights know nothing.
        let fresh = ClassifierTrainer::new(recipe.clone(), &data, &device).unwrap();
        let guessed = accuracy(
            &fresh.network(&data),
            Task::Rotation,
            &slopes(2, 100),
            &device,
        );
        assert!(guessed.unwrap() < 0.6);
        let short = ClassifierRecipe {
            images: Some(40),
            ..recipe
        };
        assert_eq!(short.steps(&data), 3);
        assert!(ClassifierTrainer::new(RECIPE, &data, &device).is_err());
    }
}
