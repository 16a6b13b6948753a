//! Counting model calls.

use super::{Condition, Denoiser};
use crate::Images;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A denoiser that counts how often it is called, whatever the size of the batch.
#[derive(Debug)]
pub struct Counted<D> {
    /// The denoiser.
    pub inner: D,
    calls: AtomicUsize,
}

impl<D> Counted<D> {
    /// Wraps a denoiser; the count starts at 0.
    pub fn new(inner: D) -> Self {
        Self {
            inner,
            calls: AtomicUsize::new(0),
        }
    }

    /// Calls since the start, or since the last [`reset`](Self::reset).
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Starts again at 0.
    pub fn reset(&self) {
        self.calls.store(0, Ordering::Relaxed);
    }
}

impl<D: Denoiser> Denoiser for Counted<D> {
    fn denoise(&self, noisy: Images, sigma: f64, condition: &Condition) -> Images {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.inner.denoise(noisy, sigma, condition)
    }
}
