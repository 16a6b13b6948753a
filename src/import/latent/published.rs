//! What names and shapes of latent networks do not tell, as published.

use crate::network::Added;

/// What names and shapes do not tell, as published: channels of a head where attention is among pixels, and heads where it
/// is to a text.
pub(in crate::import) const HEAD_CHANNELS: usize = 32;
pub(in crate::import) const HEADS: usize = 8;

/// Channels of a head where pixels become tokens by a matrix: Stable Diffusion 2 and XL.
pub(in crate::import) const HEAD: usize = 64;

/// Channels of the waves of each of the six sizes that Stable Diffusion XL is told.
pub(in crate::import) const WAVES: usize = 256;

/// Levels of all tables.
pub(in crate::import) const LEVELS: usize = 1000;

/// First and last beta of the published models: LSUN-Bedroom and FFHQ, and Stable Diffusion.
pub(in crate::import) const BETAS: (f64, f64) = (0.0015, 0.0195);
pub(in crate::import) const BETAS_TEXT: (f64, f64) = (0.00085, 0.012);

/// How an imported latent teacher is sampled unless one says otherwise: with the settings of the paper's teacher.
pub(in crate::import) const TEACHER_STEPS: usize = 12;
pub(in crate::import) const SIGMA_MIN: f64 = 0.006;
pub(in crate::import) const SIGMA_MIN_TEXT: f64 = 0.1;
/// The usual weight of Stable Diffusion, and of XL.
pub(in crate::import) const GUIDANCE: f64 = 7.5;
pub(in crate::import) const GUIDANCE_XL: f64 = 5.0;

/// What else is told of a text, by the numbers that the layer for it takes, and the width of a text as a whole where the file
/// tells it: else the waves are as published. `None` for what the six sizes and a text cannot be.
pub(in crate::import) fn added(input: usize, text: Option<usize>) -> Option<Added> {
    let text = text.or_else(|| input.checked_sub(6 * WAVES))?;
    let waves = input.checked_sub(text)?;
    waves.is_multiple_of(6).then_some(Added {
        text,
        waves: waves / 6,
    })
}
