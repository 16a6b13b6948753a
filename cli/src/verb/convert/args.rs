//! What is typed for the verb.

use crate::model::source::AdapterArgs;
use crate::typed::{real, whole};
use clap::{Args, ValueEnum};
use fewstep::import::Scalar;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  fewstep convert edm-cifar10-32x32-uncond-vp.pkl teacher.safetensors
  fewstep convert network-snapshot-000200.pkl student.safetensors --dtype f16
  fewstep convert student.safetensors official.safetensors --to pytorch
  fewstep convert student.safetensors nfe3.safetensors --nfe 3
  fewstep convert runs/sd/student.safetensors sd-student --to diffusers --dtype f16
  fewstep convert student.safetensors sd-student --to diffusers --base stable-diffusion-v1-5/
  fewstep convert runs/sd/student.safetensors sd-student.safetensors --to single-file
  fewstep convert student.safetensors student.onnx --to onnx --whole
  fewstep convert model.ckpt tensors.safetensors --to tensors
  fewstep convert runs/lora/student.safetensors lora.safetensors --to kohya --dtype f16
  fewstep convert runs/lora/student.safetensors pytorch_lora_weights.safetensors --to diffusers-lora
  fewstep convert runs/lora/student.safetensors whole.safetensors --merge --base teacher.safetensors

Nothing in a foreign file is executed, and every number stays what it was unless --dtype says otherwise.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    /// A model file: ours, an EDM, SFD, CompVis or PyTorch one, or a folder of the diffusers library
    pub(super) input: PathBuf,
    /// The safetensors file to write; with --to onnx the .onnx file; with --to diffusers the folder
    pub(super) output: PathBuf,
    /// What to write
    #[arg(long, value_name = "WHAT", default_value = "fewstep")]
    pub(super) to: Target,
    /// Type of the numbers: f32, f16 or bf16 [default: as in the file; with --to onnx f32, with --to single-file f16]
    #[arg(long, value_name = "TYPE")]
    pub(super) dtype: Option<Type>,
    /// With --to pytorch: add a step branch of zeros, for the official SFD network, which always has one
    #[arg(long)]
    pub(super) step_branch: bool,
    /// Dropout rate of the network in training, for files that do not say it (PyTorch files and safetensors)
    #[arg(long, value_name = "RATE", value_parser = real(0.0, 0.999))]
    pub(super) dropout: Option<f64>,
    /// What the network of a single file of Stable Diffusion was trained to predict, if the file does not say it: noise or v
    #[arg(long, value_name = "WHAT")]
    pub(super) prediction: Option<Prediction>,
    /// Fold the step condition of a student of several step counts into its weights, for so many network calls an image; with
    /// --to onnx for any model
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..=100_000))]
    pub(super) nfe: Option<usize>,
    /// With --to onnx: all of sampling in one graph, from noise to images (of latent models to latents), instead of the denoiser
    #[arg(long)]
    pub(super) whole: bool,
    /// Multiply the adapters of a student, or of --lora, into their base: a whole model
    #[arg(long)]
    pub(super) merge: bool,
    /// With --to diffusers: whose scheduler samples from a student [default: diffusers' own]
    #[arg(long, value_name = "WHOSE")]
    pub(super) scheduler: Option<Whose>,
    #[command(flatten)]
    pub(super) adapters: AdapterArgs,
    /// Replace the output if it exists
    #[arg(long)]
    pub(super) overwrite: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Target {
    /// A model file for this program
    Fewstep,
    /// A state dict that the official network loads with strict=True; this program reads it, too
    Pytorch,
    /// The folder of a pipeline of the diffusers library: the parts of the base (--base, or where the note beside the student
    /// says), the student's U-Net and a scheduler with its levels. Of a teacher the U-Net alone
    Diffusers,
    /// One file for ComfyUI, AUTOMATIC1111 and stable-diffusion.cpp: the U-Net, and the autoencoder and text encoders of the base;
    /// f16 unless --dtype says otherwise
    SingleFile,
    /// The adapters of a student (a recipe with `lora`), for load_lora_weights of the diffusers library
    DiffusersLora,
    /// The same for ComfyUI, AUTOMATIC1111 and all that read the LoRA files of kohya's scripts
    Kohya,
    /// A graph for onnxruntime and others: the denoiser, or with --whole all of sampling
    Onnx,
    /// All tensors as they are, for files of anything else
    Tensors,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Whose {
    /// Diffusers' own, for one number of network calls: nothing else is needed
    Diffusers,
    /// That of our Python package: all numbers of calls of a student, and its weights as they are
    Fewstep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Prediction {
    Noise,
    V,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Type {
    F32,
    F16,
    Bf16,
}

impl Verb {
    /// The type that was asked for.
    pub(super) fn scalar(&self) -> Option<Scalar> {
        self.dtype.map(|t| match t {
            Type::F32 => Scalar::F32,
            Type::F16 => Scalar::F16,
            Type::Bf16 => Scalar::BF16,
        })
    }
}
