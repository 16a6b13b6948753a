//! Gradients: the weights are computed again, tile by tile, from the sums that the answer left. [Dao et al. 2022]

use super::forward::{Mix, add_mixed, products};
use super::panel::{columns, rows};
use super::{BLOCK, Head, Rows, Shape, TILE};
use crate::buffer::{Out, filled};
use crate::conv::PANEL;
use crate::simd::{LANES, Lanes, dispatch, load, store};
use rayon::prelude::*;

/// Gradients with respect to queries, keys and values, each `[batch, heads, rows, width]` without gaps.
pub(crate) struct Gradients {
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
}

/// Gradients, given the answer, its sums and its gradient `g`.
pub(crate) fn backward(
    s: Shape,
    [q, k, v]: [&Rows<'_>; 3],
    answer: &Rows<'_>,
    sums: &[f32],
    g: &Rows<'_>,
) -> Gradients {
    assert!(q.holds(&s, s.queries) && k.holds(&s, s.keys) && v.holds(&s, s.keys));
    assert!(answer.holds(&s, s.queries) && g.holds(&s, s.queries));
    assert_eq!(sums.len(), s.all() * s.queries);
    let (queries, keys) = (s.queries * s.width, s.keys * s.width);
    let mut dk = Vec::new();
    let mut dv = Vec::new();
    let work = |n: usize, dq: Out, dk: Out, dv: Out| {
        let head = Task::new(
            &s,
            [q, k, v, answer, g].map(|rows| rows.head(&s, n)),
            &sums[n * s.queries..][..s.queries],
        );
        // SAFETY: each head writes its own part of the three, all of it.
        unsafe { head_gradients(&head, dq.at(n * queries), dk.at(n * keys), dv.at(n * keys)) };
    };
    // SAFETY: the heads cover all three.
    let dq = unsafe {
        filled(s.all() * queries, |dq| {
            dk = filled(s.all() * keys, |dk| {
                dv = filled(s.all() * keys, |dv| {
                    (0..s.all())
                        .into_par_iter()
                        .for_each(|n| work(n, dq, dk, dv));
                });
            });
        })
    };
    Gradients {
        q: dq,
        k: dk,
        v: dv,
    }
}

/// What the gradients of a head are made from.
struct Task<'a> {
    s: &'a Shape,
    /// Dense queries and gradients of answers.
    q: Vec<f32>,
    g: Vec<f32>,
    key_columns: Vec<f32>,
    value_columns: Vec<f32>,
    key_rows: Vec<f32>,
    query_rows: Vec<f32>,
    gradient_rows: Vec<f32>,
    sums: &'a [f32],
    /// The scalar product of each answer and its gradient.
    products: Vec<f32>,
}

impl<'a> Task<'a> {
    fn new(s: &'a Shape, [q, k, v, answer, g]: [Head<'_>; 5], sums: &'a [f32]) -> Self {
        let dense = |head: &Head<'_>| {
            let mut values = vec![0.0; s.queries * s.width];
            head.copy(0, s.width, &mut values);
            values
        };
        let gradient = dense(&g);
        let answer = dense(&answer);
        let pairs = answer
            .chunks_exact(s.width)
            .zip(gradient.chunks_exact(s.width));
        let products = pairs.map(|(a, g)| a.iter().zip(g).map(|(a, g)| a * g).sum());
        Self {
            products: products.collect(),
            q: dense(&q),
            key_columns: columns(&k, s.keys, s.width),
            value_columns: columns(&v, s.keys, s.width),
            key_rows: rows(&k, s.keys, s.width),
            query_rows: rows(&q, s.queries, s.width),
            gradient_rows: rows(&g, s.queries, s.width),
            g: gradient,
            s,
            sums,
        }
    }
}

