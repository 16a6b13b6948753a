//! CLIP scores: how well pictures show what their texts say.

use crate::screen::failure::wrong;
use crate::screen::progress::Reporter;
use fewstep::feature::clip::Clip;
use fewstep::model::{hash_bytes, hash_file};
use fewstep::text::Tokenizer;
use fewstep::{Device, Images};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Texts that are read together.
const TEXTS: usize = 32;
/// Pictures that are seen together.
const PICTURES: usize = 16;

/// A CLIP model and the embeddings of all prompts.
pub struct Eye {
    clip: Clip,
    path: PathBuf,
    hash: String,
    /// Prompt after prompt.
    texts: Vec<f32>,
    prompts: usize,
    digest: String,
}

impl Eye {
    /// Reads the model and lets it read the prompts; `vocabulary` finds the tokenizer for it.
    pub fn open(
        path: &Path,
        prompts: &[String],
        vocabulary: impl FnOnce(&Clip) -> anyhow::Result<Tokenizer>,
        (device, reporter): (&Device, Reporter),
    ) -> anyhow::Result<Self> {
        let file = Clip::locate(path)?;
        let clip = Clip::read(path, device)?;
        let tokenizer = vocabulary(&clip)?;
        let ids: Vec<Vec<u32>> = prompts
            .iter()
            .map(|prompt| tokenizer.encode(prompt).ids)
            .collect();
        let mut progress = reporter.start("prompts", 0, prompts.len() as u64);
        let mut texts = Vec::new();
        for (i, rows) in ids.chunks(TEXTS).enumerate() {
            let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
            let read = clip.read_texts(&rows)?.into_data();
            texts.extend(read.iter::<f32>());
            progress.set((i * TEXTS + rows.len()) as u64, "");
        }
        progress.finish();
        Ok(Self {
            hash: hash_file(&file)?,
            digest: hash_bytes(json!([tokenizer.digest(), prompts]).to_string().as_bytes()),
            path: path.to_path_buf(),
            prompts: prompts.len(),
            texts,
            clip,
        })
    }

    /// The prompt of a seed: after the last comes the first again, as for the model that drew it.
    pub fn prompt_of(&self, seed: u64) -> usize {
        (seed % self.prompts as u64) as usize
    }

    /// All that a score depends on besides the picture.
    pub fn origin(&self) -> Value {
        json!({"model": self.hash, "prompts": self.digest})
    }

    /// The cosines of drawn images with their prompts.
    pub fn cosines_of_drawn(&self, images: Images, prompts: &[usize]) -> anyhow::Result<Vec<f64>> {
        let [_, channels, height, width] = images.dims();
        // As `Picture::all` rounds.
        let levels = images.mul_scalar(127.5).add_scalar(128.0);
        let bytes = levels.into_data();
        let bytes: Vec<u8> = bytes.iter::<f32>().map(|level| level as u8).collect();
        let size = channels * height * width;
        let pictures = bytes.chunks_exact(size.max(1));
        let pictures = pictures.map(|planes| ([channels, height, width], planes));
        self.cosines(&pictures.collect::<Vec<_>>(), prompts)
    }

    /// The cosines of pictures, `[channels, height, width]` and bytes of each, with the prompts of these numbers.
    pub fn cosines(
        &self,
        pictures: &[([usize; 3], &[u8])],
        prompts: &[usize],
    ) -> anyhow::Result<Vec<f64>> {
        let size = self.clip.config().embedding;
        let mut cosines = Vec::with_capacity(pictures.len());
        let together = pictures.chunks(PICTURES).zip(prompts.chunks(PICTURES));
        for (pictures, prompts) in together {
            let mixed: Vec<_> = pictures.iter().map(|(s, p)| (coloured(*s, p), s)).collect();
            let seen: Vec<(&[u8], usize, usize)> = mixed
                .iter()
                .map(|(bytes, [_, height, width])| (bytes.as_slice(), *height, *width))
                .collect();
            let seen = self.clip.see_bytes(&seen)?;
            for (seen, prompt) in seen.chunks_exact(size).zip(prompts) {
                let text = &self.texts[prompt * size..][..size];
                let products = seen.iter().zip(text);
                cosines.push(products.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum());
            }
        }
        if let Some(wrong) = cosines.iter().find(|cosine: &&f64| !cosine.is_finite()) {
            anyhow::bail!(
                "a CLIP score is {wrong}: the CLIP model in {} is broken",
                self.path.display()
            );
        }
        Ok(cosines)
    }

