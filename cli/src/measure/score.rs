//! Distances between sets of images, each with its spread over blocks.

use crate::measure::feature_set::FeatureSet;
use crate::screen::progress::{Progress, Reporter, figure};
use clap::ValueEnum;
use fewstep::Error;
use fewstep::metric::{
    FrechetReference, KernelReference, Moments, Prdc, PrdcReference, Report, Vectors,
};
use serde_json::{Map, Value, json};
use std::sync::{Mutex, PoisonError};

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Metric {
    /// Frechet distance (FID)
    Frechet,
    /// Kernel distance (KID)
    Kernel,
    /// Precision, recall, density and coverage
    Prdc,
    /// Inception score of the images alone; it needs --features inception
    InceptionScore,
    /// CLIP score of pictures and --prompts; it needs --clip
    Clip,
}

impl Metric {
    /// Whether means and covariances are not enough.
    pub fn needs_images(self) -> bool {
        matches!(self, Self::Kernel | Self::Prdc)
    }

    /// Whether the images are compared with others.
    pub fn compares(self) -> bool {
        !matches!(self, Self::InceptionScore | Self::Clip)
    }

    /// As typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Frechet => "frechet",
            Self::Kernel => "kernel",
            Self::Prdc => "prdc",
            Self::InceptionScore => "inception-score",
            Self::Clip => "clip",
        }
    }
}

/// What to compare with.
pub enum Reference {
    /// Moments only.
    Statistics(Moments),
    /// Images.
    Images(FeatureSet),
}

impl Reference {
    fn moments(&self) -> &Moments {
        match self {
            Self::Statistics(moments) => moments,
            Self::Images(set) => &set.moments,
        }
    }

    fn vectors(&self) -> anyhow::Result<Vectors<'_, f32>> {
        match self {
            Self::Images(set) => Ok(set.vectors()?),
            Self::Statistics(_) => anyhow::bail!("the reference has no images"),
        }
    }
}

/// One number, over all images and over each block.
#[derive(Clone, Debug)]
pub struct Score {
    /// Its key in JSON.
    key: &'static str,
    /// Its name for people.
    title: &'static str,
    value: f64,
    blocks: Vec<f64>,
}

/// Measures `found` against `reference`; `nearest` is the k of precision, recall, density and coverage.
pub fn score(
    metrics: &[Metric],
    reference: &Reference,
    found: &FeatureSet,
    nearest: usize,
    reporter: Reporter,
) -> anyhow::Result<Vec<Score>> {
    let mut scores = Vec::new();
    for metric in [Metric::Frechet, Metric::Kernel, Metric::Prdc] {
        if metrics.contains(&metric) {
            match metric {
                // Of the images alone: found with their features.
                Metric::InceptionScore | Metric::Clip => {}
                Metric::Frechet => scores.push(frechet(reference, found)?),
                Metric::Kernel => scores.push(kernel(reference, found, reporter)?),
                Metric::Prdc => scores.extend(prdc(reference, found, nearest, reporter)?),
            }
        }
    }
    Ok(scores)
}

fn frechet(reference: &Reference, found: &FeatureSet) -> anyhow::Result<Score> {
    let sets: Vec<&Moments> = std::iter::once(&found.moments)
        .chain(&found.blocks)
        .collect();
    let mut distances = FrechetReference::new(reference.moments()).distances(&sets)?;
    Ok(Score {
        key: "frechet",
        title: "Frechet distance",
        value: distances.remove(0),
        blocks: distances,
    })
}

fn kernel(reference: &Reference, found: &FeatureSet, reporter: Reporter) -> anyhow::Result<Score> {
    let vectors = reference.vectors()?;
    let reference = watched(reporter, "reference, pairs", |report| {
        KernelReference::new(vectors, report)
    })?;
    let (value, blocks) = each(found, |vectors| {
        watched(reporter, "kernel distance, pairs", |report| {
            reference.distance(&vectors, report)
        })
    })?;
    Ok(Score {
        key: "kernel",
        title: "kernel distance",
        value,
        blocks,
    })
}

fn prdc(
    reference: &Reference,
    found: &FeatureSet,
    nearest: usize,
    reporter: Reporter,
) -> anyhow::Result<Vec<Score>> {
    let vectors = reference.vectors()?;
    let reference = watched(reporter, "reference, pairs", |report| {
        PrdcReference::new(vectors, nearest, report)
    })?;
    let (whole, blocks) = each(found, |vectors| {
        watched(reporter, "precision and recall, pairs", |report| {
            reference.compare(&vectors, report)
        })
    })?;
    let score = |key, title, part: fn(&Prdc) -> f64| Score {
        key,
        title,
        value: part(&whole),
        blocks: blocks.iter().map(part).collect(),
    };
    Ok(vec![
        score("precision", "precision", |p| p.precision),
        score("recall", "recall", |p| p.recall),
        score("density", "density", |p| p.density),
        score("coverage", "coverage", |p| p.coverage),
    ])
}

