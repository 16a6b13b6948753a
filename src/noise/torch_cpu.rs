//! The numbers of PyTorch's CPU generator.

use crate::Error;
use std::f64::consts::TAU;

/// Largest range of [`TorchCpu::below`] and `TorchCuda::below`: PyTorch draws wider ones from 64 bits, from a limit on that has moved between
/// its versions.
const WIDEST: u64 = 1 << 28;

/// Checks a range to draw from.
pub(super) fn check_range(n: u64) -> Result<(), Error> {
    if (1..WIDEST).contains(&n) {
        return Ok(());
    }
    Err(Error::invalid("range of a draw", n, "1 to 2^28 - 1"))
}

/// A generator that gives what `torch.Generator('cpu').manual_seed(seed)` gives, draw after draw.
///
/// Underneath is the Mersenne Twister MT19937, whose numbers agree exactly. Normal numbers come out of the same f32
/// operations as in PyTorch's vectorised code; PyTorch's own logarithm, sine and cosine are off by some last bits, and
/// differ between its processors, so normals agree to about 1e-6.
#[derive(Clone, Debug)]
pub struct TorchCpu {
    engine: rand_mt::Mt,
    /// The second half of the last pair of a small draw, kept across draws.
    spare: Option<f64>,
}

impl TorchCpu {
    /// A freshly seeded generator; only the low 32 bits of the seed count, as in PyTorch.
    pub fn new(seed: u64) -> Self {
        Self {
            engine: rand_mt::Mt::new(seed as u32),
            spare: None,
        }
    }

    /// What `torch.randn` gives for a contiguous f32 tensor of `n` elements.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        if n < 16 {
            return (0..n).map(|_| self.normal() as f32).collect();
        }
        let mut values: Vec<f32> = (0..n).map(|_| self.uniform()).collect();
        values.chunks_exact_mut(16).for_each(box_muller);
        if !n.is_multiple_of(16) {
            // A rest is not transformed: the last 16 are drawn anew, over what was there.
            let tail = &mut values[n - 16..];
            tail.fill_with(|| self.uniform());
            box_muller(tail);
        }
        values
    }

    /// Goes on as if `n` normal numbers had been drawn at once.
    pub fn skip_normals(&mut self, n: usize) {
        if n < 16 {
            self.normals(n);
            return;
        }
        let tail = if n.is_multiple_of(16) { 0 } else { 16 };
        for _ in 0..n + tail {
            self.engine.next_u32();
        }
    }

    /// One element of `torch.randint(n, ...)`.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if `n` is not in 1..2^28.
    pub fn below(&mut self, n: u64) -> Result<u64, Error> {
        check_range(n)?;
        Ok(u64::from(self.engine.next_u32()) % n)
    }

    /// A multiple of 2^-24 in [0, 1).
    fn uniform(&mut self) -> f32 {
        (self.engine.next_u32() & 0x00ff_ffff) as f32 * (0.5f32).powi(24)
    }

    /// A multiple of 2^-53 in [0, 1).
    fn uniform_f64(&mut self) -> f64 {
        let (high, low) = (self.engine.next_u32(), self.engine.next_u32());
        let bits = (u64::from(high) << 32) | u64::from(low);
        (bits & ((1 << 53) - 1)) as f64 * (0.5f64).powi(53)
    }

    /// One number of a draw of fewer than 16: in f64, a pair at a time.
    fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let (angle, length) = (self.uniform_f64(), self.uniform_f64());
        let radius = libm::sqrt(-2.0 * libm::log1p(-length));
        let (sine, cosine) = libm::sincos(TAU * angle);
        self.spare = Some(radius * sine);
        radius * cosine
    }
}

/// 16 uniform numbers become normal: the first 8 give the lengths, the last 8 the angles.
fn box_muller(block: &mut [f32]) {
    let (lengths, angles) = block.split_at_mut(8);
    for (length, angle) in lengths.iter_mut().zip(angles) {
        let log = libm::log(f64::from(1.0 - *length)) as f32;
        let radius = (-2.0 * log).sqrt();
        // Rounded to f32 as PyTorch does; an exact angle would be off by 1e-6.
        let theta = TAU as f32 * *angle;
        let (sine, cosine) = libm::sincos(f64::from(theta));
        *length = radius * cosine as f32;
        *angle = radius * sine as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference implementation's first numbers, published with it for the seed 5489.
    #[test]
    fn the_engine_is_the_mersenne_twister() {
        let mut torch = TorchCpu::new(5489);
        assert_eq!(torch.engine.next_u32(), 3_499_211_612);
        assert_eq!(torch.engine.next_u32(), 581_869_302);
        // Only 32 bits of a seed count.
        assert_eq!(
            TorchCpu::new(5489 + (7 << 32)).normals(20),
            TorchCpu::new(5489).normals(20)
        );
    }

    /// `torch.manual_seed(0); torch.randn(5)` and `torch.randn(16)`, as in many a published page.
    #[test]
    fn well_known_numbers_come_out() {
        let close = |got: &[f32], want: &[f32]| {
            assert_eq!(got.len(), want.len());
            let worst = got.iter().zip(want).map(|(a, b)| (a - b).abs());
            assert!(worst.fold(0.0, f32::max) < 6e-5, "{got:?} {want:?}");
        };
        let small = [1.5410, -0.2934, -2.1788, 0.5684, -1.0845];
        close(&TorchCpu::new(0).normals(5), &small);
        let large = [-1.1258, -1.1524, -0.2506, -0.4339];
        close(&TorchCpu::new(0).normals(16)[..4], &large);
    }

    #[test]
    fn a_tail_is_drawn_anew_and_a_spare_survives_other_draws() {
        let whole = TorchCpu::new(3).normals(16);
        let longer = TorchCpu::new(3).normals(17);
        assert_eq!(whole[0], longer[0]);
        assert_ne!(whole[1..], longer[1..16]);
        // One small number leaves its twin, which a large draw passes over.
        let mut torch = TorchCpu::new(3);
        let first = torch.normals(1);
        torch.normals(32);
        let second = torch.normals(1);
        assert_eq!([first, second].concat(), TorchCpu::new(3).normals(2));
    }

    #[test]
    fn skipping_is_drawing() {
        for n in [0, 1, 5, 15, 16, 17, 32, 100] {
            let (mut drawn, mut skipped) = (TorchCpu::new(9), TorchCpu::new(9));
            drawn.normals(n);
            skipped.skip_normals(n);
            assert_eq!(
                drawn.below(1000).unwrap(),
                skipped.below(1000).unwrap(),
                "{n}"
            );
            assert_eq!(drawn.normals(3), skipped.normals(3), "{n}");
        }
    }
}
