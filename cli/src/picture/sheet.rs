//! Pictures of many images: rows, perhaps with a title above each, and perhaps with a label under each image.

use crate::picture::lettering;
use fewstep::Images;
use fewstep::image::Picture;

/// The seeds of previews.
pub const PREVIEW_SEEDS: [u64; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Images that are narrower are enlarged, by a whole number.
const VISIBLE: usize = 96;
/// So large that 64 pixels a side are seen of any.
const LARGEST_SCALE: usize = 64;
/// What a sheet of very many images is kept below by enlarging them less, in pixels a side.
const LONGEST: usize = 4096;
/// Between letters and what is around them, in pixels of letters.
const MARGIN: usize = 2;

/// Rows of images under one another, enlarged so that small images can be seen. `titles` has an entry a row, or none, and
/// `labels` one a column, or none; they stand under the last row.
pub fn sheet(rows: &[Images], titles: &[String], labels: &[String]) -> anyhow::Result<Picture> {
    let mut whole: Option<Picture> = None;
    for (i, images) in rows.iter().enumerate() {
        let pictures = Picture::all(images.clone())?;
        let columns = pictures.len().max(1);
        let scale = scale(&pictures, columns);
        let row = Picture::grid(&pictures, columns, scale)?;
        if let Some(title) = titles.get(i) {
            append(&mut whole, strip(&row, 2, &[(0, title)]));
        }
        let labels = label_strip(&row, &pictures, labels, scale).filter(|_| i + 1 == rows.len());
        append(&mut whole, row);
        if let Some(labels) = labels {
            append(&mut whole, labels);
        }
    }
    whole.ok_or_else(|| anyhow::anyhow!("a picture needs images"))
}

/// All pictures in about as many rows as columns, enlarged likewise, each with its label below, as far as there is room for
/// letters.
pub fn square(pictures: &[Picture], labels: &[String]) -> anyhow::Result<Picture> {
    let columns = (pictures.len() as f64).sqrt().ceil().max(1.0) as usize;
    let scale = scale(pictures, columns);
    let widest = labels.iter().map(|label| lettering::width(label)).max();
    let room = pictures.first().map_or(0, |p| p.width * scale);
    if widest.is_none_or(|widest| widest > room) {
        return Ok(Picture::grid(pictures, columns, scale)?);
    }
    let mut whole = None;
    for (pictures, labels) in pictures.chunks(columns).zip(labels.chunks(columns)) {
        let row = Picture::grid(pictures, columns, scale)?;
        let labels = label_strip(&row, pictures, labels, scale);
        append(&mut whole, row);
        if let Some(labels) = labels {
            append(&mut whole, labels);
        }
    }
    whole.ok_or_else(|| anyhow::anyhow!("a picture needs images"))
}

/// How often a pixel is repeated.
fn scale(pictures: &[Picture], columns: usize) -> usize {
    let width = pictures.first().map_or(VISIBLE, |p| p.width.max(1));
    let wanted = VISIBLE.div_ceil(width);
    let most = LONGEST / (columns * width);
    wanted.min(most).clamp(1, LARGEST_SCALE)
}

/// A strip with the labels of a row, each under its picture, in letters as large as there is room for all of them.
fn label_strip(
    row: &Picture,
    pictures: &[Picture],
    labels: &[String],
    scale: usize,
) -> Option<Picture> {
    let width = pictures.first()?.width;
    let widest = labels.iter().map(|label| lettering::width(label)).max()?;
    let large = match 2 * widest <= width * scale {
        true => 2,
        false => 1,
    };
    // As `Picture::grid` places them: two pixels apart and around.
    let left = |column: usize| (2 + column * (width + 2)) * scale;
    // A label that is too long is cut off before the next one.
    let most = width * scale / (lettering::ADVANCE * large);
    let cut = labels
        .iter()
        .map(|l| l.chars().take(most).collect::<String>());
    let cut: Vec<String> = cut.collect();
    let texts = cut.iter().enumerate().map(|(i, l)| (left(i), l.as_str()));
    Some(strip(row, large, &texts.collect::<Vec<_>>()))
}

/// A white strip as wide as `beside`, with black texts that start so many pixels from the left.
fn strip<S: AsRef<str>>(beside: &Picture, scale: usize, texts: &[(usize, S)]) -> Picture {
    let (width, channels) = (beside.width, beside.channels);
    let margin = MARGIN * scale;
    let height = lettering::HEIGHT * scale + 2 * margin;
    let mut pixels = vec![255; width * height * channels];
    for (left, text) in texts {
        for (x, y) in lettering::pixels(text.as_ref()) {
            for (dx, dy) in (0..scale * scale).map(|i| (i % scale, i / scale)) {
                let x = left.max(&margin) + x * scale + dx;
                let y = margin + y * scale + dy;
                if x < width {
                    let start = (y * width + x) * channels;
                    pixels[start..start + channels].fill(0);
                }
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

    fn images(size: usize) -> Images {
        noise::latents(&[1, 2, 3], [1, size, size], &Device::flex())
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn titles_stand_above_their_rows() {
        let rows = [images(8), images(8)];
        let plain = sheet(&rows, &[], &[]).unwrap();
        let titled = sheet(&rows, &texts(&["I", ""]), &[]).unwrap();
        assert_eq!(plain.width, titled.width);
        let strip = (titled.height - plain.height) / 2;
        assert_eq!(strip, 22);
        assert_eq!(titled.pixels.len(), titled.width * titled.height);
        let black = titled.pixels[..strip * titled.width]
            .iter()
            .filter(|p| **p == 0);
        assert_eq!(black.count(), 11 * 4);
        let end = titled.pixels.len();
        let half = plain.pixels.len() / 2;
        assert_eq!(titled.pixels[end - half..], plain.pixels[half..]);
    }

    #[test]
    fn small_images_are_enlarged_by_whole_numbers() {
        for (size, scale) in [
            (1, 64),
            (8, 12),
            (16, 6),
            (32, 3),
            (50, 2),
            (64, 2),
            (96, 1),
            (512, 1),
        ] {
            let sheet = sheet(&[images(size)], &[], &[]).unwrap();
            assert_eq!(sheet.width, (3 * (size + 2) + 2) * scale, "{size}");
        }
        // 40,000 pictures would be a sheet of 400 megapixels.
        let three = Picture::all(images(16)).unwrap();
        let many: Vec<_> = three.iter().cycle().take(40_002).cloned().collect();
        let labels = vec!["12345".to_string(); many.len()];
        let sheet = square(&many, &labels).unwrap();
        assert_eq!((sheet.width, sheet.height), (201 * 18 + 2, 200 * 18 + 2));
    }

    #[test]
    fn labels_stand_under_their_pictures() {
        let row = sheet(&[images(16)], &[], &[]).unwrap();
        let labelled = sheet(&[images(16)], &[], &texts(&["a", "", "i"])).unwrap();
        assert_eq!(labelled.height - row.height, 22);
        assert_eq!(labelled.pixels[..row.pixels.len()], row.pixels);
        let strip = &labelled.pixels[row.pixels.len()..];
        let columns: Vec<usize> = strip
            .chunks(labelled.width)
            .flat_map(|line| line.iter().enumerate().filter(|(_, p)| **p == 0))
            .map(|(x, _)| x)
            .collect();
        // Under the first and the third: 18 pixels apart, six times enlarged.
        assert_eq!(columns.iter().min(), Some(&12));
        let third = columns.iter().filter(|x| **x >= 12 + 2 * 108);
        assert_eq!(third.count(), 11 * 4);
        assert!(!columns.iter().any(|x| (120..228).contains(x)));
        // One that is too long takes no other's place.
        let long = "x".repeat(60);
        let cut = sheet(&[images(16)], &[], &texts(&[&long, "", ""])).unwrap();
        let strip = &cut.pixels[row.pixels.len()..];
        let black = |x: usize| strip.chunks(cut.width).any(|line| line[x] == 0);
        assert!((12..108).any(black) && !(108..cut.width).any(black));
    }

    #[test]
    fn a_square_of_pictures_has_labels_row_by_row() {
        let pictures = Picture::all(images(32)).unwrap();
        let plain = square(&pictures, &[]).unwrap();
        let labelled = square(&pictures, &texts(&["0", "1", "2"])).unwrap();
        assert_eq!(plain.width, (2 * 34 + 2) * 3);
        assert_eq!(plain.height, plain.width);
        assert_eq!(labelled.width, plain.width);
        assert_eq!(labelled.height, 2 * (36 * 3 + 22));
    }
}
