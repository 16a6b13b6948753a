//! Counter-based random numbers: every draw is a pure function of what it is for.
//!
//! A [`Stream`] is ChaCha8 with the key (seed, round, use, domain) and the nonce `index`, so image i of a batch, the
//! dropout mask of one layer in one round, or the n-th picture of an epoch can be drawn without drawing the others
//! first. Nothing depends on batch size, thread count, device or the order of calls, and a resumed run needs no saved
//! generator. Bits become numbers by integer arithmetic and by the pure-Rust `libm`, so they are the same on every
//! platform.
//!
//! For images that are to be compared with PyTorch's, [`Source`] offers the latents of its generators instead.

mod latent;
mod mask;
mod order;
mod philox;
mod source;
mod stream;
mod torch_cpu;
mod torch_cuda;

pub use latent::{contexts_keyed, labels, labels_keyed, latents, latents_keyed};
pub use mask::dropout_mask;
pub use order::epoch_index;
pub use source::Source;
pub use stream::{Domain, Stream};
pub use torch_cpu::TorchCpu;
pub use torch_cuda::TorchCuda;
