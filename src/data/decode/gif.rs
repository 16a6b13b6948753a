//! GIF: the first frame, on its screen.

use super::palette::Palette;
use super::pixel::{Decoded, check_size, text};
use ::gif::{ColorOutput, DecodeOptions};
use image::metadata::Orientation;

/// Decodes the first frame. What it leaves of the screen is transparent, or the palette's first colour where the frame has
/// no transparent one; a screen that is too small grows, both as in Pillow.
pub(super) fn decode(file: &[u8]) -> Result<Decoded, String> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    let mut decoder = options.read_info(file).map_err(text)?;
    let screen = [decoder.width(), decoder.height()];
    let global = decoder.global_palette().map(<[u8]>::to_vec);
    let frame = decoder.next_frame_info().map_err(text)?;
    let frame = frame.ok_or("it has no frame")?.clone();
    let [left, top, width, height] =
        [frame.left, frame.top, frame.width, frame.height].map(usize::from);
    let wide = usize::from(screen[0]).max(left + width);
    let high = usize::from(screen[1]).max(top + height);
    check_size(wide as u32, high as u32)?;
    let mut pixels = vec![0; width * height];
    if !pixels.is_empty() {
        decoder.read_into_buffer(&mut pixels).map_err(text)?;
    }
    let mut numbers = vec![frame.transparent.unwrap_or(0); wide * high];
    for (row, pixels) in pixels.chunks_exact(width.max(1)).enumerate() {
        let start = (top + row) * wide + left;
        numbers[start..start + width].copy_from_slice(pixels);
    }
    let palette = frame.palette.or(global).ok_or("it has no palette")?;
    let mut palette = Palette::new(&palette);
    if let Some(transparent) = frame.transparent {
        palette.0[usize::from(transparent)][3] = 0;
    }
    Ok(Decoded {
        picture: palette.picture(wide as u32, high as u32, &numbers)?,
        orientation: Orientation::NoTransforms,
        moving: matches!(decoder.next_frame_info(), Ok(Some(_))),
        deep: false,
    })
}
