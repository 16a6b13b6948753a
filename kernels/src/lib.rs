//! Fast CPU operations for small diffusion U-Nets, as an extension of Burn's Flex backend.
//!
//! [`conv2d_3x3`], [`conv2d_1x1`], [`group_norm_silu`], [`silu`], [`add_scaled`], [`join_channels`], [`attention`],
//! [`self_attention`], [`linear`], [`gated_gelu`], [`upsample_2x`] and [`downsample_2x`] take and give [`burn::tensor::Tensor`]s on `Device::flex()`, with or without
//! autodiff. f32 runs on this crate's kernels; any other type or device on Burn's own operations, so
//! callers need no branch. Results do not depend on the number of threads, and those of a sample not on its batch. [`Maps`]
//! are what large classifiers compute with, without gradients and with the channels last.
#![warn(missing_docs)]

mod activation;
mod attention;
mod conv;
mod join;
mod linear;
mod maps;
mod memory;
mod norm;
mod resample;
mod simd;
mod sum;
mod tensor;

pub use maps::{Channels, Convolution, Kernel, Maps};
pub use memory::{OrExit, keep_freed_memory};
pub use tensor::{
    Frozen, Kernels, add_scaled, attention, cast, conv2d_1x1, conv2d_3x3, downsample_2x, freeze,
    gated_gelu, group_norm_silu, join_channels, linear, self_attention, silu, upsample_2x,
};
