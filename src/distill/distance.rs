//! What is minimised between the student's and the teacher's images.

use super::Perceptual;
use crate::{Error, Images};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// A distance between images, summed over pixels. [SFD Sec. 3.2]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Distance {
    /// Sum of absolute differences.
    #[default]
    L1,
    /// Sum of squared differences.
    L2,
    /// sqrt(|x - y|^2 + c^2) - c of a whole image: L2 for differences below c, the length of the difference above; c
    /// is `huber-scale` times the square root of the numbers in an image. [Song & Dhariwal 2023, pseudo-Huber]
    PseudoHuber,
    /// L1; at the last step plus [LPIPS](Perceptual), times the numbers in an image, which makes it (mean L1 + LPIPS)
    /// on L1's scale, as in the official second stage.
    L1Lpips,
}

/// A distance with all that it needs.
#[derive(Debug)]
pub(super) struct Criterion {
    pub(super) distance: Distance,
    pub(super) huber_scale: f64,
    pub(super) perceptual: Option<Perceptual>,
}

impl Criterion {
    /// Checks that a perceptual distance has its network.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.distance != Distance::L1Lpips || self.perceptual.is_some() {
            return Ok(());
        }
        Err(Error::Incompatible {
            first: "distance = \"l1-lpips\"".into(),
            second: "a run without perceptual weights".into(),
            remedy: "give the file with VGG16 and LPIPS weights".into(),
        })
    }

    /// The sum over all images, shape `[1]`; `last` says that the images are results, not points on the way.
    pub(super) fn sum(&self, student: Images, teacher: Images, last: bool) -> Tensor<1> {
        let [_, c, h, w] = student.dims();
        let numbers = (c * h * w) as f64;
        match (self.distance, &self.perceptual) {
            (Distance::L1Lpips, Some(perceptual)) if last => {
                let felt = perceptual.distance(student.clone(), teacher.clone());
                (student - teacher).abs().sum() + felt.sum().mul_scalar(numbers)
            }
            (Distance::L1 | Distance::L1Lpips, _) => (student - teacher).abs().sum(),
            (Distance::L2, _) => (student - teacher).square().sum(),
            (Distance::PseudoHuber, _) => {
                let constant = self.huber_scale * numbers.sqrt();
                let squares: Tensor<2> = (student - teacher).square().flatten(1, 3).sum_dim(1);
                let lengths = squares.add_scalar(constant * constant).sqrt();
                lengths.sub_scalar(constant).sum()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{DType, Device};

    fn images(values: &[f64]) -> Images {
        let flat = Tensor::<1>::from_data(values, (&Device::flex(), DType::F64));
        flat.reshape([2, 1, 2, 2])
    }

    #[test]
    fn distances_are_sums_over_images() {
        let student = images(&[0.5, -1.0, 0.0, 2.0, 1.0, 1.0, 1.0, 1.0]);
        let teacher = images(&[0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 3.0]);
        let sum = |distance| {
            let criterion = Criterion {
                distance,
                huber_scale: 0.5,
                perceptual: None,
            };
            let sum = criterion.sum(student.clone(), teacher.clone(), true);
            sum.into_scalar::<f64>()
        };
        assert_eq!(sum(Distance::L1), 5.5);
        assert_eq!(sum(Distance::L2), 9.25);
        // c = 0.5 sqrt(4) = 1.
        let wanted = 6.25f64.sqrt() - 1.0 + 5f64.sqrt() - 1.0;
        assert!((sum(Distance::PseudoHuber) - wanted).abs() < 1e-12);
    }

    #[test]
    fn equal_images_have_no_distance_and_a_finite_gradient() {
        for distance in [Distance::L1, Distance::L2, Distance::PseudoHuber] {
            let criterion = Criterion {
                distance,
                huber_scale: 0.00054,
                perceptual: None,
            };
            let student = images(&[0.25; 8]).autodiff().require_grad();
            let sum = criterion.sum(student.clone(), images(&[0.25; 8]).autodiff(), false);
            assert_eq!(sum.clone().into_scalar::<f64>(), 0.0, "{distance:?}");
            let gradient = student.grad(&sum.backward()).unwrap();
            let gradient: Vec<f64> = gradient.into_data().try_to_vec().unwrap();
            assert!(gradient.iter().all(|g| g.is_finite()), "{distance:?}");
        }
    }

    #[test]
    fn a_perceptual_distance_needs_its_network() {
        let criterion = Criterion {
            distance: Distance::L1Lpips,
            huber_scale: 1.0,
            perceptual: None,
        };
        assert!(criterion.check().unwrap_err().to_string().contains("VGG16"));
    }
}
