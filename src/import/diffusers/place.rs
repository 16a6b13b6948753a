//! What diffusers calls the files of a U-Net.

/// The name of a U-Net's file in the folder `unet` of diffusers.
pub const FILE: &str = "diffusion_pytorch_model.safetensors";
/// All names that it may have, the best first.
pub(in crate::import) const FILES: [&str; 4] = [
    FILE,
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.fp16.bin",
];
/// The name of the settings beside it.
pub const SETTINGS: &str = "config.json";
