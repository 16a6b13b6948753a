//! Pictures of many images: rows, perhaps with a title above each.

use crate::lettering;
use fewstep::Images;
use fewstep::image::Picture;

/// The seeds of previews.
pub const PREVIEW_SEEDS: [u64; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Rows of images under one another, enlarged so that small images can be seen. `titles` has an entry a row, or none.
pub fn sheet(rows: &[Images], titles: &[String]) -> anyhow::Result<Picture> {
    let mut whole: Option<Picture> = None;
    for (i, images) in rows.iter().enumerate() {
        let pictures = Picture::all(images.clone())?;
        let scale = (64 / pictures.first().map_or(64, |p| p.width.max(1))).clamp(1, 3);
        let row = Picture::grid(&pictures, pictures.len().max(1), scale)?;
        if let Some(title) = titles.get(i) {
            append(&mut whole, strip(title, &row, 2));
        }
        append(&mut whole, row);
    }
    whole.ok_or_else(|| anyhow::anyhow!("a picture needs images"))
}

/// A white strip as wide as `below`, with a black title.
fn strip(title: &str, below: &Picture, scale: usize) -> Picture {
    let (width, channels) = (below.width, below.channels);
    let margin = 2 * scale;
    let height = lettering::HEIGHT * scale + 2 * margin;
    let mut pixels = vec![255; width * height * channels];
    for (x, y) in lettering::pixels(title) {
        for (dx, dy) in (0..scale * scale).map(|i| (i % scale, i / scale)) {
            let (x, y) = (margin + x * scale + dx, margin + y * scale + dy);
            if x < width {
                let start = (y * width + x) * channels;
                pixels[start..start + channels].fill(0);
            }
        }
    }
    Picture {
        width,
        height,
        channels,
        pixels,
    }
}

/// Puts `more` under what is there; both are equally wide.
fn append(whole: &mut Option<Picture>, more: Picture) {
    match whole {
        Some(whole) => {
            whole.height += more.height;
            whole.pixels.extend(more.pixels);
        }
        None => *whole = Some(more),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep::{Device, noise};

    #[test]
    fn titles_stand_above_their_rows() {
        let images = noise::latents(&[1, 2, 3], [1, 8, 8], &Device::flex());
        let plain = sheet(&[images.clone(), images.clone()], &[]).unwrap();
        let titled = sheet(&[images.clone(), images], &["I".into(), String::new()]).unwrap();
        assert_eq!(plain.width, titled.width);
        let strip = (titled.height - plain.height) / 2;
        assert_eq!(strip, 22);
        assert_eq!(titled.pixels.len(), titled.width * titled.height);
        let black = titled.pixels[..strip * titled.width].iter().filter(|p| **p == 0);
        assert_eq!(black.count(), 11 * 4);
        let end = titled.pixels.len();
        let half = plain.pixels.len() / 2;
        assert_eq!(titled.pixels[end - half..], plain.pixels[half..]);
    }
}
