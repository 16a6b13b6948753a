//! How the distance to the teacher falls while the students of a sweep are trained.

use super::measured::Measured;
use super::picture::{Axes, Series, write};
use super::plan::Plan;
use super::table::{deviation, mean};
use super::trial::{Trial, Work};
use fewstep::distill::{Distance, Target};
use serde_json::Value;
use std::path::Path;

/// The points of a run's curve, from its folder.
pub fn read(folder: &Path) -> anyhow::Result<Vec<[f64; 2]>> {
    let text = fs_err::read_to_string(folder.join("metrics.jsonl"))?;
    Ok(text.lines().filter_map(point).collect())
}

/// The curve of each trial: trajectories, the last step's distance, and its deviation over the seeds.
///
/// Only of those whose distance and target are the first trial's: those of others are other quantities.
pub fn series(done: &[(&Trial, u64, Measured)]) -> Vec<Series> {
    let mut curves: Vec<(String, Vec<&[[f64; 2]]>)> = Vec::new();
    let first = done.iter().find_map(|(trial, ..)| kind(trial));
    for (trial, _, measured) in done {
        let curve = measured.curve.as_slice();
        if curve.is_empty() || kind(trial) != first {
            continue;
        }
        match curves.iter_mut().find(|(name, _)| *name == trial.name) {
            Some((_, curves)) => curves.push(curve),
            None => curves.push((trial.name.clone(), vec![curve])),
        }
    }
    curves.into_iter().map(merge).collect()
}

/// What a trial's distances are distances of.
fn kind(trial: &Trial) -> Option<(Distance, Target)> {
    match &trial.work {
        Work::Distil { recipe, .. } => Some((recipe.distance, recipe.target)),
        Work::Sample(_) => None,
    }
}

/// Trajectories, and the distance of the last step, which is the one to the teacher's image.
fn point(line: &str) -> Option<[f64; 2]> {
    let line: Value = serde_json::from_str(line).ok()?;
    let last = line["distances"].as_array()?.last()?.as_f64()?;
    Some([line["trajectories"].as_f64()?, last])
}

fn merge((name, curves): (String, Vec<&[[f64; 2]]>)) -> Series {
    let points = curves.iter().map(|curve| curve.len()).min().unwrap_or(0);
    let at = |i: usize| {
        let heights: Vec<f64> = curves.iter().map(|curve| curve[i][1]).collect();
        [
            curves[0][i][0],
            mean(&heights),
            deviation(&heights).unwrap_or(0.0),
        ]
    };
    Series {
        name,
        points: (0..points).map(at).collect(),
    }
}

/// Draws the curves.
pub fn draw(plan: &Plan, curves: &[Series], path: &Path) -> anyhow::Result<()> {
    let axes = Axes {
        title: &plan.title,
        x: "trajectories",
        y: "distance of the last step",
        log_x: false,
        log_y: true,
        names: Vec::new(),
    };
    write(curves, &axes, path)
}
