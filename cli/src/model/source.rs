//! A model out of one file or several: its own, or a base and the adapters that change it.

use crate::screen::failure::wrong;
use clap::Args;
use fewstep::Device;
use fewstep::adapter::{AdapterFile, Part};
use fewstep::import::{Checkpoint, Note};
use fewstep::model::{Card, Model, hash_bytes, hash_file};
use fewstep::network::Precision;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Which adapters change the model, and what those of a student are a change of.
#[derive(Args, Clone, Debug, Default)]
pub struct AdapterArgs {
    /// The model that a student of adapters (a recipe with `lora`) is a change of: its teacher's file or folder [default: where
    /// the note beside the student says]
    #[arg(long, value_name = "FILE", help_heading = "Adapters (LoRA)")]
    pub base: Option<PathBuf>,
    /// Adapters to multiply into the model, with their weight if it is not 1: a student of ours, or a file of diffusers or of
    /// kohya's scripts; may be given several times. With a student of ours come its steps and levels
    #[arg(long, value_name = "FILE[:WEIGHT]", help_heading = "Adapters (LoRA)")]
    pub lora: Vec<Weighted>,
    /// Leave out what an adapter file has for the text encoder
    #[arg(long, help_heading = "Adapters (LoRA)")]
    pub lora_without_text: bool,
}

/// A file of adapters and its weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighted {
    path: PathBuf,
    weight: f64,
}

impl FromStr for Weighted {
    type Err = String;

    fn from_str(typed: &str) -> Result<Self, String> {
        let whole = || Self {
            path: typed.into(),
            weight: 1.0,
        };
        let Some((path, weight)) = typed.rsplit_once(':').filter(|(path, _)| !path.is_empty())
        else {
            return Ok(whole());
        };
        // A colon may belong to the name.
        if Path::new(typed).exists() {
            return Ok(whole());
        }
        match weight.parse::<f64>() {
            Ok(weight) if weight.is_finite() => Ok(Self {
                path: path.into(),
                weight,
            }),
            _ => Err(format!(
                "the weight after the colon is {weight:?}, not a number"
            )),
        }
    }
}

/// A model's files, looked at but not loaded.
#[derive(Debug)]
pub struct ModelSource {
    /// The model, or the base of the student that was named.
    checkpoint: Checkpoint,
    /// The card of what is in it.
    of_file: (Card, String),
    /// The student of adapters that was named.
    student: Option<AdapterFile>,
    /// Others that change it.
    others: Vec<(AdapterFile, f64)>,
    /// The card of the whole.
    pub card: Card,
    /// SHA-256 of the file, or of the hashes of several.
    pub hash: String,
    /// Where its parts are looked for.
    home: PathBuf,
    /// The file whose steps and levels it is sampled with, where it is not the model's own.
    pub levels_of: Option<PathBuf>,
}

impl ModelSource {
    /// Looks at the files.
    pub fn read(file: &Path, args: &AdapterArgs) -> anyhow::Result<Self> {
        let checkpoint = Checkpoint::read(file)?;
        let mut source = match AdapterFile::is_one(&checkpoint) {
            true => Self::of_student(AdapterFile::of(checkpoint)?, args)?,
            false => {
                if let Some(base) = &args.base {
                    return Err(wrong(format!(
                        "--base {}: {} is a whole model, which needs none; leave it out",
                        base.display(),
                        file.display()
                    )));
                }
                let (card, hash) = checkpoint.described()?;
                Self {
                    home: file.to_path_buf(),
                    of_file: (card.clone(), hash.clone()),
                    student: None,
                    others: Vec::new(),
                    levels_of: None,
                    checkpoint,
                    card,
                    hash,
                }
            }
        };
        for lora in &args.lora {
            source.add(lora, args.lora_without_text)?;
        }
        Ok(source)
    }

    fn of_student(student: AdapterFile, args: &AdapterArgs) -> anyhow::Result<Self> {
        let path = student.path().to_path_buf();
        let shown = path.display();
        let own = student
            .card()
            .and_then(|card| Some((card, card.adapter.as_ref()?)));
        let Some((card, adapter)) = own else {
            return Err(wrong(format!(
                "{shown} holds adapters (LoRA) of a model, and no model: name the model, and this with --lora {shown}"
            )));
        };
        let note = Note::beside(&path)?;
        let Some(base) = args.base.clone().or(note.base.clone()) else {
            let hash: String = adapter.base.chars().take(12).collect();
            return Err(wrong(format!(
                "{shown} holds the adapters (LoRA) of a student, which is a change of a base: name the base's file (SHA-256 \
                 {hash}...) with --base; on another model they are used with `fewstep sample MODEL --lora {shown}`"
            )));
        };
        let checkpoint = Checkpoint::read(&base)?;
        let (of_base, hash) = checkpoint.described()?;
        adapter.check_base(&hash)?;
        // What is not noted beside a student is looked for beside its base.
        let parts = Note { base: None, ..note };
        let home = match parts == Note::default() {
            true => base,
            false => path.clone(),
        };
        Ok(Self {
            home,
            card: Card {
                adapter: None,
                ..card.clone()
            },
            hash: student.checkpoint().hash()?,
            of_file: (of_base, hash),
            student: Some(student),
            others: Vec::new(),
            levels_of: None,
            checkpoint,
        })
    }

