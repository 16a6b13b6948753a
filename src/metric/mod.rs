//! How good images are: features, their moments, and distances between sets of images.

mod classifier;
mod features;
mod frechet;
mod moments;
mod paired;

pub use classifier::{ClassifierRecipe, Progress, accuracy, train_classifier};
pub use features::{FeatureCard, FeatureConfig, FeatureNetwork, Features};
pub use frechet::frechet_distance;
pub use moments::{Accumulator, Moments};
pub use paired::{PairedDistance, paired_distance};
