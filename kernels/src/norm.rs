//! Group normalisation, fused with a per-channel shift before it and SiLU after it, on slices.
//!
//! A group of one sample is contiguous in NCHW and small enough for L1, so each task normalises one
//! group in a few passes over it. Statistics are those of two passes: the second is taken about the
//! first's mean and also corrects that mean; sums over channels are f64.

use crate::memory::buffer::{Out, add_up, chunks};
use crate::simd::{LANES, Lanes, TOGETHER, dispatch, load, store};

/// Sizes and options of one normalisation of [batch, channels, pixels].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    /// Number of samples.
    pub batch: usize,
    /// Number of channels, a multiple of `groups`.
    pub channels: usize,
    /// Pixels of one channel.
    pub pixels: usize,
    /// Number of groups.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
    /// Whether SiLU follows.
    pub silu: bool,
}

/// Tensors of one normalisation: `x` [batch, channels, pixels], `shift` [batch, channels] added to x
/// first, `gamma` and `beta` [channels].
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub x: &'a [f32],
    pub shift: Option<&'a [f32]>,
    pub gamma: &'a [f32],
    pub beta: &'a [f32],
}

/// Gradients with respect to the [`Inputs`].
pub(crate) struct Gradients {
    pub x: Vec<f32>,
    pub shift: Vec<f32>,
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
}

impl Norm {
    fn check(&self, t: &Inputs<'_>) {
        assert!(self.groups > 0 && self.channels.is_multiple_of(self.groups));
        assert_eq!(t.x.len(), self.batch * self.channels * self.pixels);
        assert!(
            t.shift
                .is_none_or(|s| s.len() == self.batch * self.channels)
        );
        assert_eq!(t.gamma.len(), self.channels);
        assert_eq!(t.beta.len(), self.channels);
    }

    /// Values of one group.
    fn size(&self) -> usize {
        self.channels / self.groups * self.pixels
    }

    /// The part of the tensors that group `n` of all samples' groups uses.
    fn group<'a>(&self, t: &Inputs<'a>, n: usize) -> Group<'a> {
        let width = self.channels / self.groups;
        let channel = n % self.groups * width;
        Group {
            x: &t.x[n * self.size()..][..self.size()],
            shift: t.shift.map(|s| &s[n * width..][..width]),
            gamma: &t.gamma[channel..][..width],
            beta: &t.beta[channel..][..width],
            pixels: self.pixels,
            eps: self.eps,
            silu: self.silu,
        }
    }
}

/// `silu(norm(x + shift) * gamma + beta)`, or without SiLU.
pub(crate) fn forward(n: Norm, t: &Inputs<'_>) -> Vec<f32> {
    n.check(t);
    // SAFETY: `group_forward` writes the group's values, which are this task's chunk.
    unsafe {
        chunks(n.batch * n.groups, n.size(), |i, out| {
            group_forward(&n.group(t, i), out);
        })
    }
}

/// Gradients of [`forward`], given that of its output.
pub(crate) fn backward(n: Norm, t: &Inputs<'_>, g: &[f32]) -> Gradients {
    n.check(t);
    assert_eq!(g.len(), t.x.len());
    let rows = n.batch * n.channels;
    let [mut shift, mut gamma, mut beta] = [vec![0.0; rows], vec![0.0; rows], vec![0.0; rows]];
    let sums = [
        Out::new(&mut shift),
        Out::new(&mut gamma),
        Out::new(&mut beta),
    ];
    let width = n.channels / n.groups;
    // SAFETY: `group_backward` writes the group's values, which are this task's chunk, and the
    // `width` channel sums that start at `i * width`, which no other task touches.
    let x = unsafe {
        chunks(n.batch * n.groups, n.size(), |i, out| {
            let sums = sums.map(|s| s.at(i * width));
            group_backward(&n.group(t, i), &g[i * n.size()..][..n.size()], out, sums);
        })
    };
    Gradients {
        x,
        shift,
        gamma: add_up(gamma, n.batch, n.channels),
        beta: add_up(beta, n.batch, n.channels),
    }
}

/// One group of one sample.
struct Group<'a> {
    x: &'a [f32],
    shift: Option<&'a [f32]>,
    gamma: &'a [f32],
    beta: &'a [f32],
    pixels: usize,
    eps: f64,
    silu: bool,
}

