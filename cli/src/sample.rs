//! `fewstep sample`: images from a model file, a PNG for each seed.

use crate::device::Context;
use crate::generate::{Generator, SamplingArgs};
use crate::seeds::Seeds;
use anyhow::Context as _;
use clap::Args;
use fewstep::checkpoint::{Card, hash_bytes};
use fewstep::image::Picture;
use fewstep::import;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  fewstep sample student.safetensors --seeds 0-63 --out images --grid
  fewstep sample student.safetensors --seeds 7,100-107 --class 3
  fewstep sample several.safetensors --nfe 4
  fewstep sample edm-cifar10-32x32-uncond-vp.pkl --seeds 0-15
  fewstep sample teacher.safetensors --seeds 0-15 --solver heun --steps 10 --denoise-to-zero
  fewstep sample student.safetensors --seeds 0-63 --noise torch-cuda

Image i depends on seed i only, not on the batch, the threads or the other seeds.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    /// A model file: ours, or an EDM, SFD or PyTorch one
    file: PathBuf,
    /// Seeds, such as 0-63,70,80-90
    #[arg(long, value_name = "SEEDS", default_value = "0-15")]
    seeds: Seeds,
    /// Folder for the images
    #[arg(long, value_name = "DIR", default_value = "images")]
    out: PathBuf,
    /// Images computed at once
    #[arg(long, value_name = "N", default_value = "32")]
    batch: NonZeroUsize,
    /// The class of all images [default: one drawn by each seed]
    #[arg(long, value_name = "K")]
    class: Option<usize>,
    /// Write grid.png with all images, too
    #[arg(long)]
    grid: bool,
    /// Call the network once more at the end, to take the last noise away
    #[arg(long)]
    denoise_to_zero: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Runs the verb.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    let (model, _) = import::open(&verb.file, &context.device)?;
    let sampling = verb.sampling.apply(&model)?;
    let generator = Generator::new(&model, sampling, &context.device)?
        .noise(verb.sampling.noise)
        .class(verb.class)?
        .denoise_to_zero(verb.denoise_to_zero);
    let reporter = context.reporter;
    reporter.say(format!("{}: {}", verb.file.display(), generator.describe()));
    let card = card_hash(&model.card)?;
    let seeds = &verb.seeds.0;
    let mut all = Vec::new();
    let mut progress = reporter.start("images", 0, seeds.len() as u64);
    let mut done = 0;
    for seeds in seeds.chunks(verb.batch.get()) {
        let pictures = Picture::all(generator.images(seeds))?;
        let classes = generator.classes(seeds);
        for (i, (seed, picture)) in seeds.iter().zip(pictures).enumerate() {
            let mut texts = vec![
                ("seed", seed.to_string()),
                ("noise", verb.sampling.noise.to_string()),
                ("card", card.clone()),
            ];
            texts.extend(
                classes
                    .as_ref()
                    .map(|classes| ("class", classes[i].to_string())),
            );
            let texts: Vec<_> = texts
                .iter()
                .map(|(key, text)| (*key, text.as_str()))
                .collect();
            picture.write_png(&verb.out.join(format!("{seed:06}.png")), &texts)?;
            if verb.grid {
                all.push(picture);
            }
        }
        done += seeds.len() as u64;
        progress.set(done, "");
    }
    progress.finish();
    if verb.grid {
        let columns = (all.len() as f64).sqrt().ceil() as usize;
        let path = verb.out.join("grid.png");
        Picture::grid(&all, columns, 1)?.write_png(&path, &[("card", &card)])?;
    }
    println!("{}", verb.out.display());
    Ok(ExitCode::SUCCESS)
}

/// SHA-256 of the card, which says which model made an image.
fn card_hash(card: &Card) -> anyhow::Result<String> {
    let json = serde_json::to_vec(card).context("cannot write the card")?;
    Ok(hash_bytes(&json))
}
