//! A network with a step branch, from one without. [SFD Sec. 3.3]

use super::kind::StepInit;
use crate::Error;
use crate::network::{Network, NetworkConfig};
use crate::parameter::{by_name, device, draw, replace};

/// Parts of the official names of all parameters that belong to a step branch: for names without their
/// [`Key`](crate::network::Key), which says so itself.
const NAMES: [&str; 6] = [
    "model.map_step_layer",
    "model.diffusion_model.nfe_embed.",
    ".affine_step.",
    ".emb_nfe_layers.1.",
    "step_embedder.",
    ".adaLN_step.",
];

/// Whether an official parameter name belongs to the step branch.
pub fn is_step_parameter(name: &str) -> bool {
    NAMES.iter().any(|part| name.contains(part))
}

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
    let mut old = by_name(&network);
    let new = config.blank(&device(&network))?;
    let new = draw(new, seed, &|key| key.step && init.draws(key));
    let new = replace(new, &mut |_, name, _| old.remove(name));
    Ok((config, new))
}
