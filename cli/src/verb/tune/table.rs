//! What a search has found, for people: lines, a table and the recipe.

use super::record::{Entry, Record};
use super::space::Space;
use super::target::FIRST_SEED;
use crate::run::recipe::{Kind, to_toml};
use crate::screen::progress::figure;
use fewstep::grid::SigmaGrid;
use std::fmt::Write;

/// One candidate in one line.
pub fn line(entry: &Entry, space: &Space) -> anyhow::Result<String> {
    let recipe = space.recipe(&entry.candidate, entry.trajectories)?;
    let grid = recipe.sampling().grid()?;
    let free = if recipe.analytic_first_step {
        ""
    } else {
        ", no free step"
    };
    Ok(format!(
        "{} after {} trajectories (levels {}; {} substeps{free}; rate {:.2e}; growth {:.2})",
        said(entry),
        entry.trajectories,
        levels(&grid),
        recipe.substeps,
        recipe.learning_rate,
        entry.candidate.growth
    ))
}

/// For people; the recipe has them in full.
fn levels(grid: &SigmaGrid) -> String {
    let levels: Vec<_> = grid.levels().iter().map(|level| figure(*level)).collect();
    levels.join(", ")
}

/// A distance for people.
pub fn said(entry: &Entry) -> String {
    entry.distance.map_or_else(|| "ran away".into(), figure)
}

/// All results as a Markdown table, the furthest trained first, the best of them at the top.
pub fn markdown(
    record: &Record,
    space: &Space,
    target: &str,
    images: u64,
) -> anyhow::Result<String> {
    let mut entries: Vec<&Entry> = record.entries().iter().collect();
    entries.sort_by(|a, b| (b.rung.cmp(&a.rung)).then(a.value().total_cmp(&b.value())));
    let mut text = format!(
        "| rung | {target} ({images} images) | trajectories | network forwards | levels | substeps | free first step | learning \
         rate | growth |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
    );
    for entry in entries {
        let recipe = space.recipe(&entry.candidate, entry.trajectories)?;
        let grid = recipe.sampling().grid()?;
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {:.2e} | {:.2} |",
            entry.rung + 1,
            said(entry),
            entry.trajectories,
            entry.forwards,
            levels(&grid),
            recipe.substeps,
            if recipe.analytic_first_step {
                "yes"
            } else {
                "no"
            },
            recipe.learning_rate,
            entry.candidate.growth
        )?;
    }
    Ok(text)
}

/// The best as a recipe file that says where it comes from.
pub fn recipe(
    best: &Entry,
    record: &Record,
    space: &Space,
    (target, images): (&str, u64),
    command: &str,
) -> anyhow::Result<String> {
    let recipe = space.recipe(&best.candidate, best.trajectories)?;
    let forwards: u64 = spent(record);
    let seconds: f64 = record.entries().iter().map(|e| e.seconds).sum();
    let mut text = format!(
        "# {target} {} at {} evaluations after {} trajectories ({images} images of seeds from {FIRST_SEED} on).\n# Found by\n#   \
         {command}\n# The search: {} measurements, {forwards} network forwards of training, {:.0} minutes.\n",
        said(best),
        space.evaluations,
        best.trajectories,
        record.entries().len(),
        seconds / 60.0
    );
    if let Some((origin, beside)) = against_origin(best, record, space) {
        writeln!(
            text,
            "# The recipe that it began with: {} after {} trajectories, where this one was at {} after {} (as many forwards).",
            said(origin),
            origin.trajectories,
            said(beside),
            beside.trajectories
        )?;
    }
    Ok(text + &to_toml(Kind::Distillation, &recipe)?)
}

/// The last rung that the recipe of the beginning was in, and the best candidate there.
fn against_origin<'a>(
    best: &Entry,
    record: &'a Record,
    space: &Space,
) -> Option<(&'a Entry, &'a Entry)> {
    let entries = record.entries();
    let origin = entries.iter().filter(|e| e.candidate == space.origin());
    let origin = origin.max_by_key(|e| e.rung)?;
    let beside = entries
        .iter()
        .find(|e| e.candidate == best.candidate && e.rung == origin.rung)?;
    (origin.candidate != best.candidate).then_some((origin, beside))
}

/// Network forwards of all trainings: of each candidate the furthest.
pub fn spent(record: &Record) -> u64 {
    let entries = record.entries();
    let furthest = entries.iter().filter(|e| {
        let mut same = entries.iter().filter(|o| o.candidate == e.candidate);
        same.all(|o| o.trajectories <= e.trajectories)
    });
    furthest.map(|e| e.forwards).sum()
}
