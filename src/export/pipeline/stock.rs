//! The student as diffusers' own `EulerDiscreteScheduler` takes it, in the default call.
//!
//! That scheduler is told a number of calls and nothing else, and makes levels of its configuration. Three things follow that a
//! student has otherwise; each is put where the configuration, or the weights beside it, can hold it, so that the pictures are the
//! student's and not nearly so:
//!
//! * **Levels.** `trained_betas` is a table of our own, and `trailing` spacing takes every n-th entry: the levels stand
//!   there, and its first entry, which `final_sigmas_type = "sigma_min"` ends at, is the student's end.
//! * **Times.** The network is told the entry's index, which can only be a multiple. Where that is not the student's time, the
//!   first layer of the time embedding is written so that it says of the index what it said of the time (`retime`). Where the
//!   levels lie on a ramp that the scheduler has (`use_karras_sigmas`, `use_exponential_sigmas`; any two do), it tells the time that
//!   belongs to a level, and the layer stays.
//! * **Start.** The first noise has the largest level, but after a free first step it is some per mille more. So the latents
//!   are measured in another unit: in it the start is the largest level (`unit`).

use super::schedule::Schedule;
use crate::Error;
use serde_json::{Value, json};

/// What the scheduler's own configuration needs beside it.
#[derive(Debug)]
pub(super) struct Stock {
    /// `scheduler_config.json`.
    pub(super) config: Value,
    /// What the network is told in place of the student's times, where they differ.
    pub(super) told: Option<Vec<f64>>,
    /// The student's latents times this are those of the pipeline.
    pub(super) unit: f64,
}

/// Largest difference, in entries of the table, between a time that is told and the student's.
const SAME_TIME: f64 = 0.02;
/// Largest relative difference of levels: a few roundings of f32.
const SAME_LEVEL: f64 = 1e-6;
/// Most entries between two calls.
const WIDEST: usize = 2000;

/// The configuration for one number of calls.
///
/// # Errors
/// [`Error::Incompatible`] for steps that are not Euler's, [`Error::InvalidValue`] if no table holds the levels.
pub(super) fn stock(schedule: &Schedule) -> Result<Stock, Error> {
    if let Some(past) = &schedule.past {
        return Err(Error::Incompatible {
            first: format!("a student that is sampled by {}", past.solver),
            second: "diffusers' own scheduler, which takes Euler's steps".into(),
            remedy: "take the one of our Python package (--scheduler fewstep)".into(),
        });
    }
    let (calls, levels) = (schedule.calls(), &schedule.levels);
    let (first, last) = (levels[0], levels[calls - 1]);
    let ramp = [
        ("use_karras_sigmas", karras(first, last, calls)),
        ("use_exponential_sigmas", exponential(first, last, calls)),
    ];
    let lies_on = |ramp: &[f64]| {
        let mut pairs = ramp.iter().zip(levels);
        pairs.all(|(a, b)| (a / b - 1.0).abs() < SAME_LEVEL)
    };
    let table = natural(schedule);
    let logs: Vec<f64> = table.iter().map(|level| level.ln()).collect();
    let tells = schedule.times.iter().zip(levels).all(|(time, level)| {
        let told = told_of(&logs, level.ln());
        (told - time).abs() < SAME_TIME
    });
    let unit = first / schedule.start;
    let unit = if (unit - 1.0).abs() < 1e-12 {
        1.0
    } else {
        unit
    };
    let found = ramp.into_iter().find(|(_, ramp)| lies_on(ramp));
    if let Some((key, _)) = found.filter(|_| tells) {
        let mut config = config(schedule, &table)?;
        config[key] = json!(true);
        config["sigma_max"] = json!(first);
        config["sigma_min"] = json!(last);
        return Ok(Stock {
            config,
            told: None,
            unit,
        });
    }
    let (told, table) = spaced(schedule);
    Ok(Stock {
        config: config(schedule, &table)?,
        told: Some(told),
        unit,
    })
}

/// `_convert_to_karras` of diffusers.
fn karras(first: f64, last: f64, calls: usize) -> Vec<f64> {
    let (high, low) = (first.powf(1.0 / 7.0), last.powf(1.0 / 7.0));
    let at = |i: usize| (high + part(i, calls) * (low - high)).powi(7);
    (0..calls).map(at).collect()
}

