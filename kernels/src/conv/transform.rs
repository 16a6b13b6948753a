//! The transforms of whole tiles, eight at a time, one to a lane.

use super::scheme::{MOST, Scheme};
use crate::simd::{LANES, Lanes};

/// `n` neighbouring values, 2, 4 or 6, from each of eight places.
///
/// # Safety
/// All places must be valid for reading them; the CPU must support `V`.
#[inline(always)]
unsafe fn load<V: Lanes>(n: usize, from: [*const f32; LANES]) -> [V; MOST] {
    let none = V::splat(0.0);
    // SAFETY: promised by the caller.
    unsafe {
        match n {
            2 => {
                let [a, b] = V::load_twos(from);
                [a, b, none, none, none, none]
            }
            4 => {
                let [a, b, c, d] = V::load_fours(from);
                [a, b, c, d, none, none]
            }
            _ => {
                let [a, b, c, d] = V::load_fours(from);
                let [e, f] = V::load_twos(from.map(|p| p.add(4)));
                [a, b, c, d, e, f]
            }
        }
    }
}

/// Transforms columns that are transformed along the rows already, and writes point j, k to
/// `to + (j * products + k) * point`.
///
/// # Safety
/// All points must be writable; the CPU must support `V`.
#[expect(
    clippy::needless_range_loop,
    reason = "it is the columns that are taken one by one"
)]
#[inline(always)]
unsafe fn columns<S: Scheme, V: Lanes>(
    rows: [[V; MOST]; MOST],
    transform: impl Fn([V; MOST]) -> [V; MOST],
    to: *mut f32,
    point: usize,
) {
    for k in 0..S::PRODUCTS {
        let column = transform([
            rows[0][k], rows[1][k], rows[2][k], rows[3][k], rows[4][k], rows[5][k],
        ]);
        for (j, value) in column.into_iter().enumerate().take(S::PRODUCTS) {
            // SAFETY: promised by the caller.
            unsafe { value.store(to.add((j * S::PRODUCTS + k) * point)) };
        }
    }
}

/// `B^T x B` of eight tiles with their margin; a tile's rows are `row` values apart.
///
/// # Safety
/// Tiles must be readable, and points writable; the CPU must support `V`.
#[inline(always)]
pub(super) unsafe fn input<S: Scheme, V: Lanes>(
    tiles: [*const f32; LANES],
    row: usize,
    to: *mut f32,
    point: usize,
) {
    let mut rows = [[V::splat(0.0); MOST]; MOST];
    // SAFETY: promised by the caller.
    unsafe {
        for (y, to) in rows.iter_mut().enumerate().take(S::PRODUCTS) {
            *to = S::input(load::<V>(S::PRODUCTS, tiles.map(|p| p.add(y * row))));
        }
        columns::<S, V>(rows, S::input, to, point);
    }
}

/// `A g A^T` of eight tiles of an output's gradient, as [`input`].
///
/// # Safety
/// As [`input`].
#[inline(always)]
pub(super) unsafe fn gradient<S: Scheme, V: Lanes>(
    tiles: [*const f32; LANES],
    row: usize,
    to: *mut f32,
    point: usize,
) {
    let mut rows = [[V::splat(0.0); MOST]; MOST];
    // SAFETY: promised by the caller.
    unsafe {
        for (y, to) in rows.iter_mut().enumerate().take(S::OUTPUTS) {
            *to = S::gradient(load::<V>(S::OUTPUTS, tiles.map(|p| p.add(y * row))));
        }
        columns::<S, V>(rows, S::gradient, to, point);
    }
}

/// `A^T m A + bias` of eight tiles: from products `point` values apart to tiles with rows `row` values apart.
///
/// # Safety
/// Products must be readable, and tiles writable; the CPU must support `V`.
#[expect(
    clippy::needless_range_loop,
    reason = "it is the columns that are taken one by one"
)]
#[inline(always)]
pub(super) unsafe fn output<S: Scheme, V: Lanes>(
    m: *const f32,
    point: usize,
    bias: f32,
    tiles: [*mut f32; LANES],
    row: usize,
) {
    let (none, bias) = (V::splat(0.0), V::splat(bias));
    let mut columns = [[none; MOST]; MOST];
    // SAFETY: promised by the caller.
    unsafe {
        for (k, to) in columns.iter_mut().enumerate().take(S::PRODUCTS) {
            let mut column = [none; MOST];
            for (j, value) in column.iter_mut().enumerate().take(S::PRODUCTS) {
                *value = V::load(m.add((j * S::PRODUCTS + k) * point));
            }
            *to = S::output(column);
        }
        for y in 0..S::OUTPUTS {
            let [a, b, c, d, ..] = S::output([
                columns[0][y],
                columns[1][y],
                columns[2][y],
                columns[3][y],
                columns[4][y],
                columns[5][y],
            ]);
            let tiles = tiles.map(|p| p.add(y * row));
            match S::OUTPUTS {
                2 => V::store_twos([a.add(bias), b.add(bias)], tiles),
                _ => V::store_fours([a, b, c, d].map(|v| v.add(bias)), tiles),
            }
        }
    }
}

/// `G w G^T` of eight kernels: taps to points.
#[inline(always)]
pub(super) fn weight<S: Scheme, V: Lanes>(taps: [V; 9]) -> [[V; MOST]; MOST] {
    let none = V::splat(0.0);
    let mut columns = [[none; MOST]; 3];
    for (x, column) in columns.iter_mut().enumerate() {
        *column = S::weight([taps[x], taps[3 + x], taps[6 + x]]);
    }
    let mut points = [[none; MOST]; MOST];
    for (j, points) in points.iter_mut().enumerate().take(S::PRODUCTS) {
        *points = S::weight([columns[0][j], columns[1][j], columns[2][j]]);
    }
    points
}

/// `G^T s G` of eight sums: points to taps' gradients.
#[inline(always)]
pub(super) fn weight_transposed<S: Scheme, V: Lanes>(points: [[V; MOST]; MOST]) -> [V; 9] {
    let none = V::splat(0.0);
    let mut rows = [[none; 3]; MOST];
    for (row, points) in rows.iter_mut().zip(points).take(S::PRODUCTS) {
        *row = S::weight_transposed(points);
    }
    let mut taps = [none; 9];
    for x in 0..3 {
        let column = S::weight_transposed([
            rows[0][x], rows[1][x], rows[2][x], rows[3][x], rows[4][x], rows[5][x],
        ]);
        for (y, tap) in column.into_iter().enumerate() {
            taps[3 * y + x] = tap;
        }
    }
    taps
}