/// Measures all vectors, and those of each block.
fn each<R>(
    found: &FeatureSet,
    measure: impl Fn(Vectors<'_, f32>) -> Result<R, Error>,
) -> Result<(R, Vec<R>), Error> {
    let whole = measure(found.vectors()?)?;
    let size = found.moments.mean.len();
    let blocks = 0..found.blocks.len();
    let of_block = |block| measure(Vectors::new(&found.block(block), size)?);
    Ok((whole, blocks.map(of_block).collect::<Result<_, _>>()?))
}

/// Runs `work` with a progress bar that appears once it reports.
fn watched<R>(reporter: Reporter, what: &str, work: impl FnOnce(Report<'_>) -> R) -> R {
    let bar: Mutex<Option<(Progress, u64)>> = Mutex::new(None);
    let result = work(&|done, total| {
        // A thread that panicked holds nothing that matters here.
        let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
        let (bar, largest) = bar.get_or_insert_with(|| (reporter.start(what, 0, total), 0));
        // The threads' reports may overtake each other.
        *largest = done.max(*largest);
        bar.set(*largest, "");
    });
    if let Some((bar, _)) = bar.into_inner().unwrap_or_else(PoisonError::into_inner) {
        bar.finish();
    }
    result
}

impl Score {
    fn mean(&self) -> f64 {
        self.blocks.iter().sum::<f64>() / self.blocks.len() as f64
    }

    /// Standard deviation over the blocks.
    fn deviation(&self) -> f64 {
        let mean = self.mean();
        let squares: f64 = self.blocks.iter().map(|v| (v - mean).powi(2)).sum();
        (squares / (self.blocks.len() as f64 - 1.0)).sqrt()
    }

    /// A line for people; each block has `images` images.
    fn line(&self, images: u64) -> String {
        let value = match self.key {
            "kernel" => figure(self.value),
            _ => format!("{:.4}", self.value),
        };
        let spread = match self.blocks.len() {
            0 => String::new(),
            n => format!(
                "   {n} blocks of {images}: {} +- {}",
                figure(self.mean()),
                figure(self.deviation())
            ),
        };
        format!("{:<18}{value}{spread}", self.title)
    }
}

/// Adds the scores to what is known.
pub fn record(scores: &[Score], images: u64, facts: &mut Map<String, Value>) {
    let mut blocks = Map::new();
    for score in scores {
        facts.insert(score.key.into(), json!(score.value));
        if !score.blocks.is_empty() {
            blocks.insert("count".into(), json!(score.blocks.len()));
            blocks.insert("images".into(), json!(images / score.blocks.len() as u64));
            let spread = json!({
                "mean": score.mean(),
                "deviation": score.deviation(),
                "values": score.blocks,
            });
            blocks.insert(score.key.into(), spread);
        }
    }
    if !blocks.is_empty() {
        facts.insert("blocks".into(), Value::Object(blocks));
    }
}

/// Lines for people.
pub fn lines(scores: &[Score], images: u64) -> Vec<String> {
    let line = |score: &Score| score.line(images / score.blocks.len().max(1) as u64);
    scores.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_a_standard_deviation() {
        let score = Score {
            key: "precision",
            title: "precision",
            value: 0.5,
            blocks: vec![0.4, 0.5, 0.6],
        };
        assert!((score.mean() - 0.5).abs() < 1e-12);
        assert!((score.deviation() - 0.1).abs() < 1e-12);
        let line = score.line(20);
        assert_eq!(
            line,
            "precision         0.5000   3 blocks of 20: 0.500 +- 0.100"
        );
        let mut facts = Map::new();
        record(std::slice::from_ref(&score), 61, &mut facts);
        assert_eq!(facts["precision"], 0.5);
        assert_eq!(facts["blocks"]["count"], 3);
        assert_eq!(facts["blocks"]["images"], 20);
        let alone = Score {
            blocks: vec![],
            ..score
        };
        assert_eq!(alone.line(61), "precision         0.5000");
        let mut facts = Map::new();
        record(&[alone], 61, &mut facts);
        assert!(!facts.contains_key("blocks"));
    }
}
