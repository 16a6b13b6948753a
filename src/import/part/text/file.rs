//! Where the text encoders of a model are.

use super::half::HalfFile;
use super::official::{self, EMBEDDERS, Family, Official};
use super::padding;
use crate::Error;
use crate::container::Checkpoint;
use crate::import::part::sought::Sought;
use crate::import::setting;
use crate::network::rows_of_whole;
use crate::text::{Padding, Taken, TextEncoderConfig, TextReader};
use burn::tensor::Device;
use std::path::{Path, PathBuf};

/// Names of files with weights, the best first.
const FILES: [&str; 4] = [
    "model.safetensors",
    "model.fp16.safetensors",
    "pytorch_model.bin",
    "pytorch_model.fp16.bin",
];
const FIRST: Sought = Sought {
    part: "text encoder",
    folder: "text_encoder",
    files: &FILES,
    landmark: "embeddings.token_embedding.weight",
    prefix: "cond_stage_model.transformer.text_model.",
};
const SECOND: Sought = Sought {
    part: "second text encoder",
    folder: "text_encoder_2",
    files: &FILES,
    landmark: "embeddings.token_embedding.weight",
    prefix: "text_model.",
};
/// The text encoders of a model in a file or folder, checked but not loaded: one, or the two of Stable Diffusion XL.
#[derive(Debug)]
pub struct TextEncoderFile {
    halves: Vec<HalfFile>,
    empty_is_zeros: bool,
}

impl TextEncoderFile {
    /// Finds them in
    /// * a file with the whole model: `cond_stage_model.transformer.text_model.` (1.x), `cond_stage_model.model.` (2.x,
    ///   OpenCLIP's names; its last layer is left out), `conditioner.embedders.` (XL),
    /// * the folder of a diffusers model, with `text_encoder` and, in XL, `text_encoder_2`, one of these folders, or the file
    ///   in it,
    /// * a file with nothing else.
    ///
    /// Tensors do not tell the number of attention heads: it is `heads`, or that of `config.json`, else the width / 64.
    ///
    /// # Errors
    /// [`Error::MissingPart`] if there is none, [`Error::Weights`] if it is not complete, [`Error::Malformed`] if it is of
    /// a kind that is not built here, [`Error::InvalidValue`] if the heads must be given, and as
    /// [`Checkpoint::read`](crate::import::Checkpoint::read).
    pub fn open(path: &Path, heads: Option<usize>) -> Result<Self, Error> {
        let whole = whole_of(path);
        let two = whole
            .as_deref()
            .is_some_and(|whole| whole.join(SECOND.folder).is_dir());
        if let (Some(whole), true) = (&whole, two) {
            let first = HalfFile::open(&FIRST, &whole.join(FIRST.folder), heads)?;
            let second = HalfFile::open(&SECOND, &whole.join(SECOND.folder), heads)?;
            let halves = vec![
                first.used(Taken::LastButOne, padding::told(&whole.join("tokenizer"))?),
                second.with_projection(&SECOND)?.used(
                    Taken::LastButOne,
                    padding::told(&whole.join("tokenizer_2"))?,
                ),
            ];
            let empty_is_zeros = empty_is_zeros(whole)?;
            return Ok(Self {
                halves,
                empty_is_zeros,
            });
        }
        let (checkpoint, settings) = FIRST.open(path)?;
        let has = |start: &str| {
            checkpoint
                .tensors()
                .keys()
                .any(|name| name.starts_with(start))
        };
        if EMBEDDERS.iter().all(|start| has(start)) {
            let file = checkpoint.path().to_path_buf();
            let [first, second] = EMBEDDERS.map(|start| -> Result<HalfFile, Error> {
                let checkpoint = Checkpoint::read(&file)?;
                let start = HalfFile::start(&FIRST, &checkpoint, start)?;
                HalfFile::of(checkpoint, &settings.null(), &start, heads)
            });
            let halves = vec![
                first?.used(Taken::LastButOne, Some(Padding::End)),
                second?
                    .with_projection(&SECOND)?
                    .used(Taken::LastButOne, Some(Padding::Exclamation)),
            ];
            return Ok(Self {
                halves,
                empty_is_zeros: true,
            });
        }
        let start = HalfFile::start(&FIRST, &checkpoint, "")?;
        let half = HalfFile::of(checkpoint, &settings, &start, heads)?;
        let told = match &whole {
            Some(whole) => padding::told(&whole.join("tokenizer"))?,
            None => None,
        };
        Ok(Self {
            halves: vec![half.used(Taken::Last, told)],
            empty_is_zeros: false,
        })
    }

