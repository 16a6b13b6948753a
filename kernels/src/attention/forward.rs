//! The answer, and what the backward pass needs of it.

use super::panel::{columns, rows};
use super::shape::{BLOCK, Rows, Shape, TILE};
use crate::conv::{PANEL, Product, Start, blocks};
use crate::memory::buffer::{Out, filled, with_scratch};
use crate::simd::{LANES, Lanes, TOGETHER, dispatch};
use rayon::prelude::*;

/// What an attention comes to.
pub(crate) struct Answer {
    /// `[batch, heads, queries, width]` if it is for tokens, else `[batch, heads, width, queries]`: in the memory of
    /// `[batch, queries, heads, width]` and of the latter.
    pub values: Vec<f32>,
    /// The logarithm of each query's sum of exponentials, `[batch, heads, queries]`.
    pub sums: Vec<f32>,
}

/// The answer for queries `q`, keys `k` and values `v`; `tokens` says how it lies in memory.
pub(crate) fn forward(s: Shape, q: &Rows<'_>, k: &Rows<'_>, v: &Rows<'_>, tokens: bool) -> Answer {
    assert!(q.holds(&s, s.queries) && k.holds(&s, s.keys) && v.holds(&s, s.keys));
    assert!(s.keys > 0, "attention needs keys");
    let packed: Vec<[Vec<f32>; 2]> = (0..s.all())
        .into_par_iter()
        .map(|n| {
            [
                columns(&k.head(&s, n), s.keys, s.width),
                rows(&v.head(&s, n), s.keys, s.width),
            ]
        })
        .collect();
    let per_head = s.queries.div_ceil(BLOCK);
    let mut sums = vec![0.0; s.all() * s.queries];
    let out_sums = Out::new(&mut sums);
    let padded = s.padded();
    let work = |n: usize, out: Out| {
        let (head, first) = (n / per_head, n % per_head * BLOCK);
        let count = BLOCK.min(s.queries - first);
        let [keys, values] = &packed[head];
        with_scratch(BLOCK * (s.width + padded + TILE + 2), |scratch| {
            let (queries, rest) = scratch.split_at_mut(BLOCK * s.width);
            let (answer, rest) = rest.split_at_mut(BLOCK * padded);
            let (scores, rest) = rest.split_at_mut(BLOCK * TILE);
            let (largest, total) = rest.split_at_mut(BLOCK);
            q.head(&s, head)
                .copy(first, s.width, &mut queries[..count * s.width]);
            let block = Block {
                s: &s,
                count,
                queries,
                keys,
                values,
            };
            // SAFETY: the panels are those of this head, the rest has room for a block.
            unsafe { answer_block(&block, scores, answer, largest, total) };
            // SAFETY: these queries of this head are this task's alone, and all of them are written.
            unsafe {
                for r in 0..count {
                    let to = out_sums.at(head * s.queries + first + r);
                    to.write(largest[r] + total[r].ln());
                }
                let step = if tokens { s.heads * s.width } else { 1 };
                let number = if tokens { 1 } else { s.queries };
                let start = match tokens {
                    true => {
                        let (b, h) = (head / s.heads, head % s.heads);
                        (b * s.queries * s.heads + h) * s.width
                    }
                    false => head * s.width * s.queries,
                };
                let to = out.at(start + first * step);
                for (r, total) in total.iter().enumerate().take(count) {
                    for d in 0..s.width {
                        let value = answer[r * padded + d] / total;
                        to.add(r * step + d * number).write(value);
                    }
                }
            }
        });
    };
    // SAFETY: the blocks cover all queries of all heads.
    let values = unsafe {
        filled(s.all() * s.queries * s.width, |out| {
            (0..s.all() * per_head)
                .into_par_iter()
                .for_each(|n| work(n, out));
        })
    };
    Answer { values, sums }
}

/// Some queries of a head, and all its keys and values.
struct Block<'a> {
    s: &'a Shape,
    count: usize,
    queries: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
}