    /// The prompt of each picture of a folder: where all names are numbers, as `fewstep sample` writes them, that of the seed;
    /// else one for each, in order.
    pub fn prompts_of(
        &self,
        names: &[Option<PathBuf>],
        whose: &Path,
    ) -> anyhow::Result<Vec<usize>> {
        let seed = |name: &Option<PathBuf>| {
            let stem = name.as_ref()?.file_stem()?.to_str()?;
            stem.parse::<u64>().ok()
        };
        let seeds: Option<Vec<u64>> = names.iter().map(seed).collect();
        match seeds {
            Some(seeds) => Ok(seeds.into_iter().map(|seed| self.prompt_of(seed)).collect()),
            None if names.len() == self.prompts => Ok((0..names.len()).collect()),
            None => Err(wrong(format!(
                "{} holds {} pictures, and there are {} prompts: give one for each picture, in the order of their names, or \
                 name pictures by their seeds, as `fewstep sample` does",
                whose.display(),
                names.len(),
                self.prompts
            ))),
        }
    }

    /// The score of all cosines, for people and for JSON.
    pub fn score(&self, cosines: &[f64]) -> ClipScore {
        let count = cosines.len() as f64;
        let mean = 100.0 * cosines.iter().sum::<f64>() / count;
        let squares = cosines.iter().map(|c| (100.0 * c - mean).powi(2));
        let error = (squares.sum::<f64>() / (count - 1.0).max(1.0) / count).sqrt();
        ClipScore {
            mean,
            error: error.is_finite().then_some(error).filter(|_| count > 1.0),
            images: cosines.len(),
            model: self.clip.config().name(),
            path: self.path.clone(),
            hash: self.hash.clone(),
        }
    }
}

/// Hundred times the mean cosine, and what it is of.
#[derive(Clone, Debug)]
pub struct ClipScore {
    mean: f64,
    /// Standard error of the mean, of two images or more.
    error: Option<f64>,
    images: usize,
    model: String,
    path: PathBuf,
    hash: String,
}

impl ClipScore {
    /// A line for people.
    pub fn line(&self) -> String {
        let error = self
            .error
            .map_or(String::new(), |error| format!(" +- {error:.4}"));
        format!(
            "CLIP score        {:.4}{error} over {} images (100 x cosine, {} of {})",
            self.mean,
            self.images,
            self.model,
            self.path.display()
        )
    }

    /// The same as JSON.
    pub fn json(&self) -> Value {
        json!({
            "mean": self.mean,
            "error": self.error,
            "images": self.images,
            "model": self.model,
            "file": self.path.display().to_string(),
            "sha256": self.hash,
        })
    }
}

/// Planes of one or three channels to pixels of three.
fn coloured([channels, height, width]: [usize; 3], planes: &[u8]) -> Vec<u8> {
    let area = height * width;
    let pixel = |i: usize| (0..3).map(move |c| planes[c.min(channels - 1) * area + i]);
    (0..area).flat_map(pixel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_becomes_three_channels_and_planes_become_pixels() {
        assert_eq!(coloured([1, 1, 2], &[5, 6]), [5, 5, 5, 6, 6, 6]);
        assert_eq!(coloured([3, 1, 2], &[1, 2, 3, 4, 5, 6]), [1, 3, 5, 2, 4, 6]);
    }
}