    /// The sizes of the first encoder.
    pub fn config(&self) -> &TextEncoderConfig {
        self.halves[0].config()
    }

    /// The sizes of all of them.
    pub fn configs(&self) -> Vec<&TextEncoderConfig> {
        self.halves.iter().map(HalfFile::config).collect()
    }

    /// Width of the tokens of all encoders beside each other.
    pub fn width(&self) -> usize {
        self.halves.iter().map(|half| half.config().width).sum()
    }

    /// Width of a text as a whole; `None` where nothing is made of it.
    pub fn whole_width(&self) -> Option<usize> {
        self.halves.last().and_then(HalfFile::projection)
    }

    /// `[tokens and what is behind them, width]` of what is made of a text of so many tokens.
    pub fn shape(&self, tokens: usize) -> [usize; 2] {
        let width = self.width();
        let behind = self
            .whole_width()
            .map_or(0, |text| rows_of_whole(text, width));
        [tokens + behind, width]
    }

    /// Whether the model was trained to be told zeros where guidance is to move away from nothing in particular, not the empty
    /// text: Stable Diffusion XL, unless its folder says otherwise (`force_zeros_for_empty_prompt`).
    pub fn empty_is_zeros(&self) -> bool {
        self.empty_is_zeros
    }

    /// The file that holds the first of them.
    pub fn path(&self) -> &Path {
        self.halves[0].path()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.halves.len()
    }

    /// Their tensors as a single file of this kind has them.
    pub(crate) fn official(&self, family: Family) -> Vec<Official> {
        official::tensors(&self.halves, family)
    }

    /// The numbers of one of these tensors.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::File`].
    pub(crate) fn values(&self, of: &Official) -> Result<Vec<f32>, Error> {
        official::values(&self.halves, of)
    }

    /// The encoders with the file's weights in f32.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::File`].
    pub fn load(&self, device: &Device) -> Result<TextReader, Error> {
        let halves = self.halves.iter().map(|half| half.load(device));
        TextReader::new(halves.collect::<Result<_, _>>()?)
    }

    /// SHA-256 of the sizes and weights and of how they are used, in hexadecimal: reads all weights, and holds one at a time.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn digest(&self) -> Result<String, Error> {
        let texts = self.halves.iter().map(HalfFile::digest);
        let texts: Vec<String> = texts.collect::<Result<_, _>>()?;
        Ok(crate::file::hash_bytes(texts.join("\n").as_bytes()))
    }
}

/// The folder of the whole diffusers model that a path is, or is a part of.
fn whole_of(path: &Path) -> Option<PathBuf> {
    let folder = if path.is_dir() { path } else { path.parent()? };
    let is_part = folder
        .file_name()
        .is_some_and(|name| name == FIRST.folder || name == SECOND.folder);
    let whole = if is_part { folder.parent()? } else { folder };
    // A file of another name beside the folders of a model is no part of it.
    (path.is_dir() || is_part).then(|| match whole.as_os_str().is_empty() {
        true => PathBuf::from("."),
        false => whole.to_path_buf(),
    })
}

/// What `model_index.json` says; unless it does, as in diffusers.
fn empty_is_zeros(whole: &Path) -> Result<bool, Error> {
    let path = whole.join("model_index.json");
    let key = "force_zeros_for_empty_prompt";
    let index = setting::read(&path)?;
    match &index[key] {
        serde_json::Value::Null => Ok(true),
        serde_json::Value::Bool(said) => Ok(*said),
        other => Err(setting::refused(
            &path,
            key,
            other,
            "it must be true or false",
        )),
    }
}
