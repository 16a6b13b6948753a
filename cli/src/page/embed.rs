//! Pictures inside a page, none larger than there is room for.

use crate::page::source::Shown;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use std::path::Path;

/// Bytes of all previews, and of all drawn rows, of a page of at most ten megabytes: text takes four bytes for three.
const PREVIEWS: usize = 4_800_000;
const ROWS: usize = 1_900_000;
/// Previews of a run; a slider of more is none.
const MOST: usize = 40;
/// The least that a picture may take: below that nothing can be seen.
const LEAST: usize = 12_000;
/// Quality of pictures that are made smaller.
const QUALITY: u8 = 82;

/// How pictures come into a page.
pub struct Embed {
    inline: bool,
    /// Previews of each run.
    previews: usize,
    /// Bytes of each of them.
    preview: usize,
}

impl Embed {
    /// Into the page itself.
    pub fn inline(sources: &[Shown]) -> Self {
        let runs = sources.iter().filter_map(Shown::run);
        // The demo has a picture besides.
        let runs = runs.filter(|run| !run.previews.is_empty()).count().max(1);
        let previews = (PREVIEWS / runs / LEAST).clamp(1, MOST);
        Self {
            inline: true,
            previews,
            preview: PREVIEWS / runs,
        }
    }

    /// By name, from whoever serves the page.
    pub fn links() -> Self {
        Self {
            inline: false,
            previews: MOST,
            preview: 0,
        }
    }

    /// Which of so many previews are shown: the first, the last, and some between.
    pub fn choose<'a, T>(&self, all: &'a [T]) -> Vec<&'a T> {
        let last = all.len().saturating_sub(1);
        let shown = all.len().min(self.previews);
        let mut chosen: Vec<usize> = match shown {
            0 => Vec::new(),
            1 => vec![last],
            _ => (0..shown).map(|i| i * last / (shown - 1)).collect(),
        };
        chosen.dedup();
        chosen.into_iter().filter_map(|at| all.get(at)).collect()
    }

    /// The address of a preview that is one of `count`.
    pub fn preview(&self, path: &Path, count: usize) -> anyhow::Result<String> {
        if !self.inline {
            let name = path.file_name().unwrap_or_default();
            return Ok(name.to_string_lossy().into_owned());
        }
        let bytes = fs_err::read(path)?;
        Ok(address(bytes, (self.preview / count.max(1)).max(LEAST)))
    }

    /// The address of a drawn row that is one of `count` on the page.
    pub fn row(png: Vec<u8>, count: usize) -> String {
        address(png, (ROWS / count.max(1)).max(LEAST))
    }
}

/// A picture as an address; one of more than `limit` bytes is made smaller. What is no picture stays as it is: the browser
/// shows its name.
fn address(bytes: Vec<u8>, limit: usize) -> String {
    let (bytes, kind) = match bytes.len() <= limit {
        true => (bytes, "png"),
        false => match smaller(&bytes, limit) {
            Some(jpeg) => (jpeg, "jpeg"),
            None => (bytes, "png"),
        },
    };
    format!("data:image/{kind};base64,{}", STANDARD.encode(bytes))
}

/// The picture as JPEG of at most `limit` bytes, as large as that allows.
fn smaller(png: &[u8], limit: usize) -> Option<Vec<u8>> {
    let picture = image::load_from_memory(png).ok()?.to_rgb8();
    let (mut width, mut height) = picture.dimensions();
    loop {
        let scaled = match (width, height) == picture.dimensions() {
            true => picture.clone(),
            false => image::imageops::resize(&picture, width, height, FilterType::Triangle),
        };
        let mut jpeg = Vec::new();
        let encoder = JpegEncoder::new_with_quality(&mut jpeg, QUALITY);
        scaled.write_with_encoder(encoder).ok()?;
        if jpeg.len() <= limit || width.min(height) < 16 {
            return Some(jpeg);
        }
        let part = (limit as f64 / jpeg.len() as f64).sqrt().clamp(0.3, 0.9);
        let scale = |side: u32| ((f64::from(side) * part) as u32).max(1);
        (width, height) = (scale(width), scale(height));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep::image::Picture;

    #[test]
    fn the_first_and_the_last_are_among_the_chosen() {
        let embed = |previews| Embed {
            inline: true,
            previews,
            preview: 0,
        };
        let all: Vec<usize> = (0..100).collect();
        let few = embed(4).choose(&all).into_iter().copied();
        assert_eq!(few.collect::<Vec<_>>(), [0, 33, 66, 99]);
        assert_eq!(embed(1).choose(&all), [&99]);
        assert_eq!(embed(40).choose(&all[..3]), [&0, &1, &2]);
        assert!(embed(4).choose::<usize>(&[]).is_empty());
    }

    #[test]
    fn large_pictures_are_made_smaller() {
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let picture = Picture {
            width: 600,
            height: 400,
            channels: 3,
            pixels: (0..600 * 400 * 3).map(|_| noise()).collect(),
        };
        let png = picture.to_png(&[]).unwrap();
        let whole = address(png.clone(), png.len());
        assert!(whole.starts_with("data:image/png;base64,iVBOR"));
        let small = address(png, 30_000);
        let text = small.strip_prefix("data:image/jpeg;base64,").unwrap();
        let jpeg = STANDARD.decode(text).unwrap();
        assert!((5_000..=30_000).contains(&jpeg.len()), "{}", jpeg.len());
        image::load_from_memory(&jpeg).unwrap();
    }
}