/// `_convert_to_exponential` of diffusers.
fn exponential(first: f64, last: f64, calls: usize) -> Vec<f64> {
    let (high, low) = (first.ln(), last.ln());
    let at = |i: usize| (high + part(i, calls) * (low - high)).exp();
    (0..calls).map(at).collect()
}

/// How far along the `i`-th of some calls is, of 0 to 1.
fn part(i: usize, calls: usize) -> f64 {
    i as f64 / calls.saturating_sub(1).max(1) as f64
}

/// The table that the network was trained on, but that it starts where sampling ends.
fn natural(schedule: &Schedule) -> Vec<f64> {
    let trained = schedule.table.alphas_cumprod();
    let mut table: Vec<f64> = trained.iter().map(|a| (1.0 / a - 1.0).sqrt()).collect();
    let end = schedule.end();
    let above = table.iter().position(|level| *level > end);
    let above = above.unwrap_or(table.len()).max(1);
    fill(&mut table, (0, end), above);
    table
}

/// Puts a level into a table, and goes on from it in equal ratios to the entry `to`, which stays.
fn fill(table: &mut [f64], (from, level): (usize, f64), to: usize) {
    let end = table.get(to).copied().unwrap_or(level * 2.0);
    let count = (to - from) as f64;
    for (i, entry) in table.iter_mut().enumerate().take(to).skip(from) {
        *entry = level * (end / level).powf((i - from) as f64 / count);
    }
}

/// `_sigma_to_t` of diffusers: where in a table of logarithms of levels a level lies.
fn told_of(logs: &[f64], level: f64) -> f64 {
    let above = logs.partition_point(|entry| *entry <= level);
    let low = above.saturating_sub(1).min(logs.len().saturating_sub(2));
    let part = (level - logs[low]) / (logs[low + 1] - logs[low]);
    low as f64 + part.clamp(0.0, 1.0)
}

