//! Tiles of the images of a batch, and copies of the pixels under them.

use super::scheme::Scheme;
use super::shape::Shape;
use crate::simd::{LANES, Lanes};

/// The tiles of all images, numbered row by row and image by image; the last of a row or column perhaps partial.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    height: usize,
    width: usize,
    /// Pixels of a tile's side.
    side: usize,
    down: usize,
    across: usize,
}

impl Grid {
    pub fn new<S: Scheme>(s: &Shape) -> Self {
        Self {
            height: s.height,
            width: s.width,
            side: S::OUTPUTS,
            down: s.height.div_ceil(S::OUTPUTS),
            across: s.width.div_ceil(S::OUTPUTS),
        }
    }

    /// Tiles in `batch` images.
    pub fn count(&self, batch: usize) -> usize {
        batch * self.down * self.across
    }

    /// Whether every tile is whole.
    pub fn is_whole(&self) -> bool {
        self.height.is_multiple_of(self.side) && self.width.is_multiple_of(self.side)
    }

    /// Image, and row and column of tiles.
    fn place(&self, tile: usize) -> [usize; 3] {
        let (row, column) = (tile / self.across, tile % self.across);
        [row / self.down, row % self.down, column]
    }

    /// Where the first pixel of a tile lies in the first channel of images of `channels` channels.
    pub fn pixel(&self, tile: usize, channels: usize) -> usize {
        let [image, row, column] = self.place(tile);
        (image * channels * self.height + row * self.side) * self.width + column * self.side
    }

    /// Rows and columns of a tile that lie in its image.
    pub fn size(&self, tile: usize) -> [usize; 2] {
        let [_, row, column] = self.place(tile);
        [
            self.side.min(self.height - row * self.side),
            self.side.min(self.width - column * self.side),
        ]
    }
}

/// How the pixels under some tiles of one channel are laid out in a copy, with zeros around each image.
pub(super) struct Window {
    bands: Vec<Band>,
    /// Where each tile's pixels start, the margin included; the last is repeated to whole vectors.
    pub tiles: Vec<usize>,
    /// Number of tiles.
    pub count: usize,
    /// Values from one row of pixels to the next.
    pub row: usize,
    /// Values of the whole copy.
    pub len: usize,
    width: usize,
    image: usize,
}

/// The rows of pixels of one image.
struct Band {
    image: usize,
    /// First pixel in the image.
    from: usize,
    rows: usize,
    /// First pixel in the copy.
    to: usize,
}

impl Window {
    /// `count > 0` tiles from `first` on, with `margin` pixels around each image.
    pub fn new(grid: Grid, first: usize, count: usize, margin: usize) -> Self {
        let row = grid.across * grid.side + 2 * margin;
        let (mut bands, mut tiles) = (Vec::new(), Vec::with_capacity(count + LANES));
        let (mut len, mut tile) = (0, first);
        while tile < first + count {
            let [image, top, _] = grid.place(tile);
            let end = (first + count).min((image + 1) * grid.down * grid.across);
            let [_, bottom, _] = grid.place(end - 1);
            // With the neighbouring rows where the image has them.
            let from = (top * grid.side).saturating_sub(margin);
            let until = grid.height.min((bottom + 1) * grid.side + margin);
            bands.push(Band {
                image,
                from: from * grid.width,
                rows: until - from,
                to: len + (from + margin - top * grid.side) * row + margin,
            });
            for tile in tile..end {
                let [_, y, x] = grid.place(tile);
                tiles.push(len + (y - top) * grid.side * row + x * grid.side);
            }
            len += ((bottom + 1 - top) * grid.side + 2 * margin) * row;
            tile = end;
        }
        let last = tiles[count - 1];
        tiles.resize(count.next_multiple_of(LANES), last);
        Self {
            bands,
            tiles,
            count,
            row,
            len,
            width: grid.width,
            image: grid.height * grid.width,
        }
    }

    /// Copies channel `c` of `x` [batch, channels, height, width]. What lies outside the images is not written: `to` must
    /// be zero there.
    ///
    /// # Safety
    /// `x` must hold the images, `to` have room for `len` values; the CPU must support `V`.
    #[inline(always)]
    pub unsafe fn copy<V: Lanes>(&self, x: *const f32, channels: usize, c: usize, to: *mut f32) {
        for band in &self.bands {
            // SAFETY: rows are read inside the image and written inside the copy.
            unsafe {
                let mut from = x.add((band.image * channels + c) * self.image + band.from);
                let mut to = to.add(band.to);
                for _ in 0..band.rows {
                    let mut at = 0;
                    while at + LANES <= self.width {
                        V::load(from.add(at)).store(to.add(at));
                        at += LANES;
                    }
                    while at < self.width {
                        to.add(at).write(*from.add(at));
                        at += 1;
                    }
                    from = from.wrapping_add(self.width);
                    to = to.wrapping_add(self.row);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::scheme::{Four, Two};
    use crate::simd::Portable;

    /// Every tile of every range reads its pixels, and zeros outside its image.
    fn tiles_see_their_pixels<S: Scheme>(batch: usize, height: usize, width: usize) {
        let channels = 2;
        let s = Shape {
            batch,
            cin: channels,
            cout: 1,
            height,
            width,
            side: 3,
        };
        let grid = Grid::new::<S>(&s);
        let x: Vec<f32> = (1..=batch * channels * height * width)
            .map(|i| i as f32)
            .collect();
        let all = grid.count(batch);
        for (first, count, margin) in [(0, all, 1), (all / 2, all - all / 2, 1), (all / 3, 1, 0)] {
            let window = Window::new(grid, first, count, margin);
            assert_eq!(window.tiles.len() % LANES, 0);
            let mut copy = vec![0.0; window.len];
            // SAFETY: as much as is asked for; portable lanes need no CPU feature.
            unsafe { window.copy::<Portable>(x.as_ptr(), channels, 1, copy.as_mut_ptr()) };
            for tile in first..first + count {
                let [image, row, column] = grid.place(tile);
                for dy in 0..S::OUTPUTS + 2 * margin {
                    for dx in 0..S::OUTPUTS + 2 * margin {
                        let y = (row * S::OUTPUTS + dy).wrapping_sub(margin);
                        let at = (column * S::OUTPUTS + dx).wrapping_sub(margin);
                        let expected = match y < height && at < width {
                            true => x[((image * channels + 1) * height + y) * width + at],
                            false => 0.0,
                        };
                        let found = copy[window.tiles[tile - first] + dy * window.row + dx];
                        assert_eq!(found, expected, "tile {tile}, {dy}, {dx}");
                    }
                }
            }
        }
    }

    #[test]
    fn windows_hold_the_pixels_of_their_tiles() {
        for (batch, height, width) in [(1, 1, 1), (3, 7, 5), (2, 8, 8), (4, 3, 17), (2, 16, 9)] {
            tiles_see_their_pixels::<Two>(batch, height, width);
            tiles_see_their_pixels::<Four>(batch, height, width);
        }
    }
}
