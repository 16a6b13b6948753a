//! What is gathered of drawn images: features, CLIP scores, or both.

use crate::measure::clip::Eye;
use crate::measure::feature_set::{Collector, FeatureSet};
use crate::measure::record::Record;
use fewstep::Images;
use fewstep::metric::Extract;
use serde_json::{Value, json};

/// Takes in batches.
pub struct Gather<'a> {
    collector: Option<Collector<'a>>,
    eye: Option<&'a Eye>,
    cosines: Vec<f64>,
    images: u64,
}

/// All that came of it.
#[derive(Default)]
pub struct Gathered {
    /// The features, if there was a network for them.
    pub set: Option<FeatureSet>,
    /// A cosine for each image, if there was a CLIP model.
    pub cosines: Vec<f64>,
}

/// What makes a record of a batch.
#[derive(Clone, Copy)]
pub struct Maker<'a> {
    features: Option<&'a dyn Extract>,
    eye: Option<&'a Eye>,
}

impl<'a> Gather<'a> {
    /// Features go to the collector.
    pub fn new(collector: Option<Collector<'a>>, eye: Option<&'a Eye>) -> Self {
        Self {
            collector,
            eye,
            cosines: Vec::new(),
            images: 0,
        }
    }

    /// What makes records for it.
    pub fn maker(&self) -> Maker<'a> {
        Maker {
            features: self.collector.as_ref().map(Collector::features),
            eye: self.eye,
        }
    }

    /// Takes in the record of so many images.
    pub fn take(&mut self, record: &Record, images: usize) -> Result<(), fewstep::Error> {
        if let Some(collector) = &mut self.collector {
            collector.push(&record.rows)?;
        }
        self.cosines.extend(&record.numbers);
        self.images += images as u64;
        Ok(())
    }

    /// Images so far.
    pub fn count(&self) -> u64 {
        self.images
    }

    /// All that was found.
    pub fn finish(self) -> Result<Gathered, fewstep::Error> {
        Ok(Gathered {
            set: self.collector.map(Collector::finish).transpose()?,
            cosines: self.cosines,
        })
    }
}

impl Maker<'_> {
    /// What a record depends on besides the images.
    pub fn origin(self) -> Value {
        json!({
            "features": self.features.map(Extract::hash),
            "clip": self.eye.map(Eye::origin),
        })
    }

    /// The record of images, rounded to bytes, of some seeds.
    pub fn record(self, images: Images, seeds: &[u64]) -> anyhow::Result<Record> {
        let mut record = Record::default();
        if let Some(eye) = self.eye {
            let prompts = seeds.iter().map(|seed| eye.prompt_of(*seed));
            let prompts: Vec<usize> = prompts.collect();
            record.numbers = eye.cosines_of_drawn(images.clone(), &prompts)?;
        }
        if let Some(features) = self.features {
            record.rows = features.extract(images)?;
        }
        Ok(record)
    }
}
