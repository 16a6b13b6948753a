//! A sweep file as it is typed.

use super::trial::{Trial, Work};
use crate::model::sampling::SamplingArgs;
use crate::run::recipe::{Kind, RecipeText};
use crate::screen::failure::wrong;
use anyhow::Context as _;
use fewstep::distill::Recipe;
use serde::Deserialize;
use std::path::PathBuf;
use toml::{Table, Value};

/// A sweep file. docs/sweep.md describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Text {
    /// For people.
    pub title: String,
    #[serde(default)]
    pub about: String,
    recipe: Option<PathBuf>,
    pub teacher: Option<PathBuf>,
    pub features: Option<PathBuf>,
    pub reference: Option<PathBuf>,
    pub images: Option<u64>,
    pub pairs: Option<u64>,
    pub prompts: Option<PathBuf>,
    pub negative: Option<String>,
    pub embeddings: Option<PathBuf>,
    pub autoencoder: Option<PathBuf>,
    pub text_encoder: Option<PathBuf>,
    pub vocabulary: Option<PathBuf>,
    pub clip: Option<PathBuf>,
    pub pixels: Option<bool>,
    #[serde(default)]
    pub directions: u64,
    #[serde(default = "seeds")]
    seeds: Vec<u64>,
    pub forwards: Option<u64>,
    #[serde(default)]
    base: Table,
    #[serde(default)]
    grid: Table,
    #[serde(default)]
    run: Vec<RunText>,
    #[serde(default)]
    sampler: Vec<SamplerText>,
    #[serde(default)]
    pub plot: Plot,
}

fn seeds() -> Vec<u64> {
    vec![0]
}

/// One run that differs from the base in its own way.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RunText {
    name: String,
    recipe: Option<PathBuf>,
    #[serde(default)]
    set: Table,
    #[serde(default)]
    nfe: Vec<usize>,
    after: Option<String>,
}

/// The teacher itself, sampled in some way.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SamplerText {
    name: String,
    solver: Option<String>,
    steps: Vec<usize>,
    analytic_first_step: Option<bool>,
}

/// What the picture shows.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Plot {
    /// What goes to the right: `nfe`, `forwards`, or a key of the recipe with numbers; the runs' names if not given.
    pub x: Option<String>,
    /// Whether the axis to the right is logarithmic.
    #[serde(default)]
    pub log_x: bool,
    /// Whether the axis upwards is logarithmic.
    #[serde(default)]
    pub log_y: bool,
}

impl Text {
    /// Reads it.
    pub fn read(text: &str) -> anyhow::Result<Self> {
        toml::from_str(text).map_err(|e| wrong(e.to_string()))
    }

    /// What it compares, in its order.
    pub fn trials(&self) -> anyhow::Result<Vec<Trial>> {
        let mut trials = Vec::new();
        for settings in combinations(&self.grid)? {
            trials.push(self.of_grid(settings)?);
        }
        for run in &self.run {
            trials.push(self.of_run(run)?);
        }
        trials.extend(self.sampler.iter().map(SamplerText::trial));
        Ok(trials)
    }

    fn of_grid(&self, settings: Vec<(String, Value)>) -> anyhow::Result<Trial> {
        let name = settings
            .iter()
            .map(|(key, value)| format!("{key} = {value}"));
        let name = name.collect::<Vec<_>>().join(", ");
        let run = RunText {
            name,
            recipe: None,
            set: settings.iter().cloned().collect(),
            nfe: Vec::new(),
            after: None,
        };
        self.of_run(&run)
    }

    fn of_run(&self, run: &RunText) -> anyhow::Result<Trial> {
        let file = run.recipe.as_ref().or(self.recipe.as_ref());
        let file = file.ok_or_else(|| {
            wrong(format!(
                "{}: no recipe; add recipe = \"fashion-mnist-nfe2\" or another one to the sweep",
                run.name
            ))
        })?;
        let source = RecipeText::read(file)?;
        if source.kind != Kind::Distillation {
            return Err(wrong(format!("{} distils nothing", source.name)));
        }
        let (mut sets, mut settings) = (Vec::new(), Vec::new());
        flatten("", &self.base, &mut sets);
        flatten("", &run.set, &mut settings);
        if let Some((key, _)) = sets.iter().chain(&settings).find(|(key, _)| key == "seed") {
            return Err(wrong(format!("`{key}` is set by the sweep's `seeds`")));
        }
        let typed = sets.iter().chain(&settings);
        let typed: Vec<_> = typed.map(|(key, value)| format!("{key}={value}")).collect();
        let recipe: Recipe = source.resolve(&typed).context(run.name.clone())?;
        recipe.check().with_context(|| run.name.clone())?;
        Ok(Trial {
            name: run.name.clone(),
            settings: settings.into_iter().map(|(k, v)| (k, plain(&v))).collect(),
            seeds: self.seeds.clone(),
            work: Work::Distil {
                recipe: Box::new(recipe),
                evaluations: run.nfe.clone(),
                after: run.after.clone(),
            },
        })
    }
}

impl SamplerText {
    fn trial(&self) -> Trial {
        let of = |steps: &usize| SamplingArgs {
            steps: Some(*steps),
            solver: self.solver.clone(),
            analytic_first_step: self.analytic_first_step,
            ..SamplingArgs::default()
        };
        Trial {
            name: self.name.clone(),
            settings: Vec::new(),
            seeds: vec![0],
            work: Work::Sample(self.steps.iter().map(of).collect()),
        }
    }
}

/// Every combination of the grid's values, the last key changing fastest; none for an empty grid.
fn combinations(grid: &Table) -> anyhow::Result<Vec<Vec<(String, Value)>>> {
    let mut keys = Vec::new();
    flatten("", grid, &mut keys);
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let mut all = vec![Vec::new()];
    for (key, values) in keys {
        let values = values.as_array().filter(|values| !values.is_empty());
        let values = values.ok_or_else(|| {
            wrong(format!(
                "[grid]: `{key}` is not a list of values, such as [1, 2]"
            ))
        })?;
        let with = |before: &Vec<(String, Value)>, value: &Value| {
            let mut settings = before.clone();
            settings.push((key.clone(), value.clone()));
            settings
        };
        all = all
            .iter()
            .flat_map(|before| values.iter().map(move |value| (before, value)))
            .map(|(before, value)| with(before, value))
            .collect();
    }
    Ok(all)
}

/// The settings below a table with dotted keys. A table that has a `kind` is one value: its other keys belong to that kind.
fn flatten(prefix: &str, table: &Table, into: &mut Vec<(String, Value)>) {
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        match value {
            Value::Table(inner) if !inner.contains_key("kind") => {
                flatten(&format!("{key}."), inner, into);
            }
            _ => into.push((key, value.clone())),
        }
    }
}

/// A value without the quotes of a word.
fn plain(value: &Value) -> String {
    match value {
        Value::String(word) => word.clone(),
        other => other.to_string(),
    }
}
