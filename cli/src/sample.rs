//! `fewstep sample`: images from a model file, a PNG for each seed.

use crate::album::Album;
use crate::device::Context;
use crate::failure::wrong;
use crate::generate::Generator;
use crate::latent::{Finder, PartArgs, PromptArgs, Size, Texts, decode, is_latent, takes_text};
use crate::sampling::SamplingArgs;
use crate::say::say;
use crate::seeds::Seeds;
use crate::signal;
use crate::typed::whole;
use clap::Args;
use fewstep::checkpoint::{Card, Model, Sampling};
use fewstep::import::{AutoencoderFile, Checkpoint};
use std::cell::RefCell;
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
  fewstep sample runs/sd/student.safetensors --prompt 'a red cube on a table' --guidance 7.5 --seeds 0-3
  fewstep sample stable-diffusion-v1-5/ --prompts captions.csv --negative 'text, letters' --steps 20
  fewstep sample runs/bedroom/student.safetensors --autoencoder model.ckpt --seeds 0-15 --grid
  fewstep sample v1-5-pruned-emaonly.safetensors --prompt 'a lighthouse' --size 768x512

Image i depends on seed i, and on the prompt of that seed, only: not on the batch, the threads or the other seeds. Of a latent
model the text encoder, the U-Net and the autoencoder are in memory one after the other, and only if they are needed.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    /// A model file: ours, an EDM, SFD, CompVis or PyTorch one, or a folder of the diffusers library
    file: PathBuf,
    /// Seeds, such as 0-63,70,80-90 [default: 0-15; with --prompt 0, with --prompts one for each prompt]
    #[arg(long, value_name = "SEEDS")]
    seeds: Option<Seeds>,
    /// Folder for the images
    #[arg(long, value_name = "DIR", default_value = "images")]
    out: PathBuf,
    /// Images computed at once [default: 32; of a latent model 1]
    #[arg(long, value_name = "N", value_parser = whole::<NonZeroUsize>(1..))]
    batch: Option<NonZeroUsize>,
    /// The class of all images [default: one drawn by each seed]
    #[arg(long, value_name = "K", value_parser = whole::<usize>(0..))]
    class: Option<usize>,
    /// Write grid.png with all images, too
    #[arg(long)]
    grid: bool,
    /// Call the network once more at the end, to take the last noise away
    #[arg(long)]
    denoise_to_zero: bool,
    /// Width and height of the pictures [default: as the model was trained]
    #[arg(long, value_name = "WIDTHxHEIGHT", help_heading = "Latent models")]
    size: Option<Size>,
    /// Write latents (SEED.safetensors) instead of pictures; needs no autoencoder
    #[arg(long, conflicts_with = "grid", help_heading = "Latent models")]
    latents: bool,
    #[command(flatten)]
    prompts: PromptArgs,
    #[command(flatten)]
    parts: PartArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Images computed at once, of models that make no latents.
const BATCH: usize = 32;
/// Latents that are kept until the U-Net makes room for the autoencoder: who asks for thousands of pictures sees the first
/// ones soon, and loading both anew costs little beside so many.
const HELD: usize = 64;

/// What is to be drawn, and how.
struct Task<'a> {
    verb: &'a Verb,
    checkpoint: Checkpoint,
    card: Card,
    sampling: Sampling,
    /// `[channels, height, width]` of what the network makes.
    shape: [usize; 3],
    texts: Option<Texts>,
    autoencoder: Option<AutoencoderFile>,
    seeds: Vec<u64>,
}

/// Runs the verb.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    let checkpoint = Checkpoint::read(&verb.file)?;
    let (card, _) = checkpoint.described()?;
    let sampling = verb.sampling.apply(&card)?;
    let latent = is_latent(&card);
    if !latent {
        let given = [(verb.latents, "--latents"), (verb.size.is_some(), "--size")];
        if let Some((_, flag)) = given.into_iter().find(|(given, _)| *given) {
            let file = verb.file.display();
            return Err(wrong(format!(
                "{flag} is for latent models, and {file} makes pictures of its own size"
            )));
        }
    }
    let mut finder = Finder::new(&verb.file, &verb.parts)?;
    finder.check_args(latent, takes_text(&card))?;
    // All that can be wrong shows before anything large is loaded.
    let autoencoder = match (latent, verb.latents, verb.size) {
        (false, _, _) | (true, true, None) => None,
        (true, true, Some(_)) => Some(finder.autoencoder(&card, "; or leave --size out")?),
        (true, false, _) => {
            Some(finder.autoencoder(&card, "; or keep the latents with --latents")?)
        }
    };
    let shape = match (verb.size, &autoencoder) {
        (Some(size), Some(file)) => size.latent(&card.network, file.config().factor())?,
        _ => card.network.image_shape(),
    };
    let wanted = (verb.prompts).wanted(&card, sampling.guidance, &verb.file)?;
    let texts = wanted.map(|wanted| wanted.embed(&mut finder, &card, context));
    let texts = texts.transpose()?;
    let task = Task {
        verb,
        seeds: seeds(verb, texts.as_ref()),
        checkpoint,
        card,
        sampling,
        shape,
        texts,
        autoencoder: autoencoder.filter(|_| !verb.latents),
    };
    let mut album = Album::new(&verb.out, &task.card, verb.grid)?;
    let others = album.others(&task.seeds);
    if others > 0 {
        let out = verb.out.display();
        context.reporter.say(format!(
            "{out}: {others} files of earlier calls stay there beside the new ones; --out names another folder"
        ));
    }
    if latent {
        task.draw_latents(&mut album, context)?;
    } else {
        task.draw(&mut album, context)?;
    }
    album.finish()?;
    say!("{}", verb.out.display());
    Ok(ExitCode::SUCCESS)
}