/// What `trailing` spacing tells, nearest to the student's times, and the table that has its levels there.
fn spaced(schedule: &Schedule) -> (Vec<f64>, Vec<f64>) {
    let calls = schedule.calls();
    let told = |width: usize| (0..calls).map(move |k| ((calls - k) * width - 1) as f64);
    let off = |width: usize| {
        let pairs = told(width).zip(&schedule.times);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    // The first entry is the end, so the last call has another.
    let width = (2..=WIDEST).min_by(|a, b| off(*a).total_cmp(&off(*b)));
    let width = width.unwrap_or(2);
    let mut table = vec![0.0; calls * width];
    let last = table.len() - 1;
    table[last] = schedule.levels[0];
    for k in (0..calls).rev() {
        let to = (calls - k) * width - 1;
        let from = to.saturating_sub(width);
        let from = if k + 1 == calls { 0 } else { from };
        table[to] = schedule.levels[k];
        fill(&mut table, (from, schedule.levels[k + 1]), to);
    }
    (told(width).collect(), table)
}

/// All of the configuration but what a ramp adds.
fn config(schedule: &Schedule, table: &[f64]) -> Result<Value, Error> {
    let alphas: Vec<f64> = table.iter().map(|s| 1.0 / (s * s + 1.0)).collect();
    let mut before = 1.0;
    let mut betas = Vec::with_capacity(alphas.len());
    for alpha in alphas {
        let beta = 1.0 - alpha / before;
        if !(beta > 0.0 && beta < 1.0) {
            let levels = format!("{:?}", schedule.levels);
            let expected = "levels that decrease by more than a rounding";
            return Err(Error::invalid("noise levels", levels, expected));
        }
        betas.push(beta);
        before = alpha;
    }
    Ok(json!({
        "_class_name": "EulerDiscreteScheduler",
        "_diffusers_version": WRITTEN_FOR,
        "final_sigmas_type": "sigma_min",
        "interpolation_type": "linear",
        "num_train_timesteps": betas.len(),
        "prediction_type": schedule.prediction(),
        "rescale_betas_zero_snr": false,
        // Of no effect with this spacing; pipelines want to see a 1.
        "steps_offset": 1,
        "timestep_spacing": "trailing",
        "timestep_type": "discrete",
        "trained_betas": betas,
        "use_beta_sigmas": false,
        "use_exponential_sigmas": false,
        "use_karras_sigmas": false,
    }))
}

/// The version of diffusers that the configuration was tried with.
pub(super) const WRITTEN_FOR: &str = "0.42.1";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::LogAlphaTable;

    /// A student of Stable Diffusion with levels at equal times, as the recipes have it.
    fn schedule(calls: usize) -> Schedule {
        let table = LogAlphaTable::scaled_linear(0.00085, 0.012, 1000).unwrap();
        let (high, low) = (table.t_of_sigma(table.sigma_max()), table.t_of_sigma(0.1));
        let steps = calls + 1;
        let at = |i: usize| table.sigma_of_t(high + (low - high) * i as f64 / steps as f64);
        let levels: Vec<f64> = (1..=steps).map(at).collect();
        let times = levels[..calls].iter().map(|s| table.position_of_sigma(*s));
        Schedule {
            times: times.collect(),
            start: levels[0] * 1.005,
            levels,
            past: None,
            velocity: false,
            table,
        }
    }

    /// What diffusers makes of a configuration: levels and times, in f64.
    fn set_timesteps(config: &Value, calls: usize) -> (Vec<f64>, Vec<f64>) {
        let betas = config["trained_betas"].as_array().unwrap();
        let mut alpha = 1.0;
        let sigmas = betas.iter().map(|beta| {
            alpha *= 1.0 - beta.as_f64().unwrap();
            (1.0 / alpha - 1.0f64).sqrt()
        });
        let sigmas: Vec<f64> = sigmas.collect();
        let logs: Vec<f64> = sigmas.iter().map(|s| s.ln()).collect();
        let [high, low] = ["sigma_max", "sigma_min"].map(|key| config[key].as_f64());
        let on = |key: &str| config[key] == true;
        let (mut levels, times): (Vec<f64>, Vec<f64>) =
            if on("use_karras_sigmas") || on("use_exponential_sigmas") {
                let ramp = match on("use_karras_sigmas") {
                    true => karras(high.unwrap(), low.unwrap(), calls),
                    false => exponential(high.unwrap(), low.unwrap(), calls),
                };
                let times = ramp.iter().map(|s| told_of(&logs, s.ln())).collect();
                (ramp, times)
            } else {
                let count = config["num_train_timesteps"].as_u64().unwrap() as f64;
                let ratio = count / calls as f64;
                let times = (0..calls).map(|k| (count - k as f64 * ratio).round() - 1.0);
                let times: Vec<f64> = times.collect();
                (times.iter().map(|t| sigmas[*t as usize]).collect(), times)
            };
        levels.push(sigmas[0]);
        (levels, times)
    }

    #[test]
    fn a_configuration_has_the_students_levels() {
        for calls in 1..=6 {
            let schedule = schedule(calls);
            let stock = stock(&schedule).unwrap();
            let (levels, times) = set_timesteps(&stock.config, calls);
            for (got, want) in levels.iter().zip(&schedule.levels) {
                assert!((got / want - 1.0).abs() < 1e-6, "{calls}: {levels:?}");
            }
            // Two calls or one lie on any ramp, and more at equal times on none.
            assert_eq!(stock.told.is_none(), calls <= 2);
            let told = stock.told.unwrap_or(schedule.times.clone());
            for ((got, told), want) in times.iter().zip(&told).zip(&schedule.times) {
                assert!((got - told).abs() < SAME_TIME, "{calls}: {times:?}");
                assert!((told - want).abs() < 10.0, "{calls}: {told} {want}");
            }
            assert!((stock.unit * schedule.start / levels[0] - 1.0).abs() < 1e-9);
        }
        // What diffusers has a ramp for needs no other times.
        for ramp in [karras, exponential] {
            let mut schedule = schedule(4);
            schedule.levels[..4].copy_from_slice(&ramp(6.0, 0.5, 4));
            let table = &schedule.table;
            let times = schedule.levels[..4].iter();
            schedule.times = times.map(|s| table.position_of_sigma(*s)).collect();
            let stock = stock(&schedule).unwrap();
            assert!(stock.told.is_none());
            let (levels, _) = set_timesteps(&stock.config, 4);
            assert!((levels[2] / schedule.levels[2] - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn levels_that_are_one_are_refused() {
        let mut schedule = schedule(3);
        schedule.levels[1] = schedule.levels[0];
        assert!(stock(&schedule).is_err());
    }
}
