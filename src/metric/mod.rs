//! How good images are: moments of their features, and distances between sets of images.
//!
//! The networks of features are in [`feature`](crate::feature).

mod frechet;
mod inception_score;
mod kernel;
mod moments;
mod paired;
mod prdc;
mod published;
mod vectors;

pub use frechet::{FrechetReference, frechet_distance};
pub use inception_score::InceptionScore;
pub use kernel::KernelReference;
pub use moments::{Accumulator, Moments};
pub use paired::{PairedDistance, paired_distance};
pub use prdc::{Prdc, PrdcReference};
pub use vectors::{Report, Vectors};

pub use crate::feature::Extract;
pub use crate::feature::classifier::{
    ClassifierRecipe, ClassifierStep, ClassifierTrainer, FeatureCard, FeatureConfig,
    FeatureNetwork, Features, Task, accuracy,
};
