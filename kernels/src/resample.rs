//! Doubling and halving the resolution of images, on slices of [planes, height, width].

use crate::memory::buffer::chunks;

/// Each pixel becomes a 2x2 block of `scale` times it. `height` and `width` are the input's; the
/// output has `out_height` >= 2 height rows of `out_width` >= 2 width, zero past the blocks.
pub(crate) fn spread(
    x: &[f32],
    planes: usize,
    [height, width]: [usize; 2],
    [out_height, out_width]: [usize; 2],
    scale: f32,
) -> Vec<f32> {
    assert!(out_height >= 2 * height && out_width >= 2 * width);
    let size = out_height * out_width;
    assert_eq!(x.len(), planes * height * width);
    let plane = |n: usize, out: *mut f32| {
        // SAFETY: `out` is this plane's chunk; writing zeros makes it a valid slice.
        let out = unsafe {
            out.write_bytes(0, size);
            std::slice::from_raw_parts_mut(out, size)
        };
        if width == 0 {
            return;
        }
        let rows = x[n * height * width..][..height * width].chunks_exact(width);
        for (row, pair) in rows.zip(out.chunks_exact_mut(2 * out_width)) {
            let (top, bottom) = pair.split_at_mut(out_width);
            for (to, &from) in top.chunks_exact_mut(2).zip(row) {
                to.fill(from * scale);
            }
            bottom.copy_from_slice(top);
        }
    };
    // SAFETY: `plane` zeroes, and so writes, its whole chunk.
    unsafe { chunks(planes, size, plane) }
}

/// Each 2x2 block becomes `scale` times its sum; an odd last row or column is left out.
pub(crate) fn gather(
    x: &[f32],
    planes: usize,
    [height, width]: [usize; 2],
    scale: f32,
) -> Vec<f32> {
    let (h, w) = (height / 2, width / 2);
    assert_eq!(x.len(), planes * height * width);
    let plane = |n: usize, out: *mut f32| {
        let image = &x[n * height * width..][..height * width];
        for y in 0..h {
            let (top, bottom) = image[2 * y * width..][..2 * width].split_at(width);
            for (i, (a, b)) in top.chunks_exact(2).zip(bottom.chunks_exact(2)).enumerate() {
                let sum = (a[0] + a[1]) + (b[0] + b[1]);
                // SAFETY: y < h and i < w, within this plane's chunk of h * w.
                unsafe { out.add(y * w + i).write(sum * scale) };
            }
        }
    };
    // SAFETY: `plane` writes all h * w values.
    unsafe { chunks(planes, h * w, plane) }
}
