//! What goes between the processor and the device while networks are at work, counted: on a GPU each number that is read waits
//! for all that was asked of it before, and each that is sent goes over a bus.
//!
//! Whatever runs in a round of training or in sampling sends and reads here and nowhere else, which `tests/architecture` checks;
//! files that are read and written are not in it.

use burn::tensor::kind::Basic;
use burn::tensor::{Tensor, TensorCreationOptions, TensorData};
use std::sync::atomic::{AtomicU64, Ordering};

/// Transfers of some work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfers {
    /// Tensors that were sent to the device.
    pub sent: u64,
    /// Bytes of them.
    pub sent_bytes: u64,
    /// Tensors that were read, each of which waits for the device.
    pub read: u64,
    /// Bytes of them.
    pub read_bytes: u64,
}

/// Sent, their bytes, read, their bytes; of the whole process, since the start.
static COUNTS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

impl Transfers {
    /// Those of some work, and what the work came to. What other threads of the process do meanwhile is counted as well.
    pub fn of<T>(work: impl FnOnce() -> T) -> (Self, T) {
        let now = || COUNTS.each_ref().map(|count| count.load(Ordering::Relaxed));
        let before = now();
        let done = work();
        let after = now();
        let [sent, sent_bytes, read, read_bytes] = std::array::from_fn(|i| after[i] - before[i]);
        let found = Self {
            sent,
            sent_bytes,
            read,
            read_bytes,
        };
        (found, done)
    }
}

/// One more of the first or the third.
fn count(at: usize, data: &TensorData) {
    COUNTS[at].fetch_add(1, Ordering::Relaxed);
    COUNTS[at + 1].fetch_add(data.as_bytes().len() as u64, Ordering::Relaxed);
}

/// Numbers as a tensor in `place`: a device, or one and a type.
pub(crate) fn send<const D: usize, K: Basic>(
    data: TensorData,
    place: impl Into<TensorCreationOptions>,
) -> Tensor<D, K> {
    count(0, &data);
    Tensor::from_data(data, place)
}

/// The numbers of a tensor.
pub(crate) fn read<const D: usize>(tensor: Tensor<D>) -> TensorData {
    let data = tensor.into_data();
    count(2, &data);
    data
}

/// The only number of a tensor.
pub(crate) fn number<const D: usize>(tensor: Tensor<D>) -> f64 {
    read(tensor).iter::<f64>().next().unwrap_or(f64::NAN)
}
