//! How good images are: features, their moments, and distances between sets of images.

mod card;
mod classifier;
mod extractor;
mod features;
mod frechet;
mod inception_score;
mod kernel;
mod moments;
mod network;
mod paired;
mod prdc;
mod published;
mod vectors;

pub use classifier::{ClassifierRecipe, ClassifierStep, ClassifierTrainer, accuracy};
pub use extractor::Extract;
pub use features::{FeatureCard, Features};
pub use frechet::{FrechetReference, frechet_distance};
pub use inception_score::InceptionScore;
pub use kernel::KernelReference;
pub use moments::{Accumulator, Moments};
pub use network::{FeatureConfig, FeatureNetwork};
pub use paired::{PairedDistance, paired_distance};
pub use prdc::{Prdc, PrdcReference};
pub use vectors::{Report, Vectors};
