//! What is minimised between the student's and the teacher's images.

use crate::Images;
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
}

impl Distance {
    /// The sum over all pixels of all images, shape `[1]`.
    pub fn sum(self, student: Images, teacher: Images) -> Tensor<1> {
        match self {
            Self::L1 => (student - teacher).abs().sum(),
        }
    }
}
