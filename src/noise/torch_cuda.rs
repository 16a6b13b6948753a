//! The numbers of PyTorch's CUDA generator.

use super::philox::philox4x32;
use super::torch_cpu::check_range;
use crate::Error;
use std::num::NonZeroU32;

/// Threads a block in PyTorch's launches.
const BLOCK: u64 = 256;
/// Numbers that a thread makes at a time.
const UNROLL: u64 = 4;

/// A generator that gives what `torch.Generator('cuda').manual_seed(seed)` gives, draw after draw.
///
/// Philox4x32-10 is keyed by the seed; its counter holds the thread and how often the generator was used. Which thread
/// makes which element follows PyTorch's launch: up to `blocks` blocks of 256 threads, and each thread makes four
/// numbers, a whole grid apart. So **a draw of at most 256 `blocks` elements is the same on every device** - every
/// thread makes one element - while a larger one depends on the device through `blocks`, its multiprocessors times its
/// threads a multiprocessor / 256: 864 for an A100 (221,184 elements: images up to 3 x 256 x 256), 1056 for an H100 SXM,
/// 160 for a T4 (40,960 elements).
///
/// The bits agree exactly. The device takes sine and cosine from fast, less exact instructions, so normals agree to a
/// few 1e-6 rather than bit for bit.
#[derive(Clone, Debug)]
pub struct TorchCuda {
    seed: u64,
    /// Numbers that each thread has used up, a multiple of 4.
    offset: u64,
    blocks: u64,
}

impl TorchCuda {
    /// The `blocks` of an A100, on which the published students were made.
    pub const A100: u32 = 108 * 8;

    /// A freshly seeded generator on a device that runs `blocks` blocks at a time.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if `blocks` is 0.
    pub fn new(seed: u64, blocks: u32) -> Result<Self, Error> {
        let some = NonZeroU32::new(blocks);
        let some = some.ok_or_else(|| Error::invalid("blocks", blocks, "at least 1"))?;
        Ok(Self::of(seed, some))
    }

    /// A freshly seeded generator on an A100.
    pub fn a100(seed: u64) -> Self {
        Self::of(seed, NonZeroU32::MIN.saturating_add(Self::A100 - 1))
    }

    fn of(seed: u64, blocks: NonZeroU32) -> Self {
        Self {
            seed,
            offset: 0,
            blocks: blocks.get().into(),
        }
    }

    /// What `torch.randn` gives for a contiguous f32 tensor of `n` elements.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        let mut values = vec![0.0; n];
        let grid = self.grid(n);
        // Every pass of the grid makes four stretches of `grid` elements.
        let passes = values.chunks_mut((grid * UNROLL) as usize);
        for (pass, values) in passes.enumerate() {
            for thread in 0..values.len().min(grid as usize) {
                let words = self.words(thread as u64, pass as u64);
                let mut elements = (thread..values.len()).step_by(grid as usize);
                for pair in words.chunks_exact(2) {
                    let Some(first) = elements.next() else { break };
                    let (x, y) = box_muller(pair[0], pair[1]);
                    values[first] = x;
                    if let Some(second) = elements.next() {
                        values[second] = y;
                    }
                }
            }
        }
        self.skip_normals(n);
        values
    }

    /// Goes on as if `n` normal numbers had been drawn at once.
    pub fn skip_normals(&mut self, n: usize) {
        let passes = (n as u64).div_ceil(self.grid(n) * UNROLL);
        self.offset += passes * UNROLL;
    }

    /// One element of `torch.randint(n, ...)`.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if `n` is not in 1..2^28.
    pub fn below(&mut self, n: u64) -> Result<u64, Error> {
        check_range(n)?;
        let [word, ..] = self.words(0, 0);
        self.offset += UNROLL;
        Ok(u64::from(word) % n)
    }

    /// Threads of a launch over `n` elements.
    fn grid(&self, n: usize) -> u64 {
        let wanted = (n as u64).div_ceil(BLOCK).max(1);
        wanted.min(self.blocks) * BLOCK
    }

    /// The random bits of a thread in a pass of the present draw.
    fn words(&self, thread: u64, pass: u64) -> [u32; 4] {
        let used = self.offset / UNROLL + pass;
        let halves = |x: u64| [x as u32, (x >> 32) as u32];
        let ([a, b], [c, d]) = (halves(used), halves(thread));
        philox4x32([a, b, c, d], halves(self.seed))
    }
}

