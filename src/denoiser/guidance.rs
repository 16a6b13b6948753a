//! Classifier-free guidance.

use super::{Condition, Denoiser};
use crate::Images;
use burn::tensor::Tensor;

/// Moves the answer away from the unconditional one: D = D_u + weight (D_c - D_u), both from one doubled batch, the
/// unconditional half first. [CFG Eq. 6]
///
/// Unconditional means zeros for labels, and [`Condition::negative`] for a text. With weight 1, or when there are neither
/// labels to follow nor a text to move away from, the inner denoiser is called as it is.
#[derive(Clone, Debug)]
pub struct Guided<D> {
    /// A model trained with and without labels or texts.
    pub denoiser: D,
    /// 1 is no guidance; larger follows them more closely at the price of variety.
    pub weight: f64,
}

impl<D: Denoiser> Denoiser for Guided<D> {
    fn denoise(&self, noisy: Images, sigma: f64, condition: &Condition) -> Images {
        let batch = noisy.dims()[0];
        let texts = condition.context.as_ref().zip(condition.negative.as_ref());
        if self.weight == 1.0 || condition.labels.is_none() && texts.is_none() {
            return self.denoiser.denoise(noisy, sigma, condition);
        }
        let whole = |text: &Tensor<3>| {
            let [_, tokens, width] = text.dims();
            text.clone().expand([batch, tokens, width])
        };
        let context = match texts {
            Some((context, negative)) => Some(vec![whole(negative), whole(context)]),
            None => condition.context.as_ref().map(|c| vec![whole(c); 2]),
        };
        let labels = condition.labels.as_ref();
        let doubled = Condition {
            labels: labels.map(|labels| Tensor::cat(vec![labels.zeros_like(), labels.clone()], 0)),
            augment: condition
                .augment
                .as_ref()
                .map(|augment| Tensor::cat(vec![augment.clone(); 2], 0)),
            context: context.map(|both| Tensor::cat(both, 0)),
            negative: None,
            steps: condition.steps,
        };
        let both = Tensor::cat(vec![noisy; 2], 0);
        let both = self.denoiser.denoise(both, sigma, &doubled);
        let unconditional = both.clone().narrow(0, 0, batch);
        let conditional = both.narrow(0, batch, batch);
        unconditional.clone() + (conditional - unconditional).mul_scalar(self.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denoiser::Counted;
    use burn::tensor::Device;
    use std::cell::Cell;

    /// Answers x / 2, plus 10 for the first class and 20 for the second.
    struct Labelled {
        batch: Cell<usize>,
    }

    impl Denoiser for Labelled {
        fn denoise(&self, noisy: Images, _sigma: f64, condition: &Condition) -> Images {
            self.batch.set(noisy.dims()[0]);
            let scale = Tensor::<2>::from_floats([[10.0, 20.0]], &noisy.device());
            let shift = condition.labels.clone().map(|labels| {
                assert_eq!(labels.dims()[0], noisy.dims()[0]);
                (labels * scale).sum_dim(1).reshape([-1, 1, 1, 1])
            });
            let half = noisy.mul_scalar(0.5);
            match shift {
                Some(shift) => half + shift,
                None => half,
            }
        }
    }

    #[test]
    fn the_weight_extrapolates_from_one_doubled_batch() {
        let device = Device::flex();
        let noisy = Tensor::<4>::from_floats([[[[2.0]]], [[[4.0]]]], &device);
        let labels = Tensor::<2>::from_floats([[1.0, 0.0], [0.0, 1.0]], &device);
        let conditional = Condition {
            labels: Some(labels),
            augment: Some(Tensor::zeros([2, 9], &device)),
            steps: Some(4),
            ..Condition::default()
        };
        for (weight, condition, batch, want) in [
            (1.0, &conditional, 2, [11.0, 22.0]),
            (3.0, &conditional, 4, [31.0, 62.0]),
            (0.0, &conditional, 4, [1.0, 2.0]),
            (3.0, &Condition::default(), 2, [1.0, 2.0]),
        ] {
            let guided = Guided {
                denoiser: Counted::new(Labelled {
                    batch: Cell::new(0),
                }),
                weight,
            };
            let got = guided.denoise(noisy.clone(), 1.0, condition);
            assert_eq!(got.to_data().try_to_vec::<f32>().unwrap(), want, "{weight}");
            assert_eq!(guided.denoiser.inner.batch.get(), batch);
            assert_eq!(guided.denoiser.calls(), 1);
        }
    }

    /// Answers x / 2 plus the sum of its text's first token.
    struct Told;

    impl Denoiser for Told {
        fn denoise(&self, noisy: Images, _sigma: f64, condition: &Condition) -> Images {
            let context = condition.context.clone().unwrap();
            assert_eq!(context.dims()[0], noisy.dims()[0]);
            assert!(condition.negative.is_none());
            let first = context.narrow(1, 0, 1).sum_dim(2);
            noisy.mul_scalar(0.5) + first.reshape([-1, 1, 1, 1])
        }
    }

    #[test]
    fn a_text_is_followed_away_from_the_negative_one() {
        let device = Device::flex();
        let noisy = Tensor::<4>::from_floats([[[[2.0]]], [[[4.0]]]], &device);
        let context = Tensor::<3>::from_floats([[[1.0, 2.0]], [[3.0, 4.0]]], &device);
        let negative = Tensor::<3>::from_floats([[[0.5, 0.5]]], &device);
        let told = Condition {
            context: Some(context),
            negative: Some(negative),
            ..Condition::default()
        };
        // Conditional 4 and 9, unconditional 2 and 3.
        let denoiser = Counted::new(Told);
        let guided = Guided {
            denoiser: &denoiser,
            weight: 7.5,
        };
        let got = guided.denoise(noisy, 1.0, &told);
        assert_eq!(got.to_data().try_to_vec::<f32>().unwrap(), [17.0, 48.0]);
        assert_eq!(denoiser.calls(), 1);
    }
}
