//! Dropout whose masks are a function of seed, round, layer and sample.

use crate::{noise, transfer};
use burn::tensor::{Tensor, TensorData};
use std::cell::Cell;

/// The random stream of one forward pass with dropout: masks depend on (seed, round, use, sample) only, where a
/// use is one layer of one call.
#[derive(Debug)]
pub struct Dropout {
    seed: u64,
    round: u64,
    first_sample: u64,
    next_use: Cell<u64>,
}

impl Dropout {
    /// `first_sample` is the position of the batch's first image in the round's whole batch; `first_use` keeps
    /// several forward passes of a round apart.
    pub fn new(seed: u64, round: u64, first_sample: u64, first_use: u64) -> Self {
        Self {
            seed,
            round,
            first_sample,
            next_use: Cell::new(first_use),
        }
    }

    /// The next use.
    pub(crate) fn position(&self) -> u64 {
        self.next_use.get()
    }

    /// Goes back to a use.
    pub(crate) fn seek(&self, position: u64) {
        self.next_use.set(position);
    }

    /// Zeroes each element with probability `rate` and scales the rest by 1 / (1 - rate).
    pub(crate) fn apply(&self, images: Tensor<4>, rate: f64) -> Tensor<4> {
        let use_ = self.next_use.replace(self.next_use.get() + 1);
        if rate == 0.0 {
            return images;
        }
        let shape = images.dims();
        let last = self.first_sample + shape[0] as u64;
        let mask = noise::dropout_mask(
            self.seed,
            self.round,
            use_,
            self.first_sample..last,
            shape[1] * shape[2] * shape[3],
            rate,
        )
        .expect("the network's configuration was checked");
        let options = (&images.device(), images.dtype());
        let mask: Tensor<4> = transfer::send(TensorData::new(mask, shape), options);
        images * mask
    }
}
