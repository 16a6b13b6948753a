//! The images of data sets, and the reference to compare with.

use super::args::Verb;
use super::used::{REMEDY, Used};
use crate::bundle::asset::Asset;
use crate::context::{Context, label};
use crate::measure::clip::Eye;
use crate::measure::feature_set::{Collector, FeatureSet, pick, shuffled};
use crate::measure::keep::{Keep, Stage};
use crate::measure::read::{BATCH, BATCH_PICTURES, read_into, read_pictures_into, read_scores};
use crate::measure::score::Reference;
use crate::run::dataset::DataArgs;
use crate::screen::failure::wrong;
use fewstep::data::{Dataset, Pictures, Split};
use fewstep::metric::Moments;
use fewstep::model::hash_bytes;
use serde_json::json;
use std::path::Path;

/// Whether a reference holds moments, not images.
pub fn holds_statistics(path: &Path) -> bool {
    let ends = ["safetensors", "npz", "pkl", "pickle"];
    path.extension()
        .is_some_and(|e| ends.iter().any(|end| e.eq_ignore_ascii_case(end)))
}

/// What FILE, a data set, comes to.
pub fn of_data(
    verb: &Verb,
    rows: bool,
    features: &Used,
    keep: &Keep,
    context: &Context,
) -> anyhow::Result<FeatureSet> {
    if verb.paired.is_some() {
        return Err(unpaired());
    }
    let told = verb.prompts.prompt.is_some() || verb.prompts.prompts.is_some();
    if told && !verb.eye() {
        return Err(wrong(
            "prompts are for a model file, and for --metrics clip: a data set shows what it shows",
        ));
    }
    let data = open(verb, &verb.file, verb.split, features, context)?;
    let indices = taken("--images", verb.images, data.len(), (verb.seeds, 0))?;
    let blocks = shuffled(indices.len(), verb.blocks(indices.len()), verb.seeds);
    let mut collector = Collector::new(features.network(), rows, blocks);
    if verb.scored() {
        collector = collector.with_score(indices.len());
    }
    let stage = data.stage("images", features, &indices, keep, context)?;
    data.collect(collector, &indices, stage, verb, context)
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

/// Images of one size, or pictures at their own sizes for a network that takes those.
enum Opened {
    Fitted(Dataset),
    Plain(Pictures),
}

impl Opened {
    fn len(&self) -> usize {
        match self {
            Self::Fitted(data) => data.len(),
            Self::Plain(pictures) => pictures.len(),
        }
    }

    /// The features of some of them.
    fn collect(
        &self,
        collector: Collector<'_>,
        indices: &[usize],
        stage: Stage<'_>,
        verb: &Verb,
        context: &Context,
    ) -> anyhow::Result<FeatureSet> {
        let with = (&context.device, context.reporter);
        match self {
            Self::Fitted(data) => read_into(collector, data, indices, stage, with),
            Self::Plain(pictures) => {
                let skip = verb.read.skip_unreadable;
                read_pictures_into(collector, pictures, indices, skip, stage, with)
            }
        }
    }

    /// Where features of some of them are kept, by all that they depend on.
    fn stage<'a>(
        &self,
        what: &'static str,
        features: &Used,
        indices: &[usize],
        keep: &'a Keep,
        context: &Context,
    ) -> anyhow::Result<Stage<'a>> {
        let (images, batch) = match self {
            Self::Fitted(data) => (data.digest(), BATCH),
            Self::Plain(pictures) => (pictures.fingerprint()?, BATCH_PICTURES),
        };
        let indices: Vec<u8> = indices
            .iter()
            .flat_map(|i| (*i as u64).to_le_bytes())
            .collect();
        let origin = json!({
            "images": images,
            "indices": hash_bytes(&indices),
            "batch": batch,
            "features": features.network().hash(),
            "device": label(&context.device),
        });
        keep.stage(what, origin)
    }
}

