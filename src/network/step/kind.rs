//! How a step branch starts, and what blocks do with it. [SFD Sec. 3.3]

use crate::parameter::Key;
use serde::{Deserialize, Serialize};

/// How the layers of a new step branch start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepInit {
    /// As all other layers, as in the official code: the network then starts away from its teacher.
    #[default]
    Official,
    /// `affine_step` starts at zero, so that the network starts as its teacher.
    Zero,
}

impl StepInit {
    /// Whether a parameter of the branch is drawn; if not, it is zero.
    pub(crate) fn draws(self, key: &Key) -> bool {
        match self {
            Self::Official => true,
            Self::Zero => key.beside.is_none(),
        }
    }
}

/// What a block does with u = `affine_step`(step embedding), `emb_nfe_layers` in latent networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepUse {
    /// Adds u to `affine`'s output: DDPM++ and latent networks.
    Added,
    /// `affine` gives a scale s and a shift t, u is s', t': h becomes (h (1 + s) + t) (1 + s') + t': ADM.
    ScaledAndShifted,
}

impl StepUse {
    /// Puts a block's constant step term u into its `affine`: `weight` `[out, in]` row-major, `bias` and `term` `[out]`.
    pub(super) fn fold(self, weight: &mut [f64], bias: &mut [f64], term: &[f64]) {
        match self {
            Self::Added => {
                for (bias, term) in bias.iter_mut().zip(term) {
                    *bias += term;
                }
            }
            // (h (1 + s) + t) (1 + s') + t' = h (1 + s (1 + s') + s') + t (1 + s') + t'.
            Self::ScaledAndShifted => {
                let half = term.len() / 2;
                let columns = weight.len() / term.len().max(1);
                for (row, bias) in bias.iter_mut().enumerate() {
                    let scale = 1.0 + term[row % half.max(1)];
                    *bias = *bias * scale + term[row];
                    for weight in &mut weight[row * columns..(row + 1) * columns] {
                        *weight *= scale;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_and_shift_fold_exactly() {
        // Two channels, three inputs: rows 0 and 1 are scales, 2 and 3 shifts. Powers of two round nowhere.
        let weight: Vec<f64> = (0..12).map(|i| f64::from(i - 5) / 4.0).collect();
        let bias = vec![0.5, -0.25, 1.0, 2.0];
        let term = [0.25, -0.5, 3.0, -1.0];
        let input = [1.0, -2.0, 0.5];
        let affine = |weight: &[f64], bias: &[f64]| -> Vec<f64> {
            let rows = weight.chunks(3).zip(bias);
            rows.map(|(row, bias)| row.iter().zip(&input).map(|(w, x)| w * x).sum::<f64>() + bias)
                .collect()
        };
        let block = |h: f64, c: usize, p: &[f64]| h * (1.0 + p[c]) + p[c + 2];
        let apart = affine(&weight, &bias);
        let (mut folded_weight, mut folded_bias) = (weight.clone(), bias.clone());
        StepUse::ScaledAndShifted.fold(&mut folded_weight, &mut folded_bias, &term);
        let folded = affine(&folded_weight, &folded_bias);
        for (c, h) in [(0, 1.5), (1, -0.75)] {
            assert_eq!(block(h, c, &folded), block(block(h, c, &apart), c, &term));
        }
    }
}
