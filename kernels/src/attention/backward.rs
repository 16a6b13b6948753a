//! Gradients: the weights are computed again, tile by tile, from the sums that the answer left. [Dao et al. 2022]

use super::forward::{Mix, add_mixed, products};
use super::panel::{columns, rows};
use super::shape::{BLOCK, Head, Rows, Shape, TILE};
use crate::conv::PANEL;
use crate::memory::buffer::filled;
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
    let (queries, keys) = (s.queries * s.width, s.keys * s.width);
    let mut dk = Vec::new();
    let mut dv = Vec::new();
    // SAFETY: the heads cover all three.
    let dq = unsafe {
        filled(s.all() * queries, |dq| {
            dk = filled(s.all() * keys, |dk| {
                dv = filled(s.all() * keys, |dv| {
                    let places = |n: usize| {
                        let sizes = [(dq, queries), (dk, keys), (dv, keys)];
                        sizes.map(|(out, size)| Place {
                            to: out.at(n * size),
                            row: s.width,
                            number: 1,
                        })
                    };
                    all_heads(s, [q, k, v], answer, sums, g, &places);
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

/// The same for queries, keys and values that lie together, as many of each: `[batch, 3 heads, width, rows]`.
pub(crate) fn joint_backward(
    s: Shape,
    [q, k, v]: [&Rows<'_>; 3],
    answer: &Rows<'_>,
    sums: &[f32],
    g: &Rows<'_>,
) -> Vec<f32> {
    assert_eq!(s.queries, s.keys, "as many queries as keys");
    let size = s.queries * s.width;
    // SAFETY: the heads of queries, keys and values cover all.
    unsafe {
        filled(3 * s.all() * size, |out| {
            let places = |n: usize| {
                let (b, h) = (n / s.heads, n % s.heads);
                [0, 1, 2].map(|i| Place {
                    to: out.at(((3 * b + i) * s.heads + h) * size),
                    row: 1,
                    number: s.queries,
                })
            };
            all_heads(s, [q, k, v], answer, sums, g, &places);
        })
    }
}

/// Where the gradients of a head's queries, keys or values go, and the distances between rows and between numbers there.
struct Place {
    to: *mut f32,
    row: usize,
    number: usize,
}

/// The gradients of every head.
///
/// # Safety
/// There must be room for head `n`'s at `places(n)`, that no other head's take.
unsafe fn all_heads(
    s: Shape,
    [q, k, v]: [&Rows<'_>; 3],
    answer: &Rows<'_>,
    sums: &[f32],
    g: &Rows<'_>,
    places: &(dyn Fn(usize) -> [Place; 3] + Sync),
) {
    assert!(q.holds(&s, s.queries) && k.holds(&s, s.keys) && v.holds(&s, s.keys));
    assert!(answer.holds(&s, s.queries) && g.holds(&s, s.queries));
    assert_eq!(sums.len(), s.all() * s.queries);
    (0..s.all()).into_par_iter().for_each(|n| {
        let head = Task::new(
            &s,
            [q, k, v, answer, g].map(|rows| rows.head(&s, n)),
            &sums[n * s.queries..][..s.queries],
        );
        // SAFETY: promised by the caller.
        unsafe { head_gradients(&head, &places(n)) };
    });
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

dispatch! { unsafe fn head_gradients(t: &Task<'_>, places: &[Place; 3]) = head_lanes }

/// # Safety
/// There must be room for the head's at `places`; the CPU must support `V`.
#[inline(always)]
unsafe fn head_lanes<V: Lanes>(t: &Task<'_>, [dq, dk, dv]: &[Place; 3]) {
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
        // SAFETY: these queries' gradients are among those of `dq`.
        unsafe { unpad(&of_queries, start, count, s, dq) };
    }
    // SAFETY: `dk` and `dv` are for all keys' gradients.
    unsafe {
        unpad(&of_keys, 0, s.keys, s, dk);
        unpad(&of_values, 0, s.keys, s, dv);
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

/// Copies rows without what lies between them to those from `first` on.
///
/// # Safety
/// There must be room for them at `place`.
unsafe fn unpad(from: &[f32], first: usize, count: usize, s: &Shape, place: &Place) {
    let padded = s.padded();
    // SAFETY: promised by the caller.
    unsafe {
        let to = place.to.add(first * place.row);
        if place.number == 1 {
            for (r, row) in from.chunks_exact(padded).take(count).enumerate() {
                let to = to.add(r * place.row);
                to.copy_from_nonoverlapping(row.as_ptr(), s.width);
            }
            return;
        }
        for d in 0..s.width {
            let to = to.add(d * place.number);
            for (r, row) in from.chunks_exact(padded).take(count).enumerate() {
                to.add(r * place.row).write(row[d]);
            }
        }
    }
}