fn open(
    verb: &Verb,
    path: &Path,
    split: Split,
    features: &Used,
    context: &Context,
) -> anyhow::Result<Opened> {
    let Some([channels, size, _]) = features.network().only() else {
        if !features.is_published() {
            let white = verb.read.background.unwrap_or([255; 3]);
            return Ok(Opened::Plain(
                Pictures::open(path, split)?.background(white),
            ));
        }
        if verb.read.resize {
            return Err(wrong(
                "--resize is not for --features inception, which takes pictures of any size and resizes them as \
                 --features-resize says",
            ));
        }
        return Ok(Opened::Plain(exact(verb, path, split)?));
    };
    let data = DataArgs {
        data: path.into(),
        read: verb.read.clone(),
    };
    let data = data.open(size, channels, split, context);
    let data = data.map_err(|error| unfit(verb, error))?;
    let coloured = data.report().coloured;
    if channels == 1 && coloured > 0 {
        return Err(wrong(format!(
            "{}: {coloured} of {} images have colour, and these features were made for grey ones: {REMEDY}",
            path.display(),
            data.len()
        )));
    }
    Ok(Opened::Fitted(data))
}

/// What can be done with pictures that are too large for the bundled features, which nobody named.
fn unfit(verb: &Verb, error: anyhow::Error) -> anyhow::Error {
    let text = error.to_string();
    match verb.network.features.is_none() && text.contains("do not fit in") {
        true => wrong(format!(
            "{text}; the bundled features know small grey clothes only: {REMEDY}"
        )),
        false => error,
    }
}

/// Pictures at their own sizes, without those of which other programs make other bytes.
fn exact(verb: &Verb, path: &Path, split: Split) -> anyhow::Result<Pictures> {
    let pictures = Pictures::open(path, split)?.exact();
    Ok(match verb.read.background {
        Some(colour) => pictures.background(colour),
        None => pictures,
    })
}

/// The cosines of FILE's pictures with their prompts.
pub fn scores_of_data(
    verb: &Verb,
    eye: &Eye,
    keep: &Keep,
    context: &Context,
) -> anyhow::Result<Vec<f64>> {
    let pictures = exact(verb, &verb.file, verb.split)?;
    let names = (0..pictures.len()).map(|i| pictures.name(i).map(Path::to_path_buf));
    let prompts = eye.prompts_of(&names.collect::<Vec<_>>(), &verb.file)?;
    let indices = taken("--images", verb.images, pictures.len(), (verb.seeds, 0))?;
    let chosen: Vec<(usize, usize)> = indices.into_iter().map(|i| (i, prompts[i])).collect();
    let origin = json!({
        "images": pictures.fingerprint()?,
        "chosen": hash_bytes(format!("{chosen:?}").as_bytes()),
        "batch": BATCH_PICTURES,
        "clip": eye.origin(),
        "device": label(&context.device),
    });
    let stage = keep.stage("texts", origin)?;
    let skip = verb.read.skip_unreadable;
    read_scores(eye, &pictures, &chosen, skip, stage, context.reporter)
}

/// The reference: moments, or the features of images.
pub fn read_reference(
    verb: &Verb,
    path: &Path,
    rows: bool,
    features: &Used,
    keep: &Keep,
    context: &Context,
) -> anyhow::Result<Reference> {
    if holds_statistics(path) {
        let default = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        let asset = Asset::find(Some(path), default)?;
        let moments = features.adopt(path, Moments::read_any(asset.path())?)?;
        return Ok(Reference::Statistics(moments));
    }
    let data = open(verb, path, Split::Train, features, context)?;
    let wanted = verb.reference_images;
    // Another pick than that of FILE, which may be the same data set.
    let indices = taken("--reference-images", wanted, data.len(), (0, 2))?;
    let collector = Collector::new(features.network(), rows, Vec::new());
    let stage = data.stage("reference", features, &indices, keep, context)?;
    let set = data.collect(collector, &indices, stage, verb, context)?;
    Ok(Reference::Images(set))
}
