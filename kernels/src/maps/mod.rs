//! Feature maps whose channels lie last in memory: convolutions and pools of large classifiers, without gradients.
//!
//! With the channels last, the taps of a row of a kernel are one run of numbers whatever the kernel's size, stride and
//! padding, so that one inner loop does for all of them, and nothing is unfolded first. Weights are packed when a
//! [`Convolution`] is made, and kept only so.

mod convolution;
mod map;
mod pool;
mod strip;
mod wide;

pub use convolution::{Convolution, Kernel};
pub use map::{Channels, Maps};
