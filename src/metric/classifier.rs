//! Training the feature network as a classifier.

use super::features::{FeatureConfig, FeatureNetwork};
use crate::data::Dataset;
use crate::noise::{Domain, Stream, epoch_index};
use crate::{Error, Images};
use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Tensor, TensorData, activation};
use serde::{Deserialize, Serialize};

/// How to train a feature network. The result is a function of the recipe and the data only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClassifierRecipe {
    /// Key of every random number: initial weights, order of the data, flips and shifts.
    pub seed: u64,
    /// Passes over the data, 1 to 1000.
    pub epochs: u64,
    /// Images a step, 1 to 65536.
    pub batch: usize,
    /// Largest learning rate, positive: reached after 2 % of the steps, then falling to zero along a cosine.
    pub learning_rate: f64,
    /// Whether each image is mirrored left to right with probability 1/2.
    pub flip: bool,
    /// Images are shifted by up to this many pixels in each direction, 0 to 8.
    pub shift: u32,
    /// Channels of the three convolutions.
    pub widths: [usize; 3],
    /// Number of features.
    pub features: usize,
}

impl ClassifierRecipe {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the setting.
    pub fn check(&self) -> Result<(), Error> {
        if !(1..=1000).contains(&self.epochs) {
            return Err(Error::invalid("epochs", self.epochs, "in 1..=1000"));
        }
        if !(1..=65536).contains(&self.batch) {
            return Err(Error::invalid("batch", self.batch, "in 1..=65536"));
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return Err(Error::invalid(
                "learning-rate",
                self.learning_rate,
                "positive",
            ));
        }
        if self.shift > 8 {
            return Err(Error::invalid("shift", self.shift, "in 0..=8 pixels"));
        }
        Ok(())
    }

    /// The sizes of the network for these data.
    pub fn network(&self, data: &Dataset) -> FeatureConfig {
        let [channels, size, _] = data.shape();
        FeatureConfig {
            size,
            channels,
            widths: self.widths,
            features: self.features,
            classes: data.classes().len(),
        }
    }

    /// Steps of the whole training.
    pub fn steps(&self, data: &Dataset) -> u64 {
        (self.epochs * data.len() as u64).div_ceil(self.batch as u64)
    }

    fn learning_rate(&self, step: u64, steps: u64) -> f64 {
        let warm = (0.02 * steps as f64).max(1.0);
        let now = step as f64 + 0.5;
        if now < warm {
            self.learning_rate * now / warm
        } else {
            let done = (now - warm) / (steps as f64 - warm).max(1.0);
            self.learning_rate * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * done.min(1.0)))
        }
    }
}

/// One step of the training, for logging.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The step that is done, counted from 1.
    pub step: u64,
    /// Steps of the whole training.
    pub steps: u64,
    /// Mean cross-entropy of its batch, in nats.
    pub loss: f32,
}

