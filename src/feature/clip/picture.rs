//! Pictures as CLIP was trained to see them.

use rayon::prelude::*;

/// Mean and standard deviation of the channels that every published model takes, of pixels in [0, 1].
const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const DEVIATION: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// Bits after the point of a weight, in sums of bytes that fit 32 bits.
const BITS: u32 = 32 - 8 - 2;

/// How pictures are made ready: the shorter side is brought to the network's by Pillow's bicubic resize, to the byte; the
/// centre is cut out; and what is left is normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preparation {
    /// Height and width of the result, at least 1.
    pub size: usize,
    /// Whether a centre that lies between two pixels is rounded to the even one, as torchvision and OpenCLIP do, or down, as
    /// transformers does.
    pub even_centre: bool,
}

impl Preparation {
    /// `[height, width, 3]` bytes to `[3, size, size]` numbers.
    ///
    /// # Panics
    /// If there are not as many bytes, or none.
    pub fn apply(&self, pixels: &[u8], height: usize, width: usize) -> Vec<f32> {
        assert!(height * width > 0, "an empty picture");
        assert_eq!(pixels.len(), 3 * height * width, "bytes of the picture");
        let (size, shorter) = (self.size, height.min(width));
        let [down, across] = [height, width].map(|side| match side == shorter {
            true => size,
            false => size * side / shorter,
        });
        let resized = resize(pixels, [height, width], [down, across]);
        let (top, left) = (self.margin(down), self.margin(across));
        let mut found = vec![0.0; 3 * size * size];
        for (i, to) in found.iter_mut().enumerate() {
            let (channel, y, x) = (i / (size * size), i / size % size, i % size);
            let byte = resized[((top + y) * across + left + x) * 3 + channel];
            *to = (f32::from(byte) / 255.0 - MEAN[channel]) / DEVIATION[channel];
        }
        found
    }

    /// What is cut off before the centre.
    fn margin(&self, side: usize) -> usize {
        let rest = side - self.size;
        match self.even_centre && rest % 4 == 3 {
            true => rest / 2 + 1,
            false => rest / 2,
        }
    }
}

/// The bicubic kernel with a = -1/2. [Keys 1981, Eq. 15]
fn cubic(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}

/// For each pixel of a side of `to` the first of `from` that it is made of, and their weights. When a picture gets smaller,
/// the kernel gets as much wider, so that every pixel counts.
fn weights(from: usize, to: usize) -> Vec<(usize, Vec<i32>)> {
    let scale = from as f64 / to as f64;
    let widened = scale.max(1.0);
    let support = 2.0 * widened;
    let weights = |target: usize| {
        let centre = (target as f64 + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(from);
        let at = |i: usize| cubic((i as f64 - centre + 0.5) / widened);
        let values: Vec<f64> = (first..end).map(at).collect();
        let sum: f64 = values.iter().sum();
        let whole = |value: f64| (value / sum * f64::from(1u32 << BITS)).round() as i32;
        (first, values.into_iter().map(whole).collect())
    };
    (0..to).map(weights).collect()
}

/// `[height, width, 3]` bytes to another size, first across and then down, each rounded to bytes, as Pillow does.
fn resize(pixels: &[u8], [height, width]: [usize; 2], [down, across]: [usize; 2]) -> Vec<u8> {
    let byte = |sum: i32| ((sum + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8;
    let mut wide = pixels.to_vec();
    if across != width {
        let columns = weights(width, across);
        wide = vec![0; height * across * 3];
        let rows = wide
            .par_chunks_mut(across * 3)
            .zip(pixels.par_chunks(width * 3));
        rows.for_each(|(to, from)| {
            for (i, to) in to.iter_mut().enumerate() {
                let (first, weights) = &columns[i / 3];
                let pairs = weights
                    .iter()
                    .zip(from[first * 3 + i % 3..].iter().step_by(3));
                *to = byte(pairs.map(|(w, p)| w * i32::from(*p)).sum());
            }
        });
    }
    if down == height {
        return wide;
    }
    let rows = weights(height, down);
    let mut high = vec![0; down * across * 3];
    let targets = high.par_chunks_mut(across * 3).zip(&rows);
    targets.for_each(|(to, (first, weights))| {
        for (i, to) in to.iter_mut().enumerate() {
            let column = wide[first * across * 3 + i..].iter().step_by(across * 3);
            let pairs = weights.iter().zip(column);
            *to = byte(pairs.map(|(w, p)| w * i32::from(*p)).sum());
        }
    });
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_of_one_colour_stays_so() {
        for (height, width) in [(3, 3), (5, 9), (40, 7), (224, 224)] {
            let pixels = [10, 128, 255].repeat(height * width);
            let resized = resize(&pixels, [height, width], [6, 8]);
            assert_eq!(resized, [10, 128, 255].repeat(48));
        }
    }

    #[test]
    fn the_centre_is_cut_out() {
        let pixels: Vec<u8> = (0..2 * 5).flat_map(|i| [i as u8 * 20; 3]).collect();
        for (even_centre, first) in [(false, 1), (true, 2)] {
            let how = Preparation {
                size: 2,
                even_centre,
            };
            // Two rows of five pixels: three columns are cut off.
            let found = how.apply(&pixels, 2, 5);
            let level = (found[0] * DEVIATION[0] + MEAN[0]) * 255.0;
            assert!((level - 20.0 * first as f32).abs() < 1e-3, "{level}");
        }
    }
}
