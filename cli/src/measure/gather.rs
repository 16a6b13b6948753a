//! What is gathered of drawn images: features, CLIP scores, how far they are from another model's.

use crate::measure::beside::{Apart, Latents};
use crate::measure::clip::Eye;
use crate::measure::feature_set::{Collector, FeatureSet};
use crate::measure::record::Record;
use crate::model::generate::Generator;
use fewstep::Images;
use fewstep::metric::Extract;
use serde_json::{Value, json};

/// Takes in batches.
pub struct Gather<'a> {
    collector: Option<Collector<'a>>,
    eye: Option<&'a Eye>,
    cosines: Vec<f64>,
    beside: Option<&'a Latents>,
    apart: Apart,
    images: u64,
}

/// All that came of it.
#[derive(Default)]
pub struct Gathered {
    /// The features, if there was a network for them.
    pub set: Option<FeatureSet>,
    /// A cosine for each image, if there was a CLIP model.
    pub cosines: Vec<f64>,
    /// How far latents are from another model's, if there was one.
    pub apart: Option<Apart>,
}

/// What makes a record of a batch.
#[derive(Clone, Copy)]
pub struct Maker<'a> {
    features: Option<&'a dyn Extract>,
    eye: Option<&'a Eye>,
    beside: Option<&'a Latents>,
}

/// A batch as it was drawn.
pub struct Drawn {
    /// What the network made, where that are latents.
    pub latents: Option<Images>,
    /// Pictures, where there is what makes them.
    pub pictures: Option<Images>,
}

impl<'a> Gather<'a> {
    /// Features go to the collector.
    pub fn new(collector: Option<Collector<'a>>, eye: Option<&'a Eye>) -> Self {
        Self {
            collector,
            eye,
            cosines: Vec::new(),
            beside: None,
            apart: Apart::default(),
            images: 0,
        }
    }

    /// Compares latents with these, which are of the same seeds.
    pub fn beside(mut self, latents: Option<&'a Latents>) -> Self {
        self.beside = latents;
        self
    }

    /// What makes records for it.
    pub fn maker(&self) -> Maker<'a> {
        Maker {
            features: self.collector.as_ref().map(Collector::features),
            eye: self.eye,
            beside: self.beside,
        }
    }

    /// Takes in the record of so many images.
    pub fn take(&mut self, record: &Record, images: usize) -> Result<(), fewstep::Error> {
        if let Some(collector) = &mut self.collector {
            collector.push(&record.rows)?;
        }
        // First how far a batch is apart, then a cosine for each of its images.
        let cosines = if self.eye.is_some() { images } else { 0 };
        let first = record.numbers.len().saturating_sub(cosines);
        if let Some(apart) = Apart::of(&record.numbers[..first]) {
            self.apart = self.apart.merge(apart);
        }
        self.cosines.extend(&record.numbers[first..]);
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
            apart: self.beside.map(|_| self.apart),
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

    /// The record of a batch: what is seen of its pictures, and how far they are apart.
    pub fn record(
        self,
        index: usize,
        drawn: Drawn,
        seeds: &[u64],
        generator: &Generator<'_>,
    ) -> anyhow::Result<Record> {
        let mut record = Record::default();
        if let (Some(beside), Some(latents)) = (self.beside, &drawn.latents) {
            let both = (latents, drawn.pictures.as_ref());
            record.numbers = beside.apart(index, seeds, both, generator)?.numbers();
        }
        let Some(images) = drawn.pictures.map(rounded) else {
            return Ok(record);
        };
        if let Some(eye) = self.eye {
            let prompts = seeds.iter().map(|seed| eye.prompt_of(*seed));
            let prompts: Vec<usize> = prompts.collect();
            let cosines = eye.cosines_of_drawn(images.clone(), &prompts)?;
            record.numbers.extend(cosines);
        }
        if let Some(features) = self.features {
            record.rows = features.extract(images)?;
        }
        Ok(record)
    }
}

/// The images as a picture of bytes would show them, in [-1, 1]; the same arithmetic as in [`Picture::all`].
fn rounded(images: Images) -> Images {
    let bytes = images
        .mul_scalar(127.5)
        .add_scalar(128.0)
        .clamp(0.0, 255.0)
        .floor();
    bytes.div_scalar(127.5).sub_scalar(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep::Device;
    use fewstep::image::Picture;
    use fewstep::noise;

    #[test]
    fn rounding_is_that_of_pictures() {
        let images = noise::latents(&[1, 2], [3, 4, 5], &Device::flex());
        let once = rounded(images.clone());
        assert_eq!(
            Picture::all(once.clone()).unwrap(),
            Picture::all(images).unwrap()
        );
        let values = once.into_data();
        for value in values.iter::<f32>() {
            let byte = ((value + 1.0) * 127.5).round();
            assert_eq!(value, byte / 127.5 - 1.0);
        }
    }
}
