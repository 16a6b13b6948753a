//! What is typed for a distillation.

use crate::model::latent::TrainingArgs;
use crate::run::args::{RecipeArg, RunArgs};
use crate::run::distillation::Patience;
use clap::Args;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  fewstep distill fashion-mnist-nfe2 --teacher teacher.safetensors --dry-run
  fewstep distill fashion-mnist-nfe2 --teacher teacher.safetensors --out runs/nfe2
  fewstep distill --recipe cifar10-nfe2 --teacher weights/edm-cifar10-32x32-uncond-vp.pkl
  fewstep distill my.toml --teacher teacher.safetensors --set steps=4 --set teacher-solver.order=2
  fewstep distill my.toml --teacher teacher.safetensors --cache trajectories --set learning-rate=1e-4
  fewstep distill my.toml --teacher teacher.safetensors --cache /shared/trajectories --wait
  fewstep distill fashion-mnist-nfe2 --teacher teacher.safetensors --out runs/nfe2 --resume
  fewstep distill sd15-nfe4 --teacher stable-diffusion-v1-5/ --prompts captions.csv --out runs/sd --dry-run
  fewstep distill ldm-bedroom-nfe2 --teacher model.ckpt --out runs/bedroom

Prompts are embedded once, before the run; then neither text encoder nor autoencoder is in memory, but for previews.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    #[command(flatten)]
    pub(super) recipe: RecipeArg,
    /// The teacher's file: ours, or an EDM, SFD, CompVis or PyTorch one, or a folder of the diffusers library; for a second
    /// stage (second-stage = true) a student's
    #[arg(long, value_name = "FILE")]
    pub(super) teacher: PathBuf,
    /// Weights for distance = "l1-lpips": VGG16 and the LPIPS heads, in one file or several (.pth, .safetensors); `fewstep
    /// fetch vgg16` and `fewstep fetch lpips-vgg` get them
    #[arg(long, value_name = "FILE")]
    pub(super) perceptual: Vec<PathBuf>,
    /// Keep the teacher's trajectories in a folder, and take from it those that an earlier run has left there
    #[arg(long, value_name = "DIR")]
    pub(super) cache: Option<PathBuf>,
    /// Wait for trajectories that `fewstep trajectories` makes elsewhere, in place of solving them. What nobody has been at work
    /// on for this long (30s, 10m, 2h) is solved here; `forever` never does [default where TIME is left out: 10m]
    #[arg(long, value_name = "TIME", requires = "cache", num_args = 0..=1, require_equals = true, default_missing_value = "10m", conflicts_with = "dry_run")]
    pub(super) wait: Option<Patience>,
    #[command(flatten)]
    pub(super) texts: TrainingArgs,
    /// Show the run in a browser on this machine while it goes on; the address is said at the start
    #[arg(long, conflicts_with = "dry_run")]
    pub(super) live: bool,
    #[command(flatten)]
    pub(super) run: RunArgs,
}
