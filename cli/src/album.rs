//! The files that `fewstep sample` writes: a picture, or latents, for each seed, and perhaps all pictures in one.

use anyhow::Context as _;
use fewstep::Images;
use fewstep::checkpoint::{Card, File, hash_bytes};
use fewstep::data::SHEET;
use fewstep::image::Picture;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// The tensor in a file of latents.
const TENSOR: &str = "latents";

/// A folder of pictures.
pub struct Album<'a> {
    folder: &'a Path,
    /// SHA-256 of the card, which says which model made an image.
    card: String,
    /// All pictures, if they are to be shown together.
    all: Option<Vec<Picture>>,
}

/// What a file says of itself: keywords and contents.
type Texts<'a> = Vec<(&'a str, String)>;

impl<'a> Album<'a> {
    /// Nothing is written before the first picture.
    pub fn new(folder: &'a Path, card: &Card, grid: bool) -> anyhow::Result<Self> {
        let json = serde_json::to_vec(card).context("cannot write the card")?;
        Ok(Self {
            folder,
            card: hash_bytes(&json),
            all: grid.then(Vec::new),
        })
    }

    /// How many files of earlier calls lie in the folder and will not be replaced by those of `seeds`.
    pub fn others(&self, seeds: &[u64]) -> usize {
        let seeds: HashSet<u64> = seeds.iter().copied().collect();
        let stays = |name: &str| match name.split_once('.') {
            _ if name == SHEET => self.all.is_none(),
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

    /// Writes the pictures of some seeds, `[seeds, channels, height, width]` in [-1, 1].
    pub fn add(
        &mut self,
        seeds: &[u64],
        texts: &[Texts<'_>],
        images: Images,
    ) -> anyhow::Result<()> {
        let pictures = Picture::all(images)?;
        for ((seed, texts), picture) in seeds.iter().zip(texts).zip(pictures) {
            let texts = texts.iter().map(|(key, text)| (*key, text.as_str()));
            let texts: Vec<_> = texts.chain([("card", self.card.as_str())]).collect();
            picture.write_png(&self.folder.join(format!("{seed:06}.png")), &texts)?;
            if let Some(all) = &mut self.all {
                all.push(picture);
            }
        }
        Ok(())
    }

    /// Writes the latents of some seeds, `[seeds, channels, height, width]`, each as `[channels, height, width]`.
    pub fn add_latents(
        &self,
        seeds: &[u64],
        texts: &[Texts<'_>],
        latents: Images,
    ) -> anyhow::Result<()> {
        let [_, c, h, w] = latents.dims();
        for (i, (seed, texts)) in seeds.iter().zip(texts).enumerate() {
            let one = latents.clone().slice([i..i + 1, 0..c, 0..h, 0..w]);
            let mut card: Map<String, Value> = texts
                .iter()
                .map(|(key, text)| ((*key).to_string(), json!(text)))
                .collect();
            card.insert("kind".into(), json!("latents"));
            card.insert("card".into(), json!(self.card));
            let file = File {
                tensors: BTreeMap::from([(TENSOR.to_string(), one.reshape([c, h, w]).into_data())]),
                json: Some(Value::Object(card).to_string()),
                ..File::default()
            };
            file.write(&self.folder.join(format!("{seed:06}.safetensors")))?;
        }
        Ok(())
    }

    /// Writes the picture of all.
    pub fn finish(self) -> anyhow::Result<()> {
        if let Some(all) = self.all {
            let columns = (all.len() as f64).sqrt().ceil() as usize;
            let path = self.folder.join(SHEET);
            Picture::grid(&all, columns, 1)?.write_png(&path, &[("card", &self.card)])?;
        }
        Ok(())
    }
}
