//! What `fewstep evaluate` is told.

use super::used::FeatureArgs;
use crate::measure::feature_set::sensible;
use crate::measure::keep::KeepArgs;
use crate::measure::score::Metric;
use crate::model::latent::{PartArgs, PromptArgs};
use crate::model::sampling::SamplingArgs;
use crate::model::source::AdapterArgs;
use crate::run::dataset::ReadArgs;
use crate::screen::failure::wrong;
use crate::typed::whole;
use clap::{Args, ValueEnum};
use fewstep::data::Split;
use serde_json::{Value, json};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  fewstep evaluate student.safetensors --reference assets/fashion-mnist-statistics.safetensors
  fewstep evaluate teacher.safetensors --reference fashion-mnist/ --solver dpm-solver-pp --steps 5
  fewstep evaluate student.safetensors --paired teacher.safetensors --images 500
  fewstep evaluate fashion-mnist/ --split test --reference fashion-mnist/ --json
  fewstep evaluate student.safetensors --reference fashion-mnist/ --metrics frechet,kernel,prdc
  fewstep evaluate fashion-mnist/ --write-statistics statistics.safetensors
  fewstep evaluate student.safetensors --reference fashion-mnist/ --metrics frechet,prdc --report measured.html
  fewstep evaluate photos/ --reference weights/cifar10-32x32.npz --features inception
  fewstep evaluate student.safetensors --protocol edm
  fewstep evaluate sd-student.safetensors --metrics clip --prompts captions.csv --clip clip-vit-large-patch14/
  fewstep evaluate sd-student.safetensors --prompts captions.csv --reference photos/ --features features.safetensors
  fewstep evaluate sd-student.safetensors --paired stable-diffusion-v1-5/ --prompts captions.csv --images 64 --metrics clip

What is measured is kept in runs/evaluate until all of it is: --resume goes on where the same command was stopped, to the same
bytes. Pictures of latent models are decoded before they are measured; with --prompts, seed i shows prompt i.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    /// A model file (.safetensors, .pkl, .pt, .pth, .ckpt) or a folder of diffusers, or images: IDX files, a folder, or a
    /// zip of one
    pub file: PathBuf,
    /// What to compare with: statistics (ours, .npz with mu and sigma, or .pkl), or images
    #[arg(long, value_name = "FILE", required_unless_present_any = ["paired", "write_statistics", "protocol", "metrics"])]
    pub reference: Option<PathBuf>,
    /// What to measure; kernel and prdc need a reference of images, inception-score and clip none [default: frechet]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub metrics: Option<Vec<Metric>>,
    /// The CLIP model of --metrics clip, of transformers or OpenCLIP: a file, or its folder [default: what `fewstep fetch
    /// clip` got]
    #[arg(long, value_name = "PATH")]
    pub clip: Option<PathBuf>,
    /// How many images to draw, or to take from a data set [default: 10000; all of a data set]
    #[arg(long, value_name = "N", value_parser = whole::<u64>(1..=MOST_IMAGES))]
    pub images: Option<u64>,
    /// The first seed; the others follow. For a data set: which images --images takes
    #[arg(long, value_name = "SEED", default_value_t = 0, value_parser = whole::<u64>(0..))]
    pub seeds: u64,
    /// How many images to take from the reference, at random [default: all]
    #[arg(long, value_name = "N", value_parser = whole::<u64>(1..=MOST_IMAGES))]
    pub reference_images: Option<u64>,
    /// Blocks of seeds to show the spread over; 0 or 1 for none
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = whole::<usize>(0..=1000))]
    pub blocks: usize,
    /// Which nearest neighbour the radii of precision, recall, density and coverage reach to
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = whole::<usize>(1..))]
    pub nearest: usize,
    /// Measure a model as published figures are: three times 50,000 images from seed 0 on with PyTorch's noise, as bytes, by
    /// Inception with TensorFlow's resize, of which the least counts; the paper's figure stands beside it
    #[arg(long, value_name = "edm")]
    pub protocol: Option<Protocol>,
    /// Compare with this model's images of the same seeds, too; of latent models with its latents as well
    #[arg(long, value_name = "TEACHER")]
    pub paired: Option<PathBuf>,
    /// With --paired, compare latents alone: no pictures are made, and no autoencoder is needed
    #[arg(long, requires = "paired", conflicts_with_all = ["reference", "metrics", "write_statistics", "protocol"], help_heading = "Latent models")]
    pub latents: bool,
    /// Keep the moments of the images' features, as .safetensors or .npz
    #[arg(long, value_name = "FILE")]
    pub write_statistics: Option<PathBuf>,
    /// Which part of FILE, if it is a data set with parts
    #[arg(long, value_name = "train|test", default_value = "train", value_parser = split)]
    pub split: Split,
    #[command(flatten)]
    pub read: ReadArgs,
    /// Write a page of it, for a browser
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub keep: KeepArgs,
    #[command(flatten)]
    pub network: FeatureArgs,
    #[command(flatten)]
    pub prompts: PromptArgs,
    #[command(flatten)]
    pub parts: PartArgs,
    #[command(flatten)]
    pub adapters: AdapterArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

/// Whose rules are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// EDM, which SFD and its kin follow
    Edm,
}

fn split(text: &str) -> Result<Split, String> {
    match text {
        "train" => Ok(Split::Train),
        "test" => Ok(Split::Test),
        _ => Err("write train or test".into()),
    }
}

/// Images drawn from a model if nobody says how many.
const IMAGES: u64 = 10_000;
/// More than anybody wants by accident.
const MOST_IMAGES: u64 = 10_000_000;

impl Verb {
    /// Whether the inception score is asked for.
    pub fn scored(&self) -> bool {
        self.asks(Metric::InceptionScore)
    }

    /// Whether pictures are compared with texts.
    pub fn eye(&self) -> bool {
        self.asks(Metric::Clip)
    }

    fn asks(&self, metric: Metric) -> bool {
        self.metrics.iter().flatten().any(|m| *m == metric)
    }

    /// What tells this evaluation from others that may be under way.
    pub fn identity(&self) -> Value {
        let metrics = self
            .metrics
            .as_ref()
            .map(|all| all.iter().map(|m| m.name()));
        json!({
            "file": self.file,
            "reference": self.reference,
            "paired": self.paired,
            "metrics": metrics.map(Iterator::collect::<Vec<_>>),
            "protocol": self.protocol.is_some(),
            "seeds": [self.seeds, self.images.unwrap_or(0)],
        })
    }

    /// The seeds to draw.
    pub fn seeds(&self) -> anyhow::Result<Vec<u64>> {
        let end = self.seeds.checked_add(self.images.unwrap_or(IMAGES));
        let end = end.ok_or_else(|| wrong("--seeds and --images go beyond the largest seed"))?;
        Ok((self.seeds..end).collect())
    }

    /// How many blocks of so many images to look at.
    pub fn blocks(&self, images: usize) -> usize {
        match self.reference {
            Some(_) => sensible(self.blocks, images, self.nearest),
            None => 0,
        }
    }
}
