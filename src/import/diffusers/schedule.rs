//! What a folder's network was trained to predict, and on which noise levels: as the settings of its sampler say.

use super::setting::whole;
use crate::Error;
use crate::container::Checkpoint;
use crate::denoiser::Preconditioning;
use crate::grid::LogAlphaTable;
use crate::import::latent::Predicts;
use crate::import::latent::published::{BETAS_TEXT, LEVELS};
use crate::import::setting::{self, key};
use serde_json::Value;
use std::path::Path;

/// What a file's network predicts; without settings, what Stable Diffusion's first does.
///
/// # Errors
/// [`Error::Malformed`] with the setting that is not built here, or that is missing where diffusers then takes another.
pub(super) fn told(file: &Checkpoint) -> Result<Preconditioning, Error> {
    let (said, table) = of_folder(file.path())?;
    Ok(Predicts::known(file).unwrap_or(said).on(table))
}

fn of_folder(file: &Path) -> Result<(Predicts, LogAlphaTable), Error> {
    let (start, end) = BETAS_TEXT;
    let usual = LogAlphaTable::scaled_linear(start, end, LEVELS)?;
    let Some(folder) = file.parent().and_then(Path::parent) else {
        return Ok((Predicts::Noise, usual));
    };
    let path = folder.join("scheduler").join("scheduler_config.json");
    let settings = setting::read(&path)?;
    setting::check(&settings, key::SCHEDULER, &path)?;
    let refused = |key: &str, wrong: String| setting::refused(&path, key, &settings[key], wrong);
    for (key, taken) in [
        ("beta_schedule", "\"linear\""),
        ("beta_start", "0.0001"),
        ("beta_end", "0.02"),
    ] {
        // Of a sampler that is named, its own default counts.
        if settings[key].is_null() && !settings["_class_name"].is_null() {
            let wrong = format!("diffusers then takes {taken}, which is not built here");
            return Err(refused(key, wrong));
        }
    }
    let beta = |key: &str, usual: f64| match &settings[key] {
        Value::Null => Ok(usual),
        said => (said.as_f64()).ok_or_else(|| refused(key, "it must be a number".into())),
    };
    let levels = whole(&settings, "num_train_timesteps").unwrap_or(LEVELS);
    let (start, end) = (beta("beta_start", start)?, beta("beta_end", end)?);
    let table = LogAlphaTable::scaled_linear(start, end, levels);
    let table = table.map_err(|e| refused("beta_end", e.to_string()))?;
    let predicts = match &settings["prediction_type"] {
        Value::Null => Predicts::Noise,
        said if *said == "epsilon" => Predicts::Noise,
        said if *said == "v_prediction" => Predicts::Velocity,
        _ => {
            let wrong = "only \"epsilon\" and \"v_prediction\" are built here";
            return Err(refused("prediction_type", wrong.into()));
        }
    };
    let key = "rescale_betas_zero_snr";
    let table = match &settings[key] {
        Value::Null | Value::Bool(false) => table,
        Value::Bool(true) => table.with_zero_terminal_snr(),
        _ => return Err(refused(key, "it must be true or false".into())),
    };
    Ok((predicts, table))
}
