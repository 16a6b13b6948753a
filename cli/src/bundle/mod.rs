//! Recipes, assets and golden cases inside the program.

pub mod asset;
pub mod embedded;
