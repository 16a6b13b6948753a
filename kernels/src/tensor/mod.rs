//! The operations on Burn's tensors, with and without gradients; what they compute is in the modules beside this one.

mod cast;
mod extension;
mod frozen;
mod gradient;
mod operation;

pub use cast::cast;
pub use extension::Kernels;
pub use frozen::{Frozen, freeze};
pub use operation::{
    add_scaled, attention, conv2d_1x1, conv2d_3x3, downsample_2x, gated_gelu, group_norm_silu,
    join_channels, linear, self_attention, silu, upsample_2x,
};