impl Group<'_> {
    #[inline(always)]
    fn shift(&self, c: usize) -> f32 {
        self.shift.map_or(0.0, |s| s[c])
    }

    /// What to add to channel `c` to centre it.
    #[inline(always)]
    fn offset(&self, c: usize, mean: f64) -> f32 {
        (f64::from(self.shift(c)) - mean) as f32
    }

    /// Mean of the group, shift included, and 1 / standard deviation.
    ///
    /// # Safety
    /// The CPU must support `V`.
    #[inline(always)]
    unsafe fn statistics<V: Lanes>(&self) -> (f64, f64) {
        let count = self.x.len() as f64;
        let mut sum = 0.0f64;
        for (c, x) in self.x.chunks_exact(self.pixels).enumerate() {
            // SAFETY: passed on.
            sum +=
                unsafe { moments::<V>(x, 0.0) }.0 + self.pixels as f64 * f64::from(self.shift(c));
        }
        let mean = sum / count;
        let (mut first, mut second) = (0.0f64, 0.0f64);
        for (c, x) in self.x.chunks_exact(self.pixels).enumerate() {
            let offset = f64::from(self.shift(c)) - mean;
            // SAFETY: passed on.
            let (a, b) = unsafe { moments::<V>(x, offset as f32) };
            first += a;
            second += b;
        }
        let rest = first / count;
        let variance = (second / count - rest * rest).max(0.0);
        (mean + rest, 1.0 / (variance + self.eps).sqrt())
    }
}

/// Sums of `x + offset` and of its square.
///
/// # Safety
/// The CPU must support `V`.
#[inline(always)]
unsafe fn moments<V: Lanes>(x: &[f32], offset: f32) -> (f64, f64) {
    const UNROLL: usize = 4;
    let o = V::splat(offset);
    let mut first = [V::splat(0.0); UNROLL];
    let mut second = [V::splat(0.0); UNROLL];
    let blocks = x.chunks_exact(UNROLL * LANES);
    let rest = blocks.remainder();
    for block in blocks {
        for k in 0..UNROLL {
            // SAFETY: the block holds UNROLL vectors.
            let v = unsafe { V::load(block.as_ptr().add(k * LANES)) }.add(o);
            first[k] = first[k].add(v);
            second[k] = v.fma(v, second[k]);
        }
    }
    let f = first[0].add(first[1]).add(first[2].add(first[3]));
    let s = second[0].add(second[1]).add(second[2].add(second[3]));
    let (mut a, mut b) = (f64::from(f.sum()), f64::from(s.sum()));
    for &x in rest {
        let v = f64::from(x + offset);
        a += v;
        b += v * v;
    }
    (a, b)
}