dispatch! { unsafe fn head_gradients(t: &Task<'_>, dq: *mut f32, dk: *mut f32, dv: *mut f32) = head_lanes }

/// # Safety
/// `dq`, `dk` and `dv` must have room for the head's; the CPU must support `V`.
#[inline(always)]
unsafe fn head_lanes<V: Lanes>(t: &Task<'_>, dq: *mut f32, dk: *mut f32, dv: *mut f32) {
    let s = t.s;
    let padded = s.padded();
    let mut weights = vec![0.0f32; BLOCK * TILE];
    let mut slopes = vec![0.0f32; BLOCK * TILE];
    let mut of_keys = vec![0.0f32; s.keys * padded];
    let mut of_values = vec![0.0f32; s.keys * padded];
    let mut of_queries = vec![0.0f32; BLOCK * padded];
    for start in (0..s.queries).step_by(BLOCK) {
        let count = BLOCK.min(s.queries - start);
        of_queries.fill(0.0);
        for first in (0..s.keys).step_by(TILE) {
            let tile = TILE.min(s.keys - first);
            // SAFETY: the tile's panels exist, rows of both buffers hold whole panels, and sums those of all keys.
            unsafe {
                let block = start * s.width..(start + count) * s.width;
                let q = &t.q[block.clone()];
                products::<V>(q, &t.key_columns, s, count, first, tile, &mut weights);
                let g = &t.g[block];
                products::<V>(g, &t.value_columns, s, count, first, tile, &mut slopes);
                for r in 0..count {
                    scores::<V>(
                        &mut weights[r * TILE..][..tile],
                        &mut slopes[r * TILE..][..tile],
                        s.scale(),
                        t.sums[start + r],
                        t.products[start + r],
                    );
                }
                let across = |left: &[f32], right: &[f32]| Mix {
                    depth: count,
                    left: left.as_ptr(),
                    row: 1,
                    term: TILE,
                    right: right.as_ptr().add(start * PANEL),
                    panel: s.queries * PANEL,
                };
                let at = first * padded;
                let mix = across(&weights, &t.gradient_rows);
                add_mixed::<V>(&mix, tile, padded, of_values.as_mut_ptr().add(at));
                let mix = across(&slopes, &t.query_rows);
                add_mixed::<V>(&mix, tile, padded, of_keys.as_mut_ptr().add(at));
                let mix = Mix {
                    depth: tile,
                    left: slopes.as_ptr(),
                    row: TILE,
                    term: 1,
                    right: t.key_rows.as_ptr().add(first * PANEL),
                    panel: s.keys * PANEL,
                };
                add_mixed::<V>(&mix, count, padded, of_queries.as_mut_ptr());
            }
        }
        // SAFETY: these queries' gradients are inside `dq`.
        unsafe { unpad(&of_queries, count, s, dq.add(start * s.width)) };
    }
    // SAFETY: all keys' gradients are inside `dk` and `dv`.
    unsafe {
        unpad(&of_keys, s.keys, s, dk);
        unpad(&of_values, s.keys, s, dv);
    }
}

/// Products of queries and keys become weights, those of gradients and values gradients of the former.
///
/// # Safety
/// The CPU must support `V`.
#[inline(always)]
unsafe fn scores<V: Lanes>(
    weights: &mut [f32],
    slopes: &mut [f32],
    scale: f32,
    sum: f32,
    product: f32,
) {
    let factor = V::splat(scale);
    let (sum, product) = (V::splat(-sum), V::splat(product));
    for i in (0..weights.len()).step_by(LANES) {
        let n = LANES.min(weights.len() - i);
        // SAFETY: reads and writes stay inside both, which are of one length.
        unsafe {
            let (at, to) = (weights.as_mut_ptr().add(i), slopes.as_mut_ptr().add(i));
            let p: V = load(at, n);
            let p = p.fma(factor, sum).clamp(-87.0, 87.0).exp();
            store(p, at, n);
            let slope = load::<V>(to, n).sub(product).mul(p).mul(factor);
            store(slope, to, n);
        }
    }
}

/// Copies rows without what lies between them.
///
/// # Safety
/// `to` must have room for `count` dense rows.
unsafe fn unpad(from: &[f32], count: usize, s: &Shape, to: *mut f32) {
    for (r, row) in from.chunks_exact(s.padded()).take(count).enumerate() {
        // SAFETY: promised by the caller.
        unsafe {
            to.add(r * s.width)
                .copy_from_nonoverlapping(row.as_ptr(), s.width);
        }
    }
}
