//! The contract between samplers and models: noisy images in, denoised images out.

mod context;
mod counted;
mod gaussian;
mod guidance;
mod mixture;
mod precondition;
pub mod threshold;
mod trace;

pub(crate) use context::FACTOR;
pub use context::{ContextSource, Contexts};
pub use counted::Counted;
pub use gaussian::Gaussian;
pub use guidance::Guided;
pub use mixture::Mixture;
pub(crate) use precondition::Call;
pub use precondition::{Preconditioned, Preconditioning, Predicted};
pub use threshold::Thresholded;
pub(crate) use trace::{Level, TracedCondition};

use crate::network::NetworkConfig;
use crate::{Error, Images, noise, transfer};
use burn::tensor::{Device, Tensor, TensorData};
use std::ops::Range;

/// What the model is told besides image and noise level.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    /// One-hot class labels `[batch, classes]`; `None` is the unconditional input (zeros).
    pub labels: Option<Tensor<2>>,
    /// Augmentation labels `[batch, 9]`; `None` leaves the branch out.
    pub augment: Option<Tensor<2>>,
    /// The tokens of each image's text, `[batch or 1, tokens, width]`; `None` where the model takes none.
    pub context: Option<Tensor<3>>,
    /// The tokens of the text that guidance moves away from, of the same size; `None` for no guidance by text.
    pub negative: Option<Tensor<3>>,
    /// The step condition: the number of *timestamps* N (steps + 1), as in the official weights. `None` leaves
    /// the step branch out. [SFD Sec. 3.3]
    pub steps: Option<usize>,
}

impl Condition {
    /// Checks that a network can be told this about `batch` images: a denoiser of it panics otherwise.
    ///
    /// # Errors
    /// [`Error::Incompatible`] for labels or texts that the network does not take, of another number or of another width, a
    /// text that is missing, or a step condition without the step branch.
    pub fn check(&self, network: &NetworkConfig, batch: usize) -> Result<(), Error> {
        let rows = |t: &Tensor<2>| t.dims();
        let tokens = |t: &Tensor<3>| {
            let [texts, _, width] = t.dims();
            [if texts == 1 { batch } else { texts }, width]
        };
        let told = [
            ("labels", self.labels.as_ref().map(rows), network.classes()),
            (
                "augmentation labels",
                self.augment.as_ref().map(rows),
                network.augment_labels(),
            ),
            (
                "context",
                self.context.as_ref().map(tokens),
                network.context_width().unwrap_or(0),
            ),
        ];
        let refuse = |first: String, remedy: &str| {
            Err(Error::Incompatible {
                first,
                second: format!("{batch} images of this network"),
                remedy: remedy.into(),
            })
        };
        for (name, found, width) in told {
            if let Some(found) = found.filter(|found| *found != [batch, width]) {
                return match width {
                    0 => refuse(
                        format!("a condition with {name}"),
                        "it takes none; leave them out",
                    ),
                    _ => refuse(
                        format!("{name} of {found:?}"),
                        &format!("it takes [{batch}, {width}]"),
                    ),
                };
            }
        }
        let behind = network.context_rows();
        if let Some(rows) = self.context.as_ref().map(|texts| texts.dims()[1])
            && rows <= behind
        {
            return refuse(
                format!("a text of {rows} rows"),
                &format!("it takes {behind} behind its tokens, with the text as a whole"),
            );
        }
        if network.context_width().is_some() && self.context.is_none() {
            return refuse("a condition without a text".into(), "it takes one");
        }
        if self.steps.is_some() && !network.has_step_branch() {
            return refuse(
                "a step condition".into(),
                "it has no step branch; leave it out",
            );
        }
        Ok(())
    }

    /// The condition of some of the samples.
    pub fn samples(&self, samples: &Range<usize>) -> Self {
        let rows = |t: &Tensor<2>| {
            let columns = t.dims()[1];
            t.clone().slice([samples.clone(), 0..columns])
        };
        let texts = |t: &Tensor<3>| match t.dims() {
            [1, _, _] => t.clone(),
            [_, tokens, width] => t.clone().slice([samples.clone(), 0..tokens, 0..width]),
        };
        Self {
            labels: self.labels.as_ref().map(rows),
            augment: self.augment.as_ref().map(rows),
            context: self.context.as_ref().map(texts),
            negative: self.negative.as_ref().map(texts),
            steps: self.steps,
        }
    }
}

/// What samples of a round of a run start from: standard normal noise `[samples, channels, height, width]`, and random
/// classes unless there are none. Each sample's are a function of the seed, the round and its own number alone.
pub(crate) fn draw_round(
    seed: u64,
    round: u64,
    samples: Range<u64>,
    shape: [usize; 3],
    classes: usize,
    device: &Device,
) -> Result<(Images, Condition), Error> {
    let labels = (classes > 0).then(|| {
        let drawn = noise::labels_keyed(seed, round, samples.clone(), classes)?;
        one_hot(&drawn, classes, device)
    });
    let condition = Condition {
        labels: labels.transpose()?,
        ..Condition::default()
    };
    let noise = noise::latents_keyed(seed, round, samples, shape, device);
    Ok((noise, condition))
}

/// Class numbers as rows of `[labels, classes]` with a single one.
///
/// # Errors
/// [`Error::InvalidValue`] if a label is not below `classes`, or there are no classes: a model without them is told none.
pub fn one_hot(labels: &[usize], classes: usize, device: &Device) -> Result<Tensor<2>, Error> {
    if classes == 0 {
        let expected =
            "at least 1; a model without classes is told none (`Condition::labels` is `None`)";
        return Err(Error::invalid("classes", classes, expected));
    }
    let mut rows = vec![0f32; labels.len() * classes];
    for (row, label) in labels.iter().enumerate() {
        if *label >= classes {
            let expected = format!("below {classes}, the number of classes");
            return Err(Error::invalid("label", label, expected));
        }
        rows[row * classes + label] = 1.0;
    }
    let data = TensorData::new(rows, [labels.len(), classes]);
    Ok(transfer::send(data, device))
}

/// A denoiser D(x; sigma): the expected clean images, given noisy ones. [EDM Eq. 2]
pub trait Denoiser {
    /// Denoises a batch at one noise level.
    ///
    /// # Shapes
    /// `noisy` and the result: `[batch, channels, height, width]`, the noise *added* with standard deviation
    /// `sigma` (variance exploding form).
    ///
    /// # Panics
    /// A network's, for a condition that it does not take ([`Condition::check`] says why) and for images of another number
    /// of channels, or of sides that it cannot halve. [`Model::sample`](crate::model::Model::sample) checks all of it.
    fn denoise(&self, noisy: Images, sigma: f64, condition: &Condition) -> Images;
}

impl<D: Denoiser + ?Sized> Denoiser for &D {
    fn denoise(&self, noisy: Images, sigma: f64, condition: &Condition) -> Images {
        (**self).denoise(noisy, sigma, condition)
    }
}

impl<D: Denoiser + ?Sized> Denoiser for Box<D> {
    fn denoise(&self, noisy: Images, sigma: f64, condition: &Condition) -> Images {
        (**self).denoise(noisy, sigma, condition)
    }
}
