//! Where a token is in the image.

use crate::transfer;
use burn::tensor::{DType, Device, Tensor, TensorData};

/// Sines and cosines of column and row, `[side x side tokens, width]`, row by row: the first half of the numbers tells the
/// column, the second the row, each with frequencies from 1 down to 1/10000, which is left out.
pub(super) fn positions(side: usize, width: usize) -> Vec<f32> {
    let quarter = width / 4;
    let wave = |place: usize, i: usize| place as f64 * 1e-4f64.powf(i as f64 / quarter as f64);
    let mut all = Vec::with_capacity(side * side * width);
    // Once for each place on a side, not for each token: this is a part of every call of the network.
    let line = |place: usize| -> Vec<f32> {
        let sines = (0..quarter).map(|i| wave(place, i).sin() as f32);
        let cosines = (0..quarter).map(|i| wave(place, i).cos() as f32);
        sines.chain(cosines).collect()
    };
    let lines: Vec<_> = (0..side).map(line).collect();
    for (row, column) in (0..side * side).map(|token| (token / side, token % side)) {
        all.extend_from_slice(&lines[column]);
        all.extend_from_slice(&lines[row]);
    }
    all
}

/// The same as a tensor `[1, 1, tokens, width]`.
pub(super) fn tensor(side: usize, width: usize, dtype: DType, device: &Device) -> Tensor<4> {
    let data = TensorData::new(positions(side, width), [1, 1, side * side, width]);
    transfer::send(data, (device, dtype))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: frequencies 1 and 0.01.
    #[test]
    fn columns_come_before_rows() {
        let all = positions(2, 8);
        let (s, c) = (1f64.sin() as f32, 1f64.cos() as f32);
        let (s1, c1) = (0.01f64.sin() as f32, 0.01f64.cos() as f32);
        assert_eq!(all[..8], [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
        assert_eq!(all[8..16], [s, s1, c, c1, 0.0, 0.0, 1.0, 1.0]);
        assert_eq!(all[16..24], [0.0, 0.0, 1.0, 1.0, s, s1, c, c1]);
    }
}
