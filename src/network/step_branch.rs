//! The step branch: layers that tell every block how many timestamps the student samples with. [SFD Sec. 3.3]

use super::embedding::{Endpoint, sinusoid};
use super::layers::Linear;
use super::parameter::{gather, replace};
use super::{Network, NetworkConfig, initial};
use crate::Error;
use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, activation};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How the layers of a new step branch start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepInit {
    /// As all other layers, as in the official code: the network then starts away from its teacher.
    #[default]
    Official,
    /// `affine_step` starts at zero, so that the network starts as its teacher.
    Zero,
}

/// Two layers that embed the number of timestamps; in latent networks, two more embed the time.
#[derive(Module, Debug)]
pub(crate) struct StepEmbedding {
    layer0: Linear,
    layer1: Linear,
}

impl StepEmbedding {
    /// From `waves` to `embedding` channels.
    pub(crate) fn new(waves: usize, embedding: usize, device: &Device) -> Self {
        Self {
            layer0: Linear::new(waves, embedding, true, device),
            layer1: Linear::new(embedding, embedding, true, device),
        }
    }

    /// The embedding `[1, embedding]` of a number of timestamps. [SFD Sec. 3.3]
    pub(crate) fn forward(
        &self,
        steps: usize,
        endpoint: Endpoint,
        dtype: DType,
        device: &Device,
    ) -> Tensor<2> {
        self.embed(&[steps as f64], endpoint, dtype, device)
    }

    /// The embedding `[values, embedding]` of any numbers, through its last SiLU.
    pub(crate) fn embed(
        &self,
        values: &[f64],
        endpoint: Endpoint,
        dtype: DType,
        device: &Device,
    ) -> Tensor<2> {
        let waves = self.layer0.weight.dims()[1];
        let waves = sinusoid(values, waves, endpoint, dtype, device);
        let each = values.len() > 1;
        let hidden = activation::silu(self.layer0.forward_rows(waves, each));
        activation::silu(self.layer1.forward_rows(hidden, each))
    }
}

/// Whether an official parameter name belongs to the step branch.
pub fn is_step_parameter(name: &str) -> bool {
    let embedding = ["model.map_step_layer", "model.diffusion_model.nfe_embed."];
    embedding.iter().any(|start| name.starts_with(start)) || tells_block(name)
}

/// Whether an official parameter name is that of a layer through which the step branch tells a block.
pub(super) fn tells_block(name: &str) -> bool {
    let mut layers = TELLS.iter();
    layers.any(|(step, _)| name.contains(&format!("{step}.")))
}

/// The layer through which the step branch tells a block, and the one that tells it the noise level.
pub(super) const TELLS: [(&str, &str); 2] = [
    (".affine_step", ".affine"),
    (".emb_nfe_layers.1", ".emb_layers.1"),
];

/// Adds a step branch to a network without one; all other parameters keep their values. A network that has one stays
/// as it is. Returns the network with its configuration.
///
/// # Errors
/// [`Error::InvalidValue`] if `config` is not that of a network.
pub fn add_step_branch(
    config: &NetworkConfig,
    network: Network,
    seed: u64,
    init: StepInit,
) -> Result<(NetworkConfig, Network), Error> {
    if config.has_step_branch() {
        return Ok((config.clone(), network));
    }
    let config = config.with_step_branch(true);
    let old = gather(&network).into_iter();
    let mut old: BTreeMap<_, _> = old.map(|g| (g.name, g.tensor)).collect();
    let new = config.blank(&super::device(&network))?;
    let new = initial::draw(new, seed, init, &is_step_parameter);
    let new = replace(new, &mut |_, name, _| old.remove(name).flatten());
    Ok((config, new))
}
