//! The card of a foreign file: which network it is for, and how to sample from it.

use super::{CARD, Checkpoint, Format};
use crate::Error;
use crate::grid::Spacing;
use crate::model::{Card, Kind, Sampling, card_of_state};
use crate::network::NetworkConfig;
use crate::solver::SolverConfig;
use serde_json::{Map, Value, json};

/// How an imported teacher is sampled unless one says otherwise: EDM's own settings for CIFAR-10. [EDM Sec. 5]
const TEACHER_STEPS: usize = 18;
const TEACHER_SIGMA: (f64, f64) = (0.002, 80.0);
/// EDM's standard deviation of images in [-1, 1].
const SIGMA_DATA: f64 = 0.5;

impl Checkpoint {
    /// The card: our own file's, or one made of what a foreign file says about itself. A file with `training_kwargs` is
    /// a student with these settings; any other is a teacher.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the network cannot be told, is of another kind, or has settings that are not built here.
    pub fn card(&self) -> Result<Card, Error> {
        if let Some(text) = self.metadata.get(CARD) {
            let path = self.path();
            let unwritable = |e| self.source.broken("training state", e);
            return match card_of_state(text).map(|card| serde_json::to_string(&card)) {
                Some(json) => Card::parse(&json.map_err(unwritable)?, path),
                None => Card::parse(text, path),
            };
        }
        let network = self.network_config()?;
        if matches!(network, NetworkConfig::LatentUnet(_)) {
            return self.latent_card(network);
        }
        // Names and shapes first: they say more about a wrong file than its settings do.
        self.check_keys(&network)?;
        self.check_filters(&network)?;
        let wrong = |e: Error| self.source.broken("EDM or SFD model", e);
        let sigma_data = number(&self.attributes, "sigma_data").unwrap_or(SIGMA_DATA);
        if !(sigma_data > 0.0 && sigma_data.is_finite()) {
            return Err(wrong(Error::invalid(
                "sigma_data",
                sigma_data,
                "positive and finite",
            )));
        }
        let (kind, sampling) = if self.training.is_empty() {
            (Kind::Teacher, self.teacher())
        } else {
            (Kind::Student, self.student()?)
        };
        sampling.check().map_err(wrong)?;
        if sampling.step_condition && !network.has_step_branch() {
            let reason = "use_step_condition is True, but its tensors have no step branch";
            return Err(self.source.broken("SFD model", reason));
        }
        Ok(Card {
            format: 1,
            kind,
            network,
            preconditioning: sigma_data.into(),
            sampling,
            recipe: self.provenance(),
            trained_on: 0,
            class_names: Vec::new(),
            parent: None,
            version: env!("CARGO_PKG_VERSION").into(),
        })
    }

    /// EDM's sampler, between the levels that the network knows.
    fn teacher(&self) -> Sampling {
        let (least, most) = TEACHER_SIGMA;
        Sampling {
            solver: SolverConfig::Heun {},
            steps: TEACHER_STEPS,
            spacing: Spacing::default(),
            sigma_max: number(&self.attributes, "sigma_max").map_or(most, |s| s.min(most)),
            sigma_min: number(&self.attributes, "sigma_min").map_or(least, |s| s.max(least)),
            analytic_first_step: false,
            step_condition: false,
            step_range: None,
            guidance: 1.0,
        }
    }

    /// As the official code samples its own students: Euler, with the settings of the training.
    fn student(&self) -> Result<Sampling, Error> {
        let of = &self.training;
        let missing = |key: &str, expected: &str| {
            let value = of.get(key).map_or("missing".into(), Value::to_string);
            let reason =
                format!("in its training_kwargs `{key}` is {value}, but must be {expected}");
            self.source.broken("SFD model", reason)
        };
        let sigma = |key: &str| {
            let value = number(of, key).or_else(|| number(&self.attributes, key));
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
                "\"edm\"; latent models are not built yet",
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

    /// What the file says about where it came from.
    pub(super) fn provenance(&self) -> Value {
        let format = match self.format {
            Format::Safetensors => "safetensors",
            Format::EdmPersistent => "edm-pickle",
            Format::SfdPlain => "sfd-pickle",
            Format::TorchZip => "torch-zip",
            Format::TorchLegacy => "torch-legacy",
        };
        let mut recipe = Map::new();
        recipe.insert("kind".into(), json!("import"));
        recipe.insert("format".into(), json!(format));
        for (key, map) in [
            ("attributes", &self.attributes),
            ("init-kwargs", &self.init),
            ("training-kwargs", &self.training),
        ] {
            if !map.is_empty() {
                recipe.insert(key.into(), Value::Object(map.clone()));
            }
        }
        Value::Object(recipe)
    }
}

/// A number; infinite ones and what is no number are as if they were not there.
fn number(of: &Map<String, Value>, key: &str) -> Option<f64> {
    of.get(key).and_then(Value::as_f64)
}
