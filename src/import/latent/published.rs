//! What names and shapes of latent networks do not tell, as published.

/// What names and shapes do not tell, as published: channels of a head where attention is among pixels, and heads where it
/// is to a text.
pub(in crate::import) const HEAD_CHANNELS: usize = 32;
pub(in crate::import) const HEADS: usize = 8;

/// First and last beta of the published models: LSUN-Bedroom and FFHQ, and Stable Diffusion.
pub(in crate::import) const BETAS: (f64, f64) = (0.0015, 0.0195);
pub(in crate::import) const BETAS_TEXT: (f64, f64) = (0.00085, 0.012);

/// How an imported latent teacher is sampled unless one says otherwise: with the settings of the paper's teacher.
pub(in crate::import) const TEACHER_STEPS: usize = 12;
pub(in crate::import) const SIGMA_MIN: f64 = 0.006;
pub(in crate::import) const SIGMA_MIN_TEXT: f64 = 0.1;
/// The usual weight of Stable Diffusion.
pub(in crate::import) const GUIDANCE: f64 = 7.5;
