//! How to sample from a latent network of others.

use super::published::{BETAS, BETAS_TEXT, GUIDANCE, SIGMA_MIN, SIGMA_MIN_TEXT, TEACHER_STEPS};
use crate::Error;
use crate::container::Checkpoint;
use crate::grid::{LogAlphaTable, Spacing};
use crate::import::provenance::provenance;
use crate::model::{Card, Kind, Sampling};
use crate::network::NetworkConfig;
use crate::solver::{Prediction, SolverConfig};

/// The noise levels that the network was trained on: of the file's buffers, or the published ones.
///
/// # Errors
/// [`Error::Malformed`] if the buffers are of another kind of schedule.
fn noise_table(file: &Checkpoint, text: bool) -> Result<LogAlphaTable, Error> {
    let (start, end) = if text { BETAS_TEXT } else { BETAS };
    if !file.tensors().contains_key("betas") {
        return LogAlphaTable::scaled_linear(start, end, 1000);
    }
    let betas = file.values("betas")?;
    let reason = "its `betas` are not those of a schedule that is linear in their square roots";
    let wrong = || file.source.broken("latent model", reason);
    let (Some(first), Some(last)) = (betas.first(), betas.last()) else {
        return Err(wrong());
    };
    // Stored in single precision: the shortest number that rounds to it is the one that was meant.
    let meant = |beta: &f32| beta.to_string().parse::<f64>().unwrap_or(f64::NAN);
    let (start, end) = (meant(first), meant(last));
    let table = LogAlphaTable::scaled_linear(start, end, betas.len()).map_err(|_| wrong())?;
    let count = (betas.len() - 1).max(1) as f64;
    let fits = betas.iter().enumerate().all(|(k, beta)| {
        let root = start.sqrt() + (end.sqrt() - start.sqrt()) * k as f64 / count;
        (f64::from(*beta) / (root * root) - 1.0).abs() < 1e-5
    });
    if fits { Ok(table) } else { Err(wrong()) }
}

/// The card of a latent model's file.
///
/// # Errors
/// As [`Checkpoint::card`].
pub(in crate::import) fn card(file: &Checkpoint, network: NetworkConfig) -> Result<Card, Error> {
    let text = network.context_width().is_some();
    let table = noise_table(file, text)?;
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
        guidance: if text { GUIDANCE } else { 1.0 },
    };
    sampling
        .check()
        .map_err(|e| file.source.broken("latent model", e))?;
    Ok(Card {
        format: 1,
        kind: Kind::Teacher,
        network,
        answer: table.into(),
        sampling,
        recipe: provenance(file),
        trained_on: 0,
        class_names: Vec::new(),
        parent: None,
        version: env!("CARGO_PKG_VERSION").into(),
    })
}