dispatch! { unsafe fn answer_block(b: &Block<'_>, scores: &mut [f32], answer: &mut [f32], largest: &mut [f32], total: &mut [f32]) = block_lanes }

/// # Safety
/// Slices must be of the declared sizes; the CPU must support `V`.
#[inline(always)]
unsafe fn block_lanes<V: Lanes>(
    b: &Block<'_>,
    scores: &mut [f32],
    answer: &mut [f32],
    largest: &mut [f32],
    total: &mut [f32],
) {
    let s = b.s;
    let padded = s.padded();
    answer.fill(0.0);
    largest.fill(f32::NEG_INFINITY);
    total.fill(0.0);
    for first in (0..s.keys).step_by(TILE) {
        let count = TILE.min(s.keys - first);
        // SAFETY: the tile's panels exist, and rows of scores hold whole panels.
        unsafe {
            products::<V>(b.queries, b.keys, b.s, b.count, first, count, scores);
        }
        for r in 0..b.count {
            let row = &mut scores[r * TILE..][..TILE];
            // SAFETY: `count` scores of the row are there, and `padded` numbers of the answer.
            unsafe {
                let most = maximum::<V>(&row[..count]) * s.scale();
                let new = largest[r].max(most);
                // Of the first tile, minus infinity less a number: nothing was there before.
                let keep = (largest[r] - new).exp();
                let sum = exponentials::<V>(&mut row[..count], s.scale(), new);
                total[r] = total[r] * keep + sum;
                largest[r] = new;
                if keep < 1.0 && first > 0 {
                    let keep = V::splat(keep);
                    let to = answer[r * padded..][..padded].as_mut_ptr();
                    for d in (0..padded).step_by(LANES) {
                        V::load(to.add(d)).mul(keep).store(to.add(d));
                    }
                }
            }
        }
        // SAFETY: weights are rows of TILE, values panels of `keys` rows.
        unsafe {
            add_mixed::<V>(
                &Mix {
                    depth: count,
                    left: scores.as_ptr(),
                    row: TILE,
                    term: 1,
                    right: b.values.as_ptr().add(first * PANEL),
                    panel: s.keys * PANEL,
                },
                b.count,
                padded,
                answer.as_mut_ptr(),
            );
        }
    }
}

/// `to[r, c] = sum over d of left[r, d] * right[c, d]` for the rows of a block and the columns `first..first + count`, whole
/// panels of them; rows of `to` are [`TILE`] apart.
///
/// # Safety
/// `left` must hold `rows` dense rows, `right` be [`columns`]; the CPU must support `V`.
#[inline(always)]
pub(super) unsafe fn products<V: Lanes>(
    left: &[f32],
    right: &[f32],
    s: &Shape,
    rows: usize,
    first: usize,
    count: usize,
    to: &mut [f32],
) {
    for (at, size) in blocks(rows) {
        for panel in 0..count.div_ceil(PANEL) {
            let product = Product {
                depth: s.width,
                left: left[at * s.width..].as_ptr(),
                row: s.width,
                term: 1,
                right: right[(first / PANEL + panel) * s.width * PANEL..].as_ptr(),
                start: Start::Zero,
                to: to[at * TILE + panel * PANEL..].as_mut_ptr(),
                stride: TILE,
            };
            // SAFETY: promised by the caller.
            unsafe { product.run_whole::<V>(size, 2) };
        }
    }
}

/// A product with [`rows`] on its right.
pub(super) struct Mix {
    /// Terms of a sum.
    pub depth: usize,
    pub left: *const f32,
    /// Distances from one row of `left`, and one term, to the next.
    pub row: usize,
    pub term: usize,
    /// The first row of the first panel.
    pub right: *const f32,
    /// From one panel to the next.
    pub panel: usize,
}

/// Adds the product to `count` rows of `to`, `padded` apart.
///
/// # Safety
/// All must hold what is described; the CPU must support `V`.
#[inline(always)]
pub(super) unsafe fn add_mixed<V: Lanes>(mix: &Mix, count: usize, padded: usize, to: *mut f32) {
    for (at, size) in blocks(count) {
        for panel in 0..padded.div_ceil(PANEL) {
            // SAFETY: promised by the caller.
            unsafe {
                let product = Product {
                    depth: mix.depth,
                    left: mix.left.add(at * mix.row),
                    row: mix.row,
                    term: mix.term,
                    right: mix.right.add(panel * mix.panel),
                    start: Start::There,
                    to: to.add(at * padded + panel * PANEL),
                    stride: padded,
                };
                product.run_whole::<V>(size, ((padded - panel * PANEL) / LANES).min(2));
            }
        }
    }
}

/// The largest number.
///
/// # Safety
/// The CPU must support `V`.
#[inline(always)]
unsafe fn maximum<V: Lanes>(row: &[f32]) -> f32 {
    let (vectors, rest) = row.as_chunks::<LANES>();
    let mut most = [f32::NEG_INFINITY; LANES];
    for vector in vectors {
        for (most, value) in most.iter_mut().zip(vector) {
            *most = if *value > *most { *value } else { *most };
        }
    }
    let all = most.iter().chain(rest);
    all.fold(f32::NEG_INFINITY, |most, value| most.max(*value))
}

/// Each number becomes exp(number * scale - largest); their sum.
///
/// # Safety
/// The CPU must support `V`.
#[inline(always)]
unsafe fn exponentials<V: Lanes>(row: &mut [f32], scale: f32, largest: f32) -> f32 {
    let (scale, offset) = (V::splat(scale), V::splat(-largest));
    let whole = row.len() / LANES * LANES;
    let mut sum = V::splat(0.0);
    // SAFETY: reads and writes stay inside the row.
    unsafe {
        let at = row.as_mut_ptr();
        let mut i = 0;
        while i + TOGETHER * LANES <= whole {
            let mut e = [offset; TOGETHER];
            for (k, e) in e.iter_mut().enumerate() {
                let score = V::load(at.add(i + k * LANES));
                *e = score.fma(scale, offset).clamp(-87.0, 87.0);
            }
            for (k, e) in V::exps(e).into_iter().enumerate() {
                e.store(at.add(i + k * LANES));
                sum = sum.add(e);
            }
            i += TOGETHER * LANES;
        }
        while i < whole {
            let e = V::load(at.add(i))
                .fma(scale, offset)
                .clamp(-87.0, 87.0)
                .exp();
            e.store(at.add(i));
            sum = sum.add(e);
            i += LANES;
        }
        let mut total = sum.sum();
        if whole < row.len() {
            let e = V::load_part(at.add(whole), row.len() - whole);
            let e = e.fma(scale, offset).clamp(-87.0, 87.0).exp();
            e.store_part(at.add(whole), row.len() - whole);
            total += row[whole..].iter().sum::<f32>();
        }
        total
    }
}
