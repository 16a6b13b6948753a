//! Pictures to the 299 x 299 pixels that the network was trained with.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Height and width of the network's input.
pub(super) const SIDE: usize = 299;

/// How pictures of another size are brought to the network's. Features of the same picture differ by several percent, and
/// so do distances: a figure must say which it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// As the first version of TensorFlow did: bilinear, pixel i of the answer lies at i * size / 299, without smoothing.
    /// Published figures of EDM and of NVIDIA's other models are made so, and those of torch-fidelity.
    #[default]
    Tensorflow,
    /// As PyTorch does: bilinear, centres of pixels meet, without smoothing. Figures of pytorch-fid are made so.
    Bilinear,
}

impl Resize {
    /// As typed and written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tensorflow => "tensorflow",
            Self::Bilinear => "bilinear",
        }
    }

    /// Pictures of bytes, `[batch, channels, height, width]` with one or three channels, as the network takes them:
    /// `[batch, 299, 299, 3]`, about -1 to 1.
    pub(super) fn apply(self, pictures: &[u8], [channels, height, width]: [usize; 3]) -> Vec<f32> {
        let (down, across) = (self.places(height), self.places(width));
        let size = channels * height * width;
        let mut resized = vec![0.0; pictures.len() / size * SIDE * SIDE * 3];
        let rows = resized.par_chunks_mut(SIDE * 3).enumerate();
        rows.for_each(|(n, to)| {
            let picture = &pictures[n / SIDE * size..][..size];
            let row = &down[n % SIDE];
            for (place, to) in across.iter().zip(to.chunks_exact_mut(3)) {
                for (channel, to) in to.iter_mut().enumerate() {
                    let channel = channel.min(channels - 1);
                    let plane = &picture[channel * height * width..];
                    let at = |y: usize, x: usize| self.level(plane[y * width + x]);
                    let mix = |a: f32, b: f32, share: f32| a + (b - a) * share;
                    let line = |y: usize| mix(at(y, place.first), at(y, place.second), place.share);
                    *to = self.scaled(mix(line(row.first), line(row.second), row.share));
                }
            }
        });
        resized
    }

    /// A byte as it is resized.
    fn level(self, byte: u8) -> f32 {
        match self {
            Self::Tensorflow => f32::from(byte),
            Self::Bilinear => f32::from(byte) / 255.0,
        }
    }

    /// What was resized, as the network takes it.
    fn scaled(self, level: f32) -> f32 {
        match self {
            Self::Tensorflow => (level - 128.0) / 128.0,
            Self::Bilinear => 2.0 * level - 1.0,
        }
    }

    /// Where each pixel of the answer lies among `size`.
    fn places(self, size: usize) -> Vec<Place> {
        let scale = size as f32 / SIDE as f32;
        let place = |i: usize| {
            let at = match self {
                Self::Tensorflow => i as f32 * scale,
                Self::Bilinear => (scale * (i as f32 + 0.5) - 0.5).max(0.0),
            };
            let first = (at as usize).min(size - 1);
            Place {
                first,
                second: (first + 1).min(size - 1),
                share: at - first as f32,
            }
        };
        (0..SIDE).map(place).collect()
    }
}

/// Two neighbouring pixels, and the share of the second.
struct Place {
    first: usize,
    second: usize,
    share: f32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_of_the_networks_size_stay_as_they_are() {
        let picture: Vec<u8> = (0..SIDE * SIDE).map(|i| (i % 251) as u8).collect();
        for (resize, black, white) in [
            (Resize::Tensorflow, -1.0, 127.0 / 128.0),
            (Resize::Bilinear, -1.0, 1.0),
        ] {
            let found = resize.apply(&picture, [1, SIDE, SIDE]);
            assert_eq!(found.len(), SIDE * SIDE * 3);
            for (pixel, byte) in found.chunks(3).zip(&picture) {
                let expected = black + (white - black) * f32::from(*byte) / 255.0;
                assert!((pixel[0] - expected).abs() < 1e-5);
                assert_eq!([pixel[0]; 2], pixel[1..]);
            }
        }
    }

    #[test]
    fn pixels_of_tensorflow_start_at_the_corner_and_those_of_pytorch_at_the_centre() {
        // Two pixels, 0 and 200: TensorFlow's second lies at 149.5, PyTorch's centres at 74.25 and 223.75.
        let row = |resize: Resize| {
            let found = resize.apply(&[0, 200], [1, 1, 2]);
            let levels = found.chunks(3).take(SIDE).map(move |p| match resize {
                Resize::Tensorflow => p[0] * 128.0 + 128.0,
                Resize::Bilinear => (p[0] + 1.0) * 127.5,
            });
            levels.collect::<Vec<f32>>()
        };
        let close = |a: f32, b: f64| assert!((f64::from(a) - b).abs() < 1e-3, "{a} {b}");
        let tensorflow = row(Resize::Tensorflow);
        close(tensorflow[0], 0.0);
        close(tensorflow[100], 200.0 * 100.0 / 149.5);
        close(tensorflow[150], 200.0);
        let bilinear = row(Resize::Bilinear);
        close(bilinear[74], 0.0);
        close(bilinear[149], 100.0);
        close(bilinear[100], 200.0 * (100.5 / 149.5 - 0.5));
        close(bilinear[225], 200.0);
    }
}