    fn add(&mut self, lora: &Weighted, without_text: bool) -> anyhow::Result<()> {
        let file = AdapterFile::open(&lora.path)?;
        let shown = lora.path.display().to_string();
        refuse_text(&file, without_text)?;
        if let Some(card) = file.card().filter(|card| card.adapter.is_some()) {
            if let Some(before) = &self.levels_of {
                return Err(wrong(format!(
                    "--lora {shown}: it is a student as {} is, and a model has one set of steps and levels; leave one of them \
                     out",
                    before.display()
                )));
            }
            self.card = Card {
                kind: card.kind,
                sampling: card.sampling.clone(),
                recipe: card.recipe.clone(),
                network: self
                    .card
                    .network
                    .with_step_branch(card.network.has_step_branch()),
                ..self.card.clone()
            };
            self.levels_of = Some(lora.path.clone());
        }
        let hash = file.checkpoint().hash()?;
        let all = format!("{}\n{hash} {}\n", self.hash, lora.weight);
        self.hash = hash_bytes(all.as_bytes());
        self.others.push((file, lora.weight));
        Ok(())
    }

    /// Where the model's parts are looked for: its file or folder.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The file of the model, or of its base.
    pub fn path(&self) -> &Path {
        self.checkpoint.path()
    }

    /// SHA-256 of a file, which may be the model's own.
    pub fn hash_of(&self, file: &Path) -> anyhow::Result<String> {
        Ok(match file == self.path() {
            true => self.of_file.1.clone(),
            false => hash_file(file)?,
        })
    }

    /// Whether the model is all in one file.
    pub fn is_whole(&self) -> bool {
        self.student.is_none() && self.others.is_empty()
    }

    /// In what the weights of the model will be held.
    pub fn precision(&self) -> anyhow::Result<Precision> {
        match self.is_whole() {
            true => precision(&self.checkpoint, &self.of_file.0),
            // What is multiplied out needs all digits.
            false => Ok(Precision::F32),
        }
    }

    /// The model, with all adapters multiplied out.
    pub fn model(&self, device: &Device) -> anyhow::Result<Model> {
        let (card, hash) = &self.of_file;
        let precision = self.precision()?;
        let mut model = self.checkpoint.model_in(card.clone(), precision, device)?;
        if let Some(student) = &self.student {
            model = student.student(model, hash)?;
        }
        for (file, weight) in &self.others {
            model = file.apply(model, *weight)?;
        }
        Ok(Model {
            card: self.card.clone(),
            ..model
        })
    }
}

/// From so many weights on a network that only answers is held as its file has it, if that is half precision. It answers the
/// same, bit for bit, but widens its weights at every call, some per cent of its time.
const MANY: u64 = 1_500_000_000;

/// In what the weights of a model that is not to learn are held.
pub fn precision(checkpoint: &Checkpoint, card: &Card) -> anyhow::Result<Precision> {
    match card.network.parameter_count() >= MANY {
        true => Ok(checkpoint.precision(&card.network)?),
        false => Ok(Precision::F32),
    }
}

/// Refuses adapters of text encoders, unless they are to be left out: what they change is not multiplied out.
pub fn refuse_text(file: &AdapterFile, leave_out: bool) -> anyhow::Result<()> {
    let parts = file.parts();
    let text = parts
        .iter()
        .filter(|(part, _)| matches!(part, Part::TextEncoder(_)));
    let layers: usize = text.map(|(_, layers)| layers).sum();
    let shown = file.path().display();
    if layers > 0 && !leave_out {
        return Err(wrong(format!(
            "{shown} has adapters for {layers} layers of the text encoder as well, which cannot be applied yet; \
             --lora-without-text leaves them out"
        )));
    }
    if !parts.iter().any(|(part, _)| *part == Part::Network) {
        return Err(wrong(format!(
            "{shown} has no adapters for the denoising network"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_what_comes_after_the_last_colon() {
        let read = |typed: &str| typed.parse::<Weighted>();
        for (typed, path, weight) in [
            ("a.safetensors", "a.safetensors", 1.0),
            ("a.safetensors:0.5", "a.safetensors", 0.5),
            ("dir/a:b.safetensors:-1", "dir/a:b.safetensors", -1.0),
            (":2", ":2", 1.0),
        ] {
            let path = path.into();
            assert_eq!(read(typed), Ok(Weighted { path, weight }), "{typed}");
        }
        for typed in ["a.safetensors:", "a.safetensors:half", "a.safetensors:nan"] {
            assert!(read(typed).unwrap_err().contains("not a number"), "{typed}");
        }
    }
}
