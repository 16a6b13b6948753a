//! The configuration of the scheduler in our Python package, for all that diffusers' own cannot hold: several numbers of calls, and
//! a network that is told which of them it is.

use super::schedule::Schedule;
use super::stock::WRITTEN_FOR;
use crate::Error;
use crate::file::hexadecimal;
use crate::model::Model;
use crate::network::{LATENT_NAME, fold_step_branch, parameters};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Module and class of the scheduler.
pub(super) const CLASS: [&str; 2] = ["fewstep.scheduler", "FewStepScheduler"];

/// Numbers of parameters by official name, of a student with one number of calls.
pub type Biases = BTreeMap<String, Vec<f32>>;

/// What the step branch of a student is worth for each number of its calls: in a U-Net of Stable Diffusion it adds a constant to
/// what each block is told of the time, so it is another bias of the layer that tells it. [SFD Sec. 3.3]
///
/// # Errors
/// [`Error::Incompatible`] if the student is not told its number of steps.
pub fn step_biases(model: &Model) -> Result<BTreeMap<usize, Biases>, Error> {
    let calls = model.card.sampling.allowed_evaluations()?;
    let of = |calls: usize| -> Result<(usize, Biases), Error> {
        let sampling = model.card.sampling_with(calls)?;
        let Some(timestamps) = sampling.told_steps() else {
            return Err(Error::Incompatible {
                first: "biases for each number of calls".into(),
                second: "a student that is not told the number of its steps".into(),
                remedy: "it is a plain network already; use it as it is".into(),
            });
        };
        let (_, folded) = fold_step_branch(&model.card.network, &model.network, timestamps)?;
        let told = parameters(&folded)
            .into_iter()
            .filter(|p| p.name.starts_with(LATENT_NAME) && p.name.ends_with(".emb_layers.1.bias"));
        let biases = told.map(|p| (p.name, p.data.iter::<f32>().collect()));
        Ok((calls, biases.collect()))
    };
    calls.map(of).collect()
}

/// `scheduler_config.json`; the biases by the names that diffusers has for them.
pub(super) fn config(schedules: &[Schedule], biases: &BTreeMap<usize, Biases>) -> Value {
    let schedule = |schedule: &Schedule| {
        let mut of = json!({
            "levels": schedule.levels,
            "times": schedule.times,
            "start": schedule.start,
        });
        if let Some(past) = &schedule.past {
            of["weights"] = json!(past.weights);
            of["before"] = json!(past.before);
        }
        (schedule.calls().to_string(), of)
    };
    let schedules_by_calls: Map<String, Value> = schedules.iter().map(schedule).collect();
    let hex = |values: &Vec<f32>| {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        json!(hexadecimal(&bytes))
    };
    let biases = biases.iter().map(|(calls, of)| {
        let of: Map<String, Value> = of.iter().map(|(name, v)| (name.clone(), hex(v))).collect();
        (calls.to_string(), Value::Object(of))
    });
    let biases: Map<String, Value> = biases.collect();
    let prediction = schedules.first().map_or("epsilon", Schedule::prediction);
    json!({
        "_class_name": CLASS[1],
        "_diffusers_version": WRITTEN_FOR,
        "num_train_timesteps": 1000,
        "prediction_type": prediction,
        "schedules": schedules_by_calls,
        "step_biases": if biases.is_empty() { Value::Null } else { Value::Object(biases) },
    })
}
