//! Keys, values and the like as the products want them.

use super::shape::Head;
use crate::conv::PANEL;

/// Panels of 16 rows, each `[number][row]`; missing rows are zero.
pub(super) fn columns(head: &Head<'_>, rows: usize, width: usize) -> Vec<f32> {
    let mut panels = vec![0.0; rows.div_ceil(PANEL) * width * PANEL];
    for (p, panel) in panels.chunks_exact_mut((width * PANEL).max(1)).enumerate() {
        let first = p * PANEL;
        for r in 0..PANEL.min(rows - first) {
            let from = &head.values[(first + r) * head.row..];
            for d in 0..width {
                panel[d * PANEL + r] = from[d * head.number];
            }
        }
    }
    panels
}

/// Panels of 16 numbers, each `[row][number]`; missing numbers are zero.
pub(super) fn rows(head: &Head<'_>, rows: usize, width: usize) -> Vec<f32> {
    let mut panels = vec![0.0; width.div_ceil(PANEL) * rows * PANEL];
    for (p, panel) in panels.chunks_exact_mut((rows * PANEL).max(1)).enumerate() {
        let first = p * PANEL;
        let count = PANEL.min(width - first);
        for (r, to) in panel.chunks_exact_mut(PANEL).enumerate() {
            let from = &head.values[r * head.row + first * head.number..];
            for (d, to) in to[..count].iter_mut().enumerate() {
                *to = from[d * head.number];
            }
        }
    }
    panels
}