dispatch! { unsafe fn group_forward(g: &Group<'_>, out: *mut f32) = forward_lanes }

/// # Safety
/// `out` must hold the group's values; the CPU must support `V`.
#[inline(always)]
unsafe fn forward_lanes<V: Lanes>(g: &Group<'_>, out: *mut f32) {
    // SAFETY: passed on.
    let (mean, scale) = unsafe { g.statistics::<V>() };
    for (c, x) in g.x.chunks_exact(g.pixels).enumerate() {
        let offset = V::splat(g.offset(c, mean));
        let (scale, gamma) = (V::splat(scale as f32), V::splat(g.gamma[c]));
        let beta = V::splat(g.beta[c]);
        // SAFETY: c counts the group's channels, which `out` holds.
        let (x, out) = (x.as_ptr(), unsafe { out.add(c * g.pixels) });
        let mut p = 0;
        // SAFETY: what is read and written lies below pixels, the length of x and of this channel's output.
        unsafe {
            while p + TOGETHER * LANES <= g.pixels {
                let mut z = [beta; TOGETHER];
                for (k, z) in z.iter_mut().enumerate() {
                    let v = V::load(x.add(p + k * LANES));
                    *z = v.add(offset).mul(scale).fma(gamma, beta);
                }
                let y = if g.silu { V::silus(z) } else { z };
                for (k, y) in y.into_iter().enumerate() {
                    y.store(out.add(p + k * LANES));
                }
                p += TOGETHER * LANES;
            }
            while p < g.pixels {
                let n = (g.pixels - p).min(LANES);
                let v: V = load(x.add(p), n);
                let z = v.add(offset).mul(scale).fma(gamma, beta);
                let [y] = if g.silu { V::silus([z]) } else { [z] };
                store(y, out.add(p), n);
                p += LANES;
            }
        }
    }
}

dispatch! {
    unsafe fn group_backward(g: &Group<'_>, dy: &[f32], dx: *mut f32, sums: [*mut f32; 3])
        = backward_lanes
}

/// Writes the gradient of the group to `dx` and, per channel, those of shift, gamma and beta to `sums`.
///
/// # Safety
/// `dx` must hold the group's values and `sums` its channels; the CPU must support `V`.
#[inline(always)]
unsafe fn backward_lanes<V: Lanes>(g: &Group<'_>, dy: &[f32], dx: *mut f32, sums: [*mut f32; 3]) {
    // SAFETY: passed on.
    let (mean, scale) = unsafe { g.statistics::<V>() };
    let s = V::splat(scale as f32);
    let zero = V::splat(0.0);
    // Gradient d of the normalised and scaled value, its sum, and its product with the normalised one.
    let (mut first, mut second) = (0.0f64, 0.0f64);
    for (c, x) in g.x.chunks_exact(g.pixels).enumerate() {
        let offset = V::splat(g.offset(c, mean));
        let (gamma, beta) = (V::splat(g.gamma[c]), V::splat(g.beta[c]));
        let start = c * g.pixels;
        let dy = &dy[start..start + g.pixels];
        // SAFETY: c counts the group's channels, which `dx` holds.
        let (x, dy, dx) = (x.as_ptr(), dy.as_ptr(), unsafe { dx.add(start) });
        let (mut sum, mut product) = (zero, zero);
        let mut p = 0;
        // SAFETY: what is read and written lies below pixels; lanes past the end have zero dy and so add nothing.
        unsafe {
            while p + TOGETHER * LANES <= g.pixels {
                let (mut hat, mut slope) = ([zero; TOGETHER], [zero; TOGETHER]);
                for k in 0..TOGETHER {
                    hat[k] = V::load(x.add(p + k * LANES)).add(offset).mul(s);
                    slope[k] = hat[k].fma(gamma, beta);
                }
                if g.silu {
                    slope = V::silu_slopes(slope);
                }
                for k in 0..TOGETHER {
                    let mut d = V::load(dy.add(p + k * LANES));
                    if g.silu {
                        d = d.mul(slope[k]);
                    }
                    sum = sum.add(d);
                    product = d.fma(hat[k], product);
                    d.store(dx.add(p + k * LANES));
                }
                p += TOGETHER * LANES;
            }
            while p < g.pixels {
                let n = (g.pixels - p).min(LANES);
                let hat = load::<V>(x.add(p), n).add(offset).mul(s);
                let mut d: V = load(dy.add(p), n);
                if g.silu {
                    let [slope] = V::silu_slopes([hat.fma(gamma, beta)]);
                    d = d.mul(slope);
                }
                sum = sum.add(d);
                product = d.fma(hat, product);
                store(d, dx.add(p), n);
                p += LANES;
            }
        }
        let (sum, product) = (sum.sum(), product.sum());
        // SAFETY: c counts the group's channels.
        unsafe {
            sums[1].add(c).write(product);
            sums[2].add(c).write(sum);
        }
        first += f64::from(g.gamma[c]) * f64::from(sum);
        second += f64::from(g.gamma[c]) * f64::from(product);
    }
    let count = g.x.len() as f64;
    let flat = V::splat((-scale * first / count) as f32);
    let slope = V::splat((-scale * scale * second / count) as f32);
    for (c, x) in g.x.chunks_exact(g.pixels).enumerate() {
        let offset = V::splat(g.offset(c, mean));
        let gain = V::splat((scale * f64::from(g.gamma[c])) as f32);
        let start = c * g.pixels;
        let (mut sum, mut tail) = (zero, 0.0f32);
        for p in (0..g.pixels).step_by(LANES) {
            let n = (g.pixels - p).min(LANES);
            // SAFETY: p + n <= pixels; `dx` was written above.
            unsafe {
                let at = dx.add(start + p);
                let v: V = load(x.as_ptr().add(p), n);
                let d = load::<V>(at, n).fma(gain, v.add(offset).fma(slope, flat));
                store(d, at, n);
                if n == LANES {
                    sum = sum.add(d);
                } else {
                    tail = std::slice::from_raw_parts(at, n).iter().sum();
                }
            }
        }
        // SAFETY: c counts the group's channels.
        unsafe { sums[0].add(c).write(sum.sum() + tail) };
    }
}