/// The seeds to draw.
fn seeds(verb: &Verb, texts: Option<&Texts>) -> Vec<u64> {
    match (&verb.seeds, texts) {
        (Some(seeds), _) => seeds.0.clone(),
        (None, Some(texts)) => (0..texts.len() as u64).collect(),
        (None, None) => (0..16).collect(),
    }
}

impl Task<'_> {
    fn model(&self, context: &Context) -> anyhow::Result<Model> {
        Ok(self.checkpoint.model(self.card.clone(), &context.device)?)
    }

    fn generator<'a>(
        &'a self,
        model: &'a Model,
        context: &Context,
    ) -> anyhow::Result<Generator<'a>> {
        let verb = self.verb;
        let generator = Generator::new(model, self.sampling.clone(), &context.device)?
            .noise(verb.sampling.noise)
            .class(verb.class)?
            .denoise_to_zero(verb.denoise_to_zero);
        Ok(generator.texts(self.texts.as_ref()).shape(self.shape))
    }

    fn batch(&self, usual: usize) -> usize {
        self.verb.batch.map_or(usual, NonZeroUsize::get)
    }

    /// Says how it samples.
    fn announce(&self, generator: &Generator<'_>, context: &Context) {
        let file = self.verb.file.display();
        let how = generator.describe();
        context.reporter.say(format!("{file}: {how}"));
    }

    /// Texts for the files of some seeds.
    fn texts_of(&self, seeds: &[u64], classes: Option<&[usize]>) -> Vec<Vec<(&str, String)>> {
        let of = |(i, seed): (usize, &u64)| {
            let mut texts = vec![
                ("seed", seed.to_string()),
                ("noise", self.verb.sampling.noise.to_string()),
            ];
            texts.extend(classes.map(|classes| ("class", classes[i].to_string())));
            if let Some(told) = &self.texts {
                texts.push(("prompt", told.of(*seed).to_string()));
                texts.extend(told.negative().map(|text| ("negative", text.to_string())));
            }
            if self.sampling.guidance != 1.0 {
                texts.push(("guidance", self.sampling.guidance.to_string()));
            }
            texts
        };
        seeds.iter().enumerate().map(of).collect()
    }

    /// Pictures straight from the network.
    fn draw(&self, album: &mut Album<'_>, context: &Context) -> anyhow::Result<()> {
        let model = self.model(context)?;
        let generator = self.generator(&model, context)?;
        self.announce(&generator, context);
        let total = self.seeds.len() as u64;
        let mut progress = context.reporter.start("images", 0, total);
        let mut done = 0;
        signal::catch("batch")?;
        for seeds in self.seeds.chunks(self.batch(BATCH)) {
            let images = generator.images(seeds)?;
            let classes = generator.classes(seeds)?;
            album.add(seeds, &self.texts_of(seeds, classes.as_deref()), images)?;
            done += seeds.len() as u64;
            progress.set(done, "");
        }
        progress.finish();
        Ok(())
    }

    /// Latents, and pictures of them once the network is gone.
    fn draw_latents(&self, album: &mut Album<'_>, context: &Context) -> anyhow::Result<()> {
        let batch = self.batch(1);
        let held = match self.autoencoder {
            Some(_) => HELD.max(batch),
            // Nothing waits for an autoencoder.
            None => usize::MAX,
        };
        let total = self.seeds.len() as u64;
        let device = &context.device;
        let mut done = 0;
        let mut calls = 0;
        signal::catch("batch")?;
        for block in self.seeds.chunks(held) {
            let mut waiting = Vec::new();
            let model = self.model(context)?;
            let generator = self.generator(&model, context)?;
            if done == 0 {
                self.announce(&generator, context);
            }
            // A picture may take minutes: what is counted is the calls of the network for it.
            let each = generator.evaluations() as u64;
            let progress = context.reporter.start("network calls", calls, total * each);
            let progress = RefCell::new((progress, calls));
            for seeds in block.chunks(batch) {
                let latents = generator.latents(seeds, &|| {
                    let (progress, calls) = &mut *progress.borrow_mut();
                    *calls += seeds.len() as u64;
                    progress.set(*calls, "");
                })?;
                match self.autoencoder {
                    Some(_) => waiting.push((seeds, latents)),
                    None => album.add_latents(seeds, &self.texts_of(seeds, None), latents)?,
                }
            }
            let (progress, counted) = progress.into_inner();
            calls = counted;
            progress.finish();
            drop(generator);
            drop(model);
            let Some(file) = &self.autoencoder else {
                continue;
            };
            let autoencoder = file.load(device)?;
            let mut progress = context.reporter.start("pictures", done, total);
            for (seeds, latents) in waiting {
                let images = decode(&autoencoder, latents)?;
                album.add(seeds, &self.texts_of(seeds, None), images)?;
                done += seeds.len() as u64;
                progress.set(done, "");
            }
            progress.finish();
        }
        Ok(())
    }
}
