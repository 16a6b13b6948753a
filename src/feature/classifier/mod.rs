//! A small classifier of one's own pictures, whose last layer but one are the features.

mod augment;
mod file;
mod network;
mod norm;
mod recipe;
mod task;
mod trainer;
mod update;

pub use file::{FeatureCard, Features};
pub use network::{FeatureConfig, FeatureNetwork};
pub use recipe::ClassifierRecipe;
pub use task::{Task, accuracy};
pub use trainer::{ClassifierStep, ClassifierTrainer};
