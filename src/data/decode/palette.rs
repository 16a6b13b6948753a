//! Colours by number.

use super::pixel::build;
use image::DynamicImage;

/// Colours by number, RGBA; those that a file does not give are black, as Pillow has them.
pub(super) struct Palette(pub(super) [[u8; 4]; 256]);

impl Palette {
    /// From `[red, green, blue]` triples.
    pub(super) fn new(colours: &[u8]) -> Self {
        let mut all = [[0, 0, 0, 255]; 256];
        for (place, colour) in all.iter_mut().zip(colours.chunks_exact(3)) {
            place[..3].copy_from_slice(colour);
        }
        Self(all)
    }

    /// Gives the first colours these alphas.
    pub(super) fn alpha(mut self, alphas: impl IntoIterator<Item = u8>) -> Self {
        for (place, alpha) in self.0.iter_mut().zip(alphas) {
            place[3] = alpha;
        }
        self
    }

    /// The picture of some numbers; with alpha only if a colour has some.
    pub(super) fn picture(
        &self,
        width: u32,
        height: u32,
        numbers: &[u8],
    ) -> Result<DynamicImage, String> {
        let channels = if self.0.iter().any(|colour| colour[3] < 255) {
            4
        } else {
            3
        };
        let colours = numbers
            .iter()
            .flat_map(|n| &self.0[usize::from(*n)][..channels]);
        build(width, height, channels, colours.copied().collect())
    }
}