/// Two normal numbers, sine first, with the device's roundings: the angle is one multiply-add in f32.
fn box_muller(length: u32, angle: u32) -> (f32, f32) {
    const STEP: f32 = 1.0 / 4_294_967_296.0;
    const TURN: f32 = STEP * std::f32::consts::TAU;
    let uniform = length as f32 * STEP + STEP / 2.0;
    // The product is exact in f64, so rounding the sum to f32 is what a fused multiply-add does.
    let theta = (f64::from(angle as f32) * f64::from(TURN) + f64::from(TURN / 2.0)) as f32;
    let radius = (-2.0 * libm::log(f64::from(uniform)) as f32).sqrt();
    let (sine, cosine) = libm::sincos(f64::from(theta));
    (radius * sine as f32, radius * cosine as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: &[f32], want: &[f32]) {
        assert_eq!(got.len(), want.len());
        let worst = got.iter().zip(want).map(|(a, b)| (a - b).abs());
        // Published with four decimals.
        assert!(worst.fold(0.0, f32::max) < 6e-5, "{got:?} {want:?}");
    }

    /// `torch.manual_seed(0); torch.randn(8, 8, device='cuda')`, as printed in lecture notes on CUDA.
    #[test]
    fn a_small_draw_is_pytorchs() {
        let want = [
            -0.9247, -0.4253, -2.6438, 0.1452, -0.1209, -0.5797, -0.6229, -0.3284, -1.0745,
            -0.3631, -1.6711, 2.2655, 0.3117, -0.1842, 1.2866, 1.1820,
        ];
        close(&TorchCuda::a100(0).normals(64)[..16], &want);
    }

    /// `torch.randn(1, 49 * 12 * 112 * 144)` with seed 1, as pytorch/pytorch issue 143086 prints it: the two devices
    /// agree on the first elements and differ in the last, many passes later.
    #[test]
    fn large_draws_follow_the_devices_grid() {
        let n = 49 * 12 * 112 * 144;
        let first = [-0.2963, 2.6764, -0.1408];
        for (blocks, last) in [
            (TorchCuda::A100, [0.1549, -0.6797, -0.1656]),
            (132 * 8, [-0.6970, -0.7780, 0.3267]),
        ] {
            let values = TorchCuda::new(1, blocks).unwrap().normals(n);
            close(&values[..3], &first);
            close(&values[n - 3..], &last);
        }
    }

    /// `torch.randn([1, 64, 2048])` with seed 42, as pytorch/pytorch issue 158398 prints it for a device with 28
    /// multiprocessors of 1536 threads: the second number of each thread is in use.
    #[test]
    fn a_small_device_uses_all_numbers_of_a_thread() {
        let values = TorchCuda::new(42, 28 * 6).unwrap().normals(64 * 2048);
        for (row, first, last) in [
            (0, [0.1940, 2.1614, -0.1721], [1.4540, -2.7733, -0.8932]),
            (1, [-0.4574, 0.8063, 0.1580], [0.1124, 0.2769, -1.2535]),
            (61, [-0.4861, 0.3358, 1.0578], [-0.7282, 0.5087, 0.1318]),
            (62, [0.7881, 0.8339, -1.1424], [-0.6297, -1.1112, -0.4091]),
            (63, [-1.2356, -0.4083, -0.4695], [-0.4841, 1.2850, -0.0282]),
        ] {
            let row = &values[2048 * row..2048 * (row + 1)];
            close(&row[..3], &first);
            close(&row[2045..], &last);
        }
    }

    #[test]
    fn an_image_is_the_same_on_every_device_and_the_next_draw_goes_on() {
        let image = |blocks| TorchCuda::new(5, blocks).unwrap().normals(3 * 64 * 64);
        assert_eq!(image(48), image(10_000));
        assert_ne!(image(47), image(48));
        let mut torch = TorchCuda::new(5, 48).unwrap();
        torch.normals(3 * 64 * 64);
        // One pass of four numbers: the next counter of thread 0.
        let [word, ..] = philox4x32([1, 0, 0, 0], [5, 0]);
        assert_eq!(torch.below(1000).unwrap(), u64::from(word) % 1000);
        let [word, ..] = philox4x32([2, 0, 0, 0], [5, 0]);
        assert_eq!(torch.below(10).unwrap(), u64::from(word) % 10);
    }
}
