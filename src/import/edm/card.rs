//! How to sample from a file of EDM or SFD. A file with `training_kwargs` is a student with these settings; any other is a
//! teacher.

use crate::Error;
use crate::container::Checkpoint;
use crate::grid::Spacing;
use crate::import::provenance::provenance;
use crate::model::{Card, Kind, Sampling};
use crate::network::NetworkConfig;
use crate::solver::SolverConfig;
use serde_json::{Map, Value};

/// How an imported teacher is sampled unless one says otherwise: EDM's own settings for CIFAR-10. [EDM Sec. 5]
const TEACHER_STEPS: usize = 18;
const TEACHER_SIGMA: (f64, f64) = (0.002, 80.0);
/// EDM's standard deviation of images in [-1, 1].
const SIGMA_DATA: f64 = 0.5;

/// The card of a file, whose names, shapes and constants are those of the network.
pub(super) fn card(file: &Checkpoint, network: NetworkConfig) -> Result<Card, Error> {
    let wrong = |e: Error| file.source.broken("EDM or SFD model", e);
    let sigma_data = number(&file.attributes, "sigma_data").unwrap_or(SIGMA_DATA);
    if !(sigma_data > 0.0 && sigma_data.is_finite()) {
        return Err(wrong(Error::invalid(
            "sigma_data",
            sigma_data,
            "positive and finite",
        )));
    }
    let (kind, sampling) = if file.training.is_empty() {
        (Kind::Teacher, teacher(file))
    } else {
        (Kind::Student, student(file)?)
    };
    sampling.check().map_err(wrong)?;
    if sampling.step_condition && !network.has_step_branch() {
        let reason = "use_step_condition is True, but its tensors have no step branch";
        return Err(file.source.broken("SFD model", reason));
    }
    Ok(Card {
        format: 1,
        kind,
        network,
        answer: sigma_data.into(),
        sampling,
        recipe: provenance(file),
        trained_on: 0,
        class_names: Vec::new(),
        adapter: None,
        parent: None,
        version: env!("CARGO_PKG_VERSION").into(),
    })
}

/// EDM's sampler, between the levels that the network knows.
fn teacher(file: &Checkpoint) -> Sampling {
    let (least, most) = TEACHER_SIGMA;
    Sampling {
        solver: SolverConfig::Heun {},
        steps: TEACHER_STEPS,
        spacing: Spacing::default(),
        sigma_max: number(&file.attributes, "sigma_max").map_or(most, |s| s.min(most)),
        sigma_min: number(&file.attributes, "sigma_min").map_or(least, |s| s.max(least)),
        analytic_first_step: false,
        step_condition: false,
        step_range: None,
        guidance: 1.0,
    }
}

/// As the official code samples its own students: Euler, with the settings of the training.
fn student(file: &Checkpoint) -> Result<Sampling, Error> {
    let of = &file.training;
    let missing = |key: &str, expected: &str| {
        let value = of.get(key).map_or("missing".into(), Value::to_string);
        let reason = format!("in its training_kwargs `{key}` is {value}, but must be {expected}");
        file.source.broken("SFD model", reason)
    };
    let sigma = |key: &str| {
        let value = number(of, key).or_else(|| number(&file.attributes, key));
        value.ok_or_else(|| missing(key, "a number"))
    };
    let flag = |key: &str| match of.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(missing(key, "True or False")),
    };
    if of.get("model_source").is_some_and(|source| source != "edm") {
        return Err(missing(
            "model_source",
            "\"edm\", since its network is one of those",
        ));
    }
    let rho = number(of, "schedule_rho").unwrap_or(7.0);
    let spacing = match of.get("schedule_type").and_then(Value::as_str) {
        Some("polynomial") => Spacing::Polynomial { rho },
        Some("logsnr") => Spacing::LogSnr {},
        Some("time_uniform") => Spacing::TimeUniform { rho },
        _ => {
            let expected = "\"polynomial\", \"logsnr\" or \"time_uniform\"";
            return Err(missing("schedule_type", expected));
        }
    };
    // Timestamps there, steps here.
    let timestamps = of
        .get("num_steps")
        .and_then(Value::as_u64)
        .filter(|n| (2..=10_000).contains(n));
    let timestamps = timestamps.ok_or_else(|| missing("num_steps", "a count of 2 or more"))?;
    Ok(Sampling {
        solver: SolverConfig::Euler {},
        steps: timestamps as usize - 1,
        spacing,
        sigma_max: sigma("sigma_max")?,
        sigma_min: sigma("sigma_min")?,
        analytic_first_step: flag("afs")?,
        step_condition: flag("use_step_condition")?,
        // Written in the file for one number; which others it was trained for the file does not say.
        step_range: None,
        guidance: 1.0,
    })
}

/// A number; infinite ones and what is no number are as if they were not there.
fn number(of: &Map<String, Value>, key: &str) -> Option<f64> {
    of.get(key).and_then(Value::as_f64)
}
