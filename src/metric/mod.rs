//! How good images are: features, their moments, and distances between sets of images.

mod classifier;
mod features;
mod frechet;
mod moments;
mod network;
mod paired;

pub use classifier::{ClassifierRecipe, Progress, accuracy, train_classifier};
pub use features::{FeatureCard, Features};
pub use frechet::frechet_distance;
pub use moments::{Accumulator, Moments};
pub use network::{FeatureConfig, FeatureNetwork};
pub use paired::{PairedDistance, paired_distance};
