//! `fewstep sample`: images from a model file, a PNG for each seed.

mod album;
mod origin;
mod task;

use crate::context::Context;
use crate::model::latent::{Finder, PartArgs, PromptArgs, Size, Texts};
use crate::model::sampling::SamplingArgs;
use crate::model::seeds::Seeds;
use crate::model::source::{AdapterArgs, ModelSource};
use crate::output::Outputs;
use crate::screen::command_line::again;
use crate::screen::failure::wrong;
use crate::screen::say::say;
use crate::screen::signal::Stopped;
use crate::typed::whole;
use album::{Album, Content};
use anyhow::Context as _;
use clap::Args;
use fewstep::model::Card;
use origin::Origin;
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use task::Task;

const EXAMPLES: &str = "\
Examples:
  fewstep sample student.safetensors --seeds 0-63 --out images --grid
  fewstep sample student.safetensors --seeds 7,100-107 --class 3
  fewstep sample student.safetensors --class circles
  fewstep sample several.safetensors --nfe 4
  fewstep sample edm-cifar10-32x32-uncond-vp.pkl --seeds 0-15
  fewstep sample teacher.safetensors --seeds 0-15 --solver heun --steps 10 --denoise-to-zero
  fewstep sample student.safetensors --seeds 0-63 --noise torch-cuda
  fewstep sample runs/sd/student.safetensors --prompt 'a red cube on a table' --guidance 7.5 --seeds 0-3
  fewstep sample stable-diffusion-v1-5/ --prompts captions.csv --negative 'text, letters' --steps 20
  fewstep sample runs/bedroom/student.safetensors --autoencoder model.ckpt --seeds 0-15 --grid
  fewstep sample v1-5-pruned-emaonly.safetensors --prompt 'a lighthouse' --size 768x512
  fewstep sample runs/lora/student.safetensors --base stable-diffusion-v1-5/ --prompt 'a lighthouse'
  fewstep sample dreamshaper.safetensors --lora runs/lora/student.safetensors --lora style.safetensors:0.7 --prompt 'a mill'

Image i depends on seed i, and on the prompt of that seed, only: not on the batch, the threads or the other seeds. Of a latent
model the text encoder, the U-Net and the autoencoder are in memory one after the other, and only if they are needed.

Pictures that are there already, of the same model and settings (sample.json beside them), are not drawn again: the same command
goes on where an earlier one was cut off. Latents are kept until their picture is written (SEED.latents.safetensors).";

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
    /// The class of all images, by its name or its number (`fewstep inspect FILE` lists them) [default: one drawn by each
    /// seed]
    #[arg(long, value_name = "NAME|NUMBER")]
    class: Option<String>,
    /// Throw away what the folder holds of these seeds
    #[arg(long)]
    overwrite: bool,
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
    adapters: AdapterArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Runs the verb.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    let source = ModelSource::read(&verb.file, &verb.adapters)?;
    let (card, hash) = (source.card.clone(), source.hash.clone());
    if let Some(file) = &source.levels_of {
        let text = format!("steps and noise levels are those of {}", file.display());
        context.reporter.say(text);
    }
    let sampling = verb.sampling.apply(&card)?;
    let class = class(verb, &card)?;
    let latent = card.is_latent();
    if !latent {
        let given = [(verb.latents, "--latents"), (verb.size.is_some(), "--size")];
        if let Some((_, flag)) = given.into_iter().find(|(given, _)| *given) {
            let file = verb.file.display();
            return Err(wrong(format!(
                "{flag} is for latent models, and {file} makes pictures of its own size"
            )));
        }
    }
    let mut finder = Finder::new(source.home(), &verb.parts)?;
    finder.check_args(latent, card.takes_text())?;
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
    let wanted = (verb.prompts).wanted(&card, sampling.guidance, &verb.file, shape)?;
    // So does a place that cannot be written to.
    let together = &context.together;
    let mut outputs = Outputs::default();
    if together.leads() {
        outputs.folder(&verb.out)?;
        if let Some(folder) = &verb.prompts.embeddings {
            outputs.folder(folder)?;
        }
    }
    let texts = wanted.map(|wanted| together.first(|| wanted.embed(&mut finder, &card, context)));
    let texts = texts.transpose()?;
    let latents = Origin::new(json!({
        "model": hash,
        "sampling": sampling,
        "noise": verb.sampling.noise.to_string(),
        "class": class,
        "denoise-to-zero": verb.denoise_to_zero,
        "shape": shape,
        "prompts": texts.as_ref().map(Texts::digest),
    }));
    // Not there where there is nothing: what was made before goes on.
    let latents = match texts.as_ref().and_then(Texts::besides) {
        Some(besides) => latents.with("told", besides),
        None => latents,
    };
    let autoencoder = autoencoder.filter(|_| !verb.latents);
    let (content, origin) = match &autoencoder {
        _ if verb.latents => (Content::Latents, latents.clone()),
        Some(file) => {
            let hash = source.hash_of(file.path())?;
            let origin = latents.clone().with("autoencoder", json!(hash));
            (Content::Pictures, origin)
        }
        None => (Content::Pictures, latents.clone()),
    };
    let task = Task {
        file: &verb.file,
        batch: verb.batch,
        class,
        denoise_to_zero: verb.denoise_to_zero,
        noise: verb.sampling.noise,
        seeds: seeds(verb, texts.as_ref()),
        source,
        card,
        sampling,
        shape,
        texts,
        autoencoder,
    };
    let wanted = (task.seeds.as_slice(), verb.overwrite);
    let mut album = Album::open(&verb.out, content, &task.card, [latents, origin], wanted)?;
    announce(verb, &task.seeds, &album, context);
    if together.size() > 1 {
        // All have looked at what is there before the first of them throws anything away.
        together.agree(Ok(()))?;
        together.first(|| album.share(together.leads()))?;
    }
    let drawn = match latent {
        true => task.draw_latents(&mut album, content, context),
        false => task.draw(&mut album, context),
    };
    let drawn = drawn.or_else(|error| kept(error, verb, &task, &album));
    together.agree(drawn)?;
    album.tidy()?;
    if verb.grid && together.leads() {
        album.finish(&task.seeds)?;
    }
    say!("{}", verb.out.display());
    Ok(ExitCode::SUCCESS)
}

