//! The images of data sets, and the reference to compare with.

use super::args::Verb;
use crate::bundle::asset::Asset;
use crate::context::Context;
use crate::measure::draw::read_into;
use crate::measure::feature_set::{Collector, FeatureSet, pick, shuffled};
use crate::measure::score::Reference;
use crate::run::dataset::DataArgs;
use crate::screen::failure::wrong;
use fewstep::data::{Dataset, Split};
use fewstep::metric::{Features, Moments};
use std::path::Path;

/// Whether a reference holds moments, not images.
pub fn is_safetensors(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "safetensors")
}

/// What FILE, a data set, comes to.
pub fn of_data(
    verb: &Verb,
    keep: bool,
    features: &Features,
    context: &Context,
) -> anyhow::Result<FeatureSet> {
    if verb.paired.is_some() {
        return Err(unpaired());
    }
    if verb.prompts.prompt.is_some() || verb.prompts.prompts.is_some() {
        return Err(wrong(
            "prompts are for a model file: a data set shows what it shows",
        ));
    }
    let data = open(verb, &verb.file, verb.split, features, context)?;
    let indices = taken("--images", verb.images, data.len(), (verb.seeds, 0))?;
    let blocks = shuffled(indices.len(), verb.blocks(indices.len()), verb.seeds);
    let collector = Collector::new(features, keep, blocks);
    let (device, reporter) = (&context.device, context.reporter);
    read_into(collector, &data, &indices, device, reporter)
}

/// Pictures of a data set have no counterparts.
pub fn unpaired() -> anyhow::Error {
    wrong("--paired needs a model file: a data set has no seeds")
}

/// Which images of a data set are used: all, or as many as `flag` says, picked by (seed, use).
fn taken(
    flag: &str,
    images: Option<u64>,
    len: usize,
    (seed, use_): (u64, u64),
) -> anyhow::Result<Vec<usize>> {
    match images {
        None => Ok((0..len).collect()),
        Some(count) if count <= len as u64 => Ok(pick(len, count as usize, seed, use_)),
        Some(count) => Err(wrong(format!(
            "{flag} {count}: the data set has only {len} images"
        ))),
    }
}

fn open(
    verb: &Verb,
    path: &Path,
    split: Split,
    features: &Features,
    context: &Context,
) -> anyhow::Result<Dataset> {
    let network = &features.card.network;
    let data = DataArgs {
        data: path.into(),
        read: verb.read.clone(),
    };
    let data = data.open(network.size, network.channels, split, context)?;
    let coloured = data.report().coloured;
    if network.channels == 1 && coloured > 0 {
        return Err(wrong(format!(
            "{}: {coloured} of {} images have colour, and these features were made for grey ones: name others with --features \
             (`fewstep train` makes them, by a recipe of kind = \"features\")",
            path.display(),
            data.len()
        )));
    }
    Ok(data)
}

/// The reference: moments, or the features of images.
pub fn read_reference(
    verb: &Verb,
    path: &Path,
    keep: bool,
    features: &Features,
    context: &Context,
) -> anyhow::Result<Reference> {
    if is_safetensors(path) {
        let default = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        let asset = Asset::find(Some(path), default)?;
        return Ok(Reference::Statistics(Moments::read(asset.path())?));
    }
    let data = open(verb, path, Split::Train, features, context)?;
    let wanted = verb.reference_images;
    // Another pick than that of FILE, which may be the same data set.
    let indices = taken("--reference-images", wanted, data.len(), (0, 2))?;
    let collector = Collector::new(features, keep, Vec::new());
    let (device, reporter) = (&context.device, context.reporter);
    let set = read_into(collector, &data, &indices, device, reporter)?;
    Ok(Reference::Images(set))
}
