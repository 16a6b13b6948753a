//! The CLIP model of CLIP scores, and the texts that it reads.

use super::args::Verb;
use crate::context::Context;
use crate::measure::clip::Eye;
use crate::model::latent::Finder;
use crate::screen::failure::wrong;
use std::path::PathBuf;

/// What `fewstep fetch clip` gets.
const FETCHED: &str = "weights/clip-vit-large-patch14.safetensors";

/// Reads the model and the prompts.
pub fn open(verb: &Verb, context: &Context) -> anyhow::Result<Eye> {
    let Some(prompts) = verb.prompts.list()? else {
        return Err(wrong(
            "--metrics clip compares pictures with texts: name a list of them with --prompts, or one for all with --prompt",
        ));
    };
    let path = verb.clip.clone().unwrap_or(PathBuf::from(FETCHED));
    if !path.exists() {
        return Err(wrong(format!(
            "there is no CLIP model at {}: `fewstep fetch clip` gets ViT-L/14, or name a file or folder of transformers or \
             OpenCLIP with --clip",
            path.display()
        )));
    }
    let mut finder = Finder::new(&verb.file, &verb.parts)?;
    let with = (&context.device, context.reporter);
    Eye::open(
        &path,
        &prompts,
        |clip| finder.tokenizer(&path, &clip.config().text),
        with,
    )
}