/// Says what is there already.
fn announce(verb: &Verb, seeds: &[u64], album: &Album<'_>, context: &Context) {
    let out = verb.out.display();
    if album.len() > 0 {
        let (there, all) = (album.len(), seeds.len());
        context.reporter.say(format!(
            "{out}: {there} of {all} are there already, made by the same model and settings"
        ));
    }
    let others = album.others(seeds, verb.grid);
    if others > 0 {
        context.reporter.say(format!(
            "{out}: {others} files of earlier calls stay there beside the new ones; --out names another folder"
        ));
    }
}

/// Adds to an error what was kept, and how to go on from it.
fn kept(
    error: anyhow::Error,
    verb: &Verb,
    task: &Task<'_>,
    album: &Album<'_>,
) -> anyhow::Result<()> {
    let seeds = task.seeds.iter();
    let waiting = seeds.filter(|seed| !album.has(**seed) && album.has_latents(**seed));
    let (there, waiting, all) = (album.len(), waiting.count(), task.seeds.len());
    // What was asked to stop says how to go on in any case.
    if there + waiting == 0 || error.is::<Stopped>() {
        return Err(error);
    }
    let command = again();
    let latents = match waiting {
        0 => String::new(),
        _ => format!(
            ", and the latents of {waiting} more (another autoencoder can be named with --autoencoder)"
        ),
    };
    Err(error).context(format!(
        "{} holds {there} of {all}{latents}; go on from there with `{command}`",
        verb.out.display()
    ))
}

/// The class that was typed.
fn class(verb: &Verb, card: &Card) -> anyhow::Result<Option<usize>> {
    let typed = verb.class.as_deref();
    let class = typed.map(|typed| {
        let refused = match card.network.classes() {
            0 => "knows no classes".into(),
            _ => format!("has classes {}", card.class_list()),
        };
        let class = card.class(typed);
        class.map_err(|_| wrong(format!("--class {typed}: this model {refused}")))
    });
    class.transpose()
}

/// The seeds to draw.
fn seeds(verb: &Verb, texts: Option<&Texts>) -> Vec<u64> {
    match (&verb.seeds, texts) {
        (Some(seeds), _) => seeds.0.clone(),
        (None, Some(texts)) => (0..texts.len() as u64).collect(),
        (None, None) => (0..16).collect(),
    }
}
