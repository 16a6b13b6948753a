//! The files that `fewstep sample` writes: a picture, or latents, for each seed, and perhaps all pictures in one.

use super::origin::{LATENTS, Origin, PICTURES, foreign};
use crate::picture::sheet::square;
use anyhow::{Context as _, anyhow};
use burn::tensor::Tensor;
use fewstep::data::SHEET;
use fewstep::image::Picture;
use fewstep::model::{Card, File, hash_bytes};
use fewstep::{Device, Images};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

/// The tensor in a file of latents.
const TENSOR: &str = "latents";
/// The text of a file that names its origin.
const MADE: &str = "made";

/// What the files of an album are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// PNG files.
    Pictures,
    /// What the network of a latent model makes.
    Latents,
}

/// A folder of pictures, or of latents.
pub struct Album<'a> {
    folder: &'a Path,
    content: Content,
    /// SHA-256 of the card, which says which model made an image.
    card: String,
    /// Of latents, and of pictures if that is what the files are.
    latents: Origin,
    origin: Origin,
    /// Seeds whose files are there.
    there: HashSet<u64>,
    /// Seeds whose latents wait in a folder of pictures.
    waiting: HashSet<u64>,
    /// Files that are thrown away before the first is written.
    doomed: Vec<PathBuf>,
    begun: bool,
}

/// What a file says of itself: keywords and contents.
type Texts<'a> = Vec<(&'a str, String)>;

impl<'a> Album<'a> {
    /// Looks at what is there of some seeds. Nothing is written or removed before the first file.
    ///
    /// # Errors
    /// What is there was made by something else, unless it is to be thrown away.
    pub fn open(
        folder: &'a Path,
        content: Content,
        card: &Card,
        [latents, origin]: [Origin; 2],
        (seeds, overwrite): (&[u64], bool),
    ) -> anyhow::Result<Self> {
        let json = serde_json::to_vec(card).context("cannot write the card")?;
        let mut album = Self {
            folder,
            content,
            card: hash_bytes(&json),
            latents,
            origin,
            there: HashSet::new(),
            waiting: HashSet::new(),
            doomed: Vec::new(),
            begun: false,
        };
        if !overwrite {
            album.origin.check(&album.note())?;
        }
        let made = album.origin.hash();
        for seed in seeds {
            let file = album.file(*seed);
            if !file.exists() {
                continue;
            }
            if overwrite {
                album.doomed.push(file);
            } else if album.made(&file).as_ref() == Some(&made) {
                album.there.insert(*seed);
            } else {
                return Err(foreign(&file));
            }
        }
        if overwrite {
            let waiting = seeds.iter().map(|seed| album.waiting_file(*seed));
            let waiting: Vec<_> = waiting.filter(|file| file.exists()).collect();
            album.doomed.extend(waiting);
        } else if content == Content::Pictures {
            let missing = seeds.iter().filter(|seed| !album.has(**seed));
            let waiting = missing.filter(|seed| album.latents_file(**seed).is_some());
            album.waiting = waiting.copied().collect();
        }
        Ok(album)
    }

    /// Whether the file of a seed is there.
    pub fn has(&self, seed: u64) -> bool {
        self.there.contains(&seed)
    }

    /// How many files of wanted seeds are there.
    pub fn len(&self) -> usize {
        self.there.len()
    }

    /// How many files of earlier calls lie in the folder and will not be replaced by those of `seeds`, nor by a sheet if there
    /// is to be one.
    pub fn others(&self, seeds: &[u64], sheet: bool) -> usize {
        let seeds: HashSet<u64> = seeds.iter().copied().collect();
        let stays = |name: &str| match name.split_once('.') {
            _ if name == SHEET => !sheet,
            Some((seed, "png" | "safetensors")) => {
                seed.parse().is_ok_and(|seed| !seeds.contains(&seed))
            }
            _ => false,
        };
        // A folder that is not there yet holds nothing.
        let files = std::fs::read_dir(self.folder)
            .into_iter()
            .flatten()
            .flatten();
        let names = files.map(|file| file.file_name());
        names
            .filter(|name| name.to_str().is_some_and(stays))
            .count()
    }

