//! The features that a figure is by.

use crate::bundle::asset::{Asset, FEATURES};
use crate::measure::feature_set::check_shape;
use fewstep::Device;
use fewstep::metric::Features;
use serde_json::{Map, Value, json};
use std::path::Path;

/// A network of features, and where it is from.
pub struct Used {
    network: Features,
    /// As typed, or the bundled one.
    name: String,
}

impl Used {
    /// The one that was named, or the bundled one.
    pub fn read(typed: Option<&Path>, device: &Device) -> anyhow::Result<Self> {
        let asset = Asset::find(typed, FEATURES)?;
        Ok(Self {
            network: Features::read(asset.path(), device)?,
            name: match typed {
                Some(path) => path.display().to_string(),
                None => format!("{FEATURES}, bundled"),
            },
        })
    }

    /// The network.
    pub fn network(&self) -> &Features {
        &self.network
    }

    /// Refuses pictures, `[channels, height, width]`, that it was not made for.
    pub fn check(&self, file: &Path, pictures: [usize; 3]) -> anyhow::Result<()> {
        let remedy = "name others with --features (`fewstep train` makes them, by a recipe of kind = \"features\"), or compare \
                      pixels with --paired alone";
        let whose = format!("the pictures of {}", file.display());
        let features = format!("the features of {}", self.name);
        check_shape(&self.network, pictures, [&whose, &features, remedy])
    }

    /// Says which they are, in every answer.
    pub fn record(&self, facts: &mut Map<String, Value>) {
        facts.insert("features".into(), json!(self.network.hash));
        facts.insert("features_file".into(), json!(self.name));
    }
}
