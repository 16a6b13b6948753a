//! Weights as the products want them: in blocks of output channels, 3x3 ones transformed.

use super::Shape;
use super::scheme::{FOUR_FROM, Four, Scheme, Two};
use super::tile;
use crate::buffer::Out;
use rayon::prelude::*;

/// Weights `w` [cout, cin, side, side] for [`super::forward`].
pub(crate) fn pack(s: Shape, w: &[f32]) -> Vec<f32> {
    let taps = s.taps();
    assert_eq!(
        w.len(),
        s.cout * s.cin * taps,
        "weights of the declared shape"
    );
    pack_taps(s, |o, i, t| w[(o * s.cin + i) * taps + t])
}

/// Values that [`pack`] makes.
pub(super) fn packed_len(s: &Shape) -> usize {
    let points = match s.side {
        1 => 1,
        _ if s.cin < FOUR_FROM => Two::POINTS * 3,
        _ => Four::POINTS * 3,
    };
    s.cout * s.cin * points
}

/// The same of weights that `tap(output channel, input channel, tap)` tells.
pub(super) fn pack_taps(s: Shape, tap: impl Fn(usize, usize, usize) -> f32 + Sync) -> Vec<f32> {
    match s.side {
        1 => blocked(&s, |o, i| [[tap(o, i, 0)]]),
        _ if s.cin < FOUR_FROM => pack_3::<Two, 4>(&s, tap),
        _ => pack_3::<Four, 6>(&s, tap),
    }
}

fn pack_3<S: Scheme, const POINTS: usize>(
    s: &Shape,
    tap: impl Fn(usize, usize, usize) -> f32 + Sync,
) -> Vec<f32> {
    const { assert!(POINTS == S::POINTS) };
    blocked(s, |o, i| {
        let mut points = [[0.0; 3]; POINTS];
        for kx in 0..3 {
            let column = S::weight(core::array::from_fn(|ky| tap(o, i, ky * 3 + kx)));
            for (point, value) in points.iter_mut().zip(column) {
                point[kx] = value;
            }
        }
        points
    })
}

/// For each point the [`tile::blocks`] of output channels, each ordered [input channel][tap][row].
fn blocked<const POINTS: usize, const TAPS: usize>(
    s: &Shape,
    of: impl Fn(usize, usize) -> [[f32; TAPS]; POINTS] + Sync,
) -> Vec<f32> {
    let point = s.cout * s.cin * TAPS;
    let mut packed = vec![0.0; POINTS * point];
    let out = Out::new(&mut packed);
    let blocks: Vec<_> = tile::blocks(s.cout).collect();
    // Small weights are not worth handing out.
    let least = (SERIAL / (s.cin * TAPS * POINTS).max(1)).max(1);
    blocks
        .par_iter()
        .with_min_len(least)
        .for_each(|&(first, rows)| {
            for i in 0..s.cin {
                let at = (first * s.cin + i * rows) * TAPS;
                for r in 0..rows {
                    for (j, values) in of(first + r, i).into_iter().enumerate() {
                        for (t, value) in values.into_iter().enumerate() {
                            // SAFETY: inside point j, and inside this block, which is this task's alone.
                            unsafe { out.at(j * point + at + t * rows + r).write(value) };
                        }
                    }
                }
            }
        });
    packed
}

/// Values to pack before a second thread is worth it.
const SERIAL: usize = 1 << 12;