    /// Writes the pictures of some seeds, `[seeds, channels, height, width]` in [-1, 1], but for those that are there.
    pub fn add(
        &mut self,
        seeds: &[u64],
        texts: &[Texts<'_>],
        images: Images,
    ) -> anyhow::Result<()> {
        self.begin()?;
        let pictures = Picture::all(images)?;
        let made = self.origin.hash();
        for ((seed, texts), picture) in seeds.iter().zip(texts).zip(pictures) {
            if self.has(*seed) {
                continue;
            }
            let texts = texts.iter().map(|(key, text)| (*key, text.as_str()));
            let ours = [("card", self.card.as_str()), (MADE, made.as_str())];
            let texts: Vec<_> = texts.chain(ours).collect();
            picture.write_png(&self.file(*seed), &texts)?;
            self.there.insert(*seed);
            // Its latents have done their work.
            self.waiting.remove(seed);
            let waiting = self.waiting_file(*seed);
            if waiting.exists() {
                fs_err::remove_file(waiting)?;
            }
        }
        Ok(())
    }

    /// Writes the latents of some seeds, `[seeds, channels, height, width]`, each as `[channels, height, width]`, but for
    /// those that are there. In a folder of pictures they wait there for their pictures.
    pub fn add_latents(
        &mut self,
        seeds: &[u64],
        texts: &[Texts<'_>],
        latents: Images,
    ) -> anyhow::Result<()> {
        self.begin()?;
        let [_, c, h, w] = latents.dims();
        for (i, (seed, texts)) in seeds.iter().zip(texts).enumerate() {
            if self.has(*seed) {
                continue;
            }
            let one = latents.clone().slice([i..i + 1, 0..c, 0..h, 0..w]);
            let mut card: Map<String, Value> = texts
                .iter()
                .map(|(key, text)| ((*key).to_string(), json!(text)))
                .collect();
            card.insert("kind".into(), json!("latents"));
            card.insert("card".into(), json!(self.card));
            card.insert(MADE.into(), json!(self.latents.hash()));
            let file = File {
                tensors: BTreeMap::from([(TENSOR.to_string(), one.reshape([c, h, w]).into_data())]),
                json: Some(Value::Object(card).to_string()),
                ..File::default()
            };
            match self.content {
                Content::Pictures => {
                    file.write(&self.waiting_file(*seed))?;
                    self.waiting.insert(*seed);
                }
                Content::Latents => {
                    file.write(&self.file(*seed))?;
                    self.there.insert(*seed);
                }
            }
        }
        Ok(())
    }

    /// Whether latents of a seed are in a folder of pictures: those that wait, or those of an earlier call.
    pub fn has_latents(&self, seed: u64) -> bool {
        self.waiting.contains(&seed)
    }

    /// The latents of a seed, `[1, channels, height, width]`.
    pub fn latents(&self, seed: u64, device: &Device) -> anyhow::Result<Images> {
        let path = self.latents_file(seed).unwrap_or(self.waiting_file(seed));
        // Nobody has typed its name: what is wrong with it is no mistake in the command.
        let mut file = File::read(&path).map_err(|error| anyhow!(error.to_string()))?;
        let data = file.tensors.remove(TENSOR);
        let data = data.with_context(|| format!("{} holds no latents", path.display()))?;
        Ok(Tensor::<3>::from_data(data, device).unsqueeze::<4>())
    }

    fn latents_file(&self, seed: u64) -> Option<PathBuf> {
        let made = self.latents.hash();
        let kept = self.folder.join(format!("{seed:06}.safetensors"));
        let mut files = [self.waiting_file(seed), kept].into_iter();
        files.find(|file| made_latents(file).as_ref() == Some(&made))
    }

    /// Removes latents whose pictures are there: what a program left that was ended between the two.
    pub fn tidy(&self) -> anyhow::Result<()> {
        for seed in &self.there {
            let file = self.waiting_file(*seed);
            if file.exists() {
                fs_err::remove_file(file)?;
            }
        }
        Ok(())
    }

    /// Writes the picture of all.
    pub fn finish(&self, seeds: &[u64]) -> anyhow::Result<()> {
        let (mut pictures, mut labels) = (Vec::new(), Vec::new());
        for seed in seeds {
            let (picture, texts) = Picture::read_png(&self.file(*seed))?;
            pictures.push(picture);
            let class = texts.iter().find(|(key, _)| key == "class");
            labels.push(match class {
                Some((_, class)) => format!("{seed} class {class}"),
                None => seed.to_string(),
            });
        }
        let sheet = square(&pictures, &labels)?;
        sheet.write_png(&self.folder.join(SHEET), &[("card", &self.card)])?;
        Ok(())
    }

    /// Where several processes draw, the first begins for all.
    pub fn share(&mut self, leads: bool) -> anyhow::Result<()> {
        if leads {
            return self.begin();
        }
        self.doomed.clear();
        self.begun = true;
        Ok(())
    }

    /// Before the first file: what is to be replaced goes, and what makes the new ones is said.
    fn begin(&mut self) -> anyhow::Result<()> {
        if self.begun {
            return Ok(());
        }
        for file in std::mem::take(&mut self.doomed) {
            fs_err::remove_file(file)?;
        }
        self.origin.write(&self.note())?;
        self.begun = true;
        Ok(())
    }

    fn file(&self, seed: u64) -> PathBuf {
        let ending = match self.content {
            Content::Pictures => "png",
            Content::Latents => "safetensors",
        };
        self.folder.join(format!("{seed:06}.{ending}"))
    }

    /// Latents that are to become a picture.
    fn waiting_file(&self, seed: u64) -> PathBuf {
        self.folder.join(format!("{seed:06}.latents.safetensors"))
    }

    fn note(&self) -> PathBuf {
        self.folder.join(match self.content {
            Content::Pictures => PICTURES,
            Content::Latents => LATENTS,
        })
    }

    /// The origin that a file names.
    fn made(&self, file: &Path) -> Option<String> {
        match self.content {
            Content::Latents => made_latents(file),
            Content::Pictures => {
                let mut texts = Picture::read_texts(file).ok()?.into_iter();
                texts.find(|(key, _)| key == MADE).map(|(_, made)| made)
            }
        }
    }
}

/// The origin that a file of latents names.
fn made_latents(file: &Path) -> Option<String> {
    let json = File::read(file).ok()?.json?;
    let card: Value = serde_json::from_str(&json).ok()?;
    Some(card[MADE].as_str()?.to_string())
}