/// Trains a classifier with Adam on the cross-entropy; `report` hears of every step.
///
/// # Errors
/// [`Error::InvalidValue`] for a recipe out of range or data without classes, [`Error::Diverged`] (the round is the
/// epoch) if the loss is not finite.
pub fn train_classifier(
    recipe: &ClassifierRecipe,
    data: &Dataset,
    device: &Device,
    report: &mut dyn FnMut(Progress),
) -> Result<FeatureNetwork, Error> {
    recipe.check()?;
    let Some(labels) = data.labels() else {
        return Err(Error::invalid(
            "data",
            "without labels",
            "images with a class each",
        ));
    };
    let config = recipe.network(data);
    let device = device.clone().autodiff();
    let mut network = FeatureNetwork::init(&config, recipe.seed, &device)?;
    let mut optimizer = AdamConfig::new().with_epsilon(1e-8).init();
    let steps = recipe.steps(data);
    for step in 0..steps {
        let first = step * recipe.batch as u64;
        let positions: Vec<u64> = (first..first + recipe.batch as u64).collect();
        let indices: Vec<usize> = positions
            .iter()
            .map(|&position| epoch_index(recipe.seed, position, data.len()))
            .collect();
        let images = augmented(recipe, data, &positions, &indices, &device);
        let targets = one_hot(labels, &indices, config.classes, &device);
        let scores = activation::log_softmax(network.scores(images), 1);
        let loss = (scores * targets).sum().div_scalar(-(recipe.batch as f64));
        let value: f32 = loss.clone().into_scalar();
        if !value.is_finite() {
            let round = first / data.len() as u64;
            return Err(Error::Diverged {
                round,
                step: step as usize,
            });
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = optimizer.step(recipe.learning_rate(step, steps), network, gradients);
        report(Progress {
            step: step + 1,
            steps,
            loss: value,
        });
    }
    Ok(network.valid())
}

/// Share of the images that the network classifies rightly, in [0, 1].
///
/// # Errors
/// [`Error::InvalidValue`] for data without classes.
pub fn accuracy(network: &FeatureNetwork, data: &Dataset, device: &Device) -> Result<f64, Error> {
    let Some(labels) = data.labels() else {
        return Err(Error::invalid(
            "data",
            "without labels",
            "images with a class each",
        ));
    };
    let mut right = 0;
    let all: Vec<usize> = (0..data.len()).collect();
    for indices in all.chunks(250) {
        let scores = network.scores(data.batch(indices, &[], device));
        let classes = scores.argmax(1).into_data();
        let pairs = classes.iter::<i64>().zip(indices);
        right += pairs
            .filter(|&(class, &i)| class == labels[i] as i64)
            .count();
    }
    Ok(right as f64 / data.len() as f64)
}

/// Images in [-1, 1], mirrored and shifted over black; each change is keyed by the position in the training.
fn augmented(
    recipe: &ClassifierRecipe,
    data: &Dataset,
    positions: &[u64],
    indices: &[usize],
    device: &Device,
) -> Images {
    let [channels, height, width] = data.shape();
    let image = channels * height * width;
    let mut values = vec![-1.0; indices.len() * image];
    let span = 2 * u64::from(recipe.shift) + 1;
    for ((out, &position), &index) in values.chunks_mut(image).zip(positions).zip(indices) {
        let mut stream = Stream::new(recipe.seed, Domain::Flip, position);
        let flip = stream.below(2) == 1 && recipe.flip;
        let [down, right] = [(); 2].map(|()| stream.below(span) as isize - recipe.shift as isize);
        for (i, &byte) in data.pixels(index).iter().enumerate() {
            let (plane, y, x) = (i / (height * width), i / width % height, i % width);
            let x = if flip { width - 1 - x } else { x };
            let (y, x) = (y.wrapping_add_signed(down), x.wrapping_add_signed(right));
            // A negative coordinate has wrapped around to a huge one.
            if y < height && x < width {
                out[(plane * height + y) * width + x] = f32::from(byte) / 127.5 - 1.0;
            }
        }
    }
    let shape = [indices.len(), channels, height, width];
    Images::from_data(TensorData::new(values, shape), device)
}

/// `[indices, classes]`.
fn one_hot(labels: &[usize], indices: &[usize], classes: usize, device: &Device) -> Tensor<2> {
    let mut values = vec![0f32; indices.len() * classes];
    for (row, &index) in values.chunks_mut(classes).zip(indices) {
        row[labels[index]] = 1.0;
    }
    Tensor::from_data(TensorData::new(values, [indices.len(), classes]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: ClassifierRecipe = ClassifierRecipe {
        seed: 1,
        epochs: 12,
        batch: 16,
        learning_rate: 0.01,
        flip: true,
        shift: 1,
        widths: [4, 4, 8],
        features: 8,
    };

    /// Images of 8 x 8: class 0 has a bright horizontal bar, class 1 a vertical one, over noise.
    fn bars(seed: u64, images: usize) -> Dataset {
        let mut pixels = Vec::new();
        for i in 0..images {
            let mut stream = Stream::new(seed, Domain::Test, i as u64);
            let place = 1 + stream.below(6) as usize;
            for at in 0..64 {
                let along = if i % 2 == 0 { at / 8 } else { at % 8 };
                let bar = if along == place { 120 } else { 0 };
                pixels.push(bar + stream.below(100) as u8);
            }
        }
        let labels = (0..images).map(|i| i % 2).collect();
        let classes = vec!["across".into(), "down".into()];
        Dataset::new(pixels, [1, 8, 8], Some(labels), classes).unwrap()
    }

    fn train(data: &Dataset) -> (FeatureNetwork, Vec<f32>) {
        let mut losses = Vec::new();
        let device = Device::flex();
        let network = train_classifier(&RECIPE, data, &device, &mut |p| losses.push(p.loss));
        (network.unwrap(), losses)
    }

    #[test]
    fn it_learns_what_it_has_not_seen() {
        let (network, losses) = train(&bars(1, 256));
        assert_eq!(losses.len() as u64, RECIPE.steps(&bars(1, 256)));
        let accuracy = accuracy(&network, &bars(2, 200), &Device::flex()).unwrap();
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
    fn the_learning_rate_rises_then_falls_to_zero() {
        let rates: Vec<f64> = (0..100)
            .map(|step| RECIPE.learning_rate(step, 100))
            .collect();
        let highest = rates.iter().copied().fold(0.0, f64::max);
        assert!(rates[0] < 0.3 * highest && (0.0099..=0.01).contains(&highest));
        assert!(rates[3..].windows(2).all(|w| w[0] > w[1]));
        assert!(rates[99] > 0.0 && rates[99] < 1e-5);
    }

    #[test]
    fn shifts_and_flips_move_the_picture_over_black() {
        let mut pixels = vec![0; 64];
        pixels[8 * 3 + 2] = 255;
        let data = Dataset::new(pixels, [1, 8, 8], None, vec![]).unwrap();
        let positions: Vec<u64> = (0..64).collect();
        let images = augmented(&RECIPE, &data, &positions, &[0; 64], &Device::flex());
        let values: Vec<f32> = images.into_data().try_to_vec().unwrap();
        let places: std::collections::BTreeSet<(usize, usize)> = values
            .chunks(64)
            .map(|image| {
                let bright: Vec<usize> = (0..64).filter(|&i| image[i] == 1.0).collect();
                assert_eq!(bright.len(), 1);
                assert_eq!(image.iter().filter(|v| **v == -1.0).count(), 63);
                (bright[0] / 8, bright[0] % 8)
            })
            .collect();
        // Three rows, and three columns around 2 or, mirrored, around 5.
        let rows = 2..=4;
        let expected = rows.flat_map(|y| (1..=6).map(move |x| (y, x))).collect();
        assert_eq!(places, expected);
    }

    #[test]
    fn bad_recipes_and_data_are_refused() {
        let device = Device::flex();
        let refuse = |recipe: &ClassifierRecipe, data: &Dataset, reason: &str| {
            let error = train_classifier(recipe, data, &device, &mut |_| {}).unwrap_err();
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
