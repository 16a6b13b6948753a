//! How to sample from a latent network of others.

use super::published::{GUIDANCE, GUIDANCE_XL, SIGMA_MIN, SIGMA_MIN_TEXT, TEACHER_STEPS};
use crate::Error;
use crate::container::Checkpoint;
use crate::denoiser::Preconditioning;
use crate::grid::Spacing;
use crate::import::provenance::provenance;
use crate::model::{Card, Kind, Sampling};
use crate::network::NetworkConfig;
use crate::solver::{Prediction, SolverConfig};
use serde_json::Value;

/// The card of a latent model's file; `why` says how it is known what the network predicts, where the file does not say it.
///
/// # Errors
/// As [`Checkpoint::card`].
pub(in crate::import) fn card(
    file: &Checkpoint,
    network: NetworkConfig,
    preconditioning: Preconditioning,
    why: Option<&'static str>,
) -> Result<Card, Error> {
    let text = network.context_width().is_some();
    let table = preconditioning.table().cloned();
    let table = table.ok_or_else(|| file.source.broken("latent model", "it has no levels"))?;
    let guidance = match (text, network.added()) {
        (false, _) => 1.0,
        (true, None) => GUIDANCE,
        (true, Some(_)) => GUIDANCE_XL,
    };
    let mut recipe = provenance(file);
    if let (Some(why), Value::Object(recipe)) = (why, &mut recipe) {
        recipe.insert("prediction".into(), why.into());
    }
    let sampling = Sampling {
        solver: SolverConfig::DpmSolverPp {
            order: if text { 2 } else { 3 },
            prediction: Prediction::Noise,
            lower_order_final: true,
            thresholding: false,
            corrected: false,
        },
        steps: TEACHER_STEPS,
        sigma_max: table.sigma_max(),
        spacing: Spacing::Discrete {
            rho: 1.0,
            table: table.clone(),
        },
        sigma_min: if text { SIGMA_MIN_TEXT } else { SIGMA_MIN },
        analytic_first_step: false,
        step_condition: false,
        step_range: None,
        guidance,
    };
    sampling
        .check()
        .map_err(|e| file.source.broken("latent model", e))?;
    Ok(Card {
        format: 1,
        kind: Kind::Teacher,
        network,
        answer: preconditioning.into(),
        sampling,
        recipe,
        trained_on: 0,
        class_names: Vec::new(),
        adapter: None,
        parent: None,
        version: env!("CARGO_PKG_VERSION").into(),
    })
}
