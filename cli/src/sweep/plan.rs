//! A sweep file and the runs that it stands for.

use crate::failure::wrong;
use crate::generate::SamplingArgs;
use crate::recipe::{Kind, Source};
use anyhow::Context as _;
use fewstep::checkpoint::Card;
use fewstep::distill::Recipe;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// A sweep file. docs/sweep.md describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Text {
    title: String,
    #[serde(default)]
    about: String,
    recipe: Option<PathBuf>,
    teacher: Option<PathBuf>,
    features: Option<PathBuf>,
    reference: Option<PathBuf>,
    #[serde(default = "images")]
    images: u64,
    #[serde(default = "pairs")]
    pairs: u64,
    #[serde(default)]
    directions: u64,
    #[serde(default = "seeds")]
    seeds: Vec<u64>,
    forwards: Option<u64>,
    #[serde(default)]
    base: Table,
    #[serde(default)]
    grid: Table,
    #[serde(default)]
    run: Vec<RunText>,
    #[serde(default)]
    sampler: Vec<SamplerText>,
    #[serde(default)]
    plot: Plot,
}

fn images() -> u64 {
    2000
}

fn pairs() -> u64 {
    200
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

/// A sweep, checked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The file's name.
    pub name: String,
    /// For people.
    pub title: String,
    /// A paragraph for people.
    pub about: String,
    /// The teacher's file; the bundled one if not given.
    pub teacher: Option<PathBuf>,
    /// The feature network; the bundled one if not given.
    pub features: Option<PathBuf>,
    /// Moments to compare with; the bundled ones if not given.
    pub reference: Option<PathBuf>,
    /// Images behind each Frechet distance.
    pub images: u64,
    /// Seeds on which students are compared with the teacher image by image.
    pub pairs: u64,
    /// Trajectories on which the directions of single steps are compared with the teacher's; 0 for none.
    pub directions: u64,
    /// Network forwards for each training; the recipes' own trajectories if not given.
    forwards: Option<u64>,
    /// What is compared.
    pub trials: Vec<Trial>,
    /// What the picture shows.
    pub plot: Plot,
}

/// One of the things that are compared.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Unique in the sweep.
    pub name: String,
    /// Where it differs from the others, as typed: key and value.
    pub settings: Vec<(String, String)>,
    /// A run for each.
    pub seeds: Vec<u64>,
    /// What is done.
    pub work: Work,
}

/// What is measured.
#[derive(Clone, Debug)]
pub enum Work {
    /// A student.
    Distil {
        /// With any seed.
        recipe: Box<Recipe>,
        /// Numbers of network calls to sample with; the card's own if empty.
        evaluations: Vec<usize>,
        /// The trial whose student is the teacher.
        after: Option<String>,
    },
    /// The teacher.
    Sample(Vec<SamplingArgs>),
}

impl Plan {
    /// Reads a sweep file and checks all of its runs.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let shown = file.display().to_string();
        let text = fs_err::read_to_string(file).map_err(|e| wrong(e.to_string()))?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&name, &text).with_context(|| format!("sweep {shown}"))
    }

    fn parse(name: &str, text: &str) -> anyhow::Result<Self> {
        let text: Text = toml::from_str(text).map_err(|e| wrong(e.to_string()))?;
        let mut trials = Vec::new();
        for settings in combinations(&text.grid)? {
            trials.push(text.of_grid(settings)?);
        }
        for run in &text.run {
            trials.push(text.of_run(run)?);
        }
        for sampler in &text.sampler {
            trials.push(sampler.trial());
        }
        let plan = Self {
            name: name.into(),
            title: text.title,
            about: text.about,
            teacher: text.teacher,
            features: text.features,
            reference: text.reference,
            images: text.images,
            pairs: text.pairs,
            directions: text.directions,
            forwards: text.forwards,
            trials,
            plot: text.plot,
        };
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.trials.is_empty() {
            return Err(wrong(
                "there is nothing to compare: add a [grid], a [[run]] or a [[sampler]]",
            ));
        }
        if self.images < 2 || self.pairs < 1 {
            return Err(wrong("images must be 2 or more, pairs 1 or more"));
        }
        let mut places = BTreeSet::new();
        for trial in &self.trials {
            let name = &trial.name;
            let distinct: BTreeSet<_> = trial.seeds.iter().collect();
            if trial.seeds.is_empty() || distinct.len() < trial.seeds.len() {
                return Err(wrong("seeds must be some different numbers"));
            }
            if let Work::Distil {
                after: Some(first), ..
            } = &trial.work
                && !places.contains(&slug(first))
            {
                return Err(wrong(format!(
                    "{name} comes after {first}, but there is no such run before it"
                )));
            }
            if !places.insert(slug(name)) {
                return Err(wrong(format!(
                    "two runs are called {name}, or nearly so; give them other names"
                )));
            }
        }
        Ok(())
    }

    /// The trial of a name that [`read`](Self::read) has checked.
    pub fn trial(&self, name: &str) -> anyhow::Result<&Trial> {
        let found = self.trials.iter().find(|t| slug(&t.name) == slug(name));
        found.with_context(|| format!("no run is called {name}"))
    }

    /// Leaves only these seeds. Samplers, which are not trained, count as seed 0.
    pub fn keep_seeds(&mut self, seeds: &[u64]) {
        for trial in &mut self.trials {
            trial.seeds.retain(|seed| seeds.contains(seed));
        }
        self.trials.retain(|trial| !trial.seeds.is_empty());
    }

    /// Every run, in the order in which they are done: all trials with the first seed, then with the next, so that a
    /// sweep that is left early has compared something.
    pub fn jobs(&self) -> impl Iterator<Item = (&Trial, u64)> {
        let most = self.trials.iter().map(|t| t.seeds.len()).max();
        (0..most.unwrap_or(0)).flat_map(|at| {
            let of = move |trial: &Trial| trial.seeds.get(at).copied();
            let of = move |trial| of(trial).map(|seed| (trial, seed));
            self.trials.iter().filter_map(of)
        })
    }

    /// The recipe with as many trajectories as the sweep's `forwards` pay for.
    pub fn at_cost(&self, recipe: Box<Recipe>, teacher: &Card) -> anyhow::Result<Recipe> {
        let mut recipe = *recipe;
        if let Some(forwards) = self.forwards {
            let cost = recipe.cost(teacher)?.forwards().max(1);
            let counted = recipe.trajectories_after(recipe.rounds()) as f64;
            let wanted = forwards as f64 * counted / cost as f64;
            recipe.trajectories = (wanted.round() as u64).max(1);
        }
        Ok(recipe)
    }
}

impl Text {
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
        let source = Source::read(file)?;
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

impl Trial {
    /// The folder of one of its runs, inside the sweep's.
    pub fn place(&self, seed: u64) -> String {
        match self.work {
            Work::Distil { .. } => place(&self.name, seed),
            Work::Sample(_) => slug(&self.name),
        }
    }

    /// What the result depends on, besides what the whole sweep shares. Names do not count: the same run in two sweeps
    /// has the same identity.
    pub fn identity(&self, plan: &Plan, teacher: &Card, seed: u64) -> anyhow::Result<Json> {
        Ok(match &self.work {
            Work::Distil {
                recipe,
                evaluations,
                after,
            } => {
                // What a run costs after another one depends on that one's student, which is not there yet.
                let (recipe, forwards) = match after {
                    None => (plan.at_cost(recipe.clone(), teacher)?, None),
                    Some(_) => ((**recipe).clone(), plan.forwards),
                };
                let recipe = serde_json::to_value(recipe).context("cannot write the recipe")?;
                let after = match after {
                    None => Json::Null,
                    Some(name) => plan.trial(name)?.identity(plan, teacher, seed)?,
                };
                json!({
                    "recipe": recipe, "seed": seed, "nfe": evaluations, "after": after,
                    "forwards": forwards,
                })
            }
            Work::Sample(rows) => {
                let of = |row: &SamplingArgs| {
                    json!({
                        "steps": row.steps, "solver": row.solver,
                        "analytic-first-step": row.analytic_first_step,
                    })
                };
                json!({ "sampler": rows.iter().map(of).collect::<Vec<_>>() })
            }
        })
    }

    /// The number that a key of the recipe has.
    pub fn number(&self, key: &str) -> Option<f64> {
        let Work::Distil { recipe, .. } = &self.work else {
            return None;
        };
        let recipe = serde_json::to_value(recipe).ok()?;
        let found = key.split('.').try_fold(&recipe, |at, part| at.get(part))?;
        found.as_f64()
    }
}

/// The folder of a distillation.
pub fn place(name: &str, seed: u64) -> String {
    format!("{}/seed-{seed}", slug(name))
}

/// A name as a folder.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars() {
        match c {
            c if c.is_alphanumeric() => slug.extend(c.to_lowercase()),
            '.' | '+' => slug.push(c),
            _ if slug.ends_with('-') || slug.is_empty() => {}
            _ => slug.push('-'),
        }
    }
    let slug = slug.trim_end_matches(['-', '.']).to_string();
    if slug.is_empty() { "run".into() } else { slug }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::one_line;

    const HEAD: &str = "title = 'x'\nrecipe = 'fashion-mnist-nfe2'\n";

    fn plan(text: &str) -> Plan {
        Plan::parse("x", &format!("{HEAD}{text}")).unwrap()
    }

    fn recipe(trial: &Trial) -> &Recipe {
        match &trial.work {
            Work::Distil { recipe, .. } => recipe,
            Work::Sample(_) => panic!("{} is a sampler", trial.name),
        }
    }

    #[test]
    fn a_grid_is_every_combination() {
        let plan = plan(
            "seeds = [3, 4]\n[base]\nbatch = 4\n[grid]\nsubsteps = [2, 3]\nteacher-solver.order = [1, 2, 3]",
        );
        let found: Vec<_> = plan.trials.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(found.len(), 6);
        assert_eq!(found[1], "substeps = 2, teacher-solver.order = 2");
        let last = recipe(&plan.trials[5]);
        assert_eq!((last.batch, last.substeps), (4, 3));
        assert_eq!(last.teacher_solver.to_string(), "DPM-Solver++(3M)");
        assert_eq!(plan.trials[5].number("teacher-solver.order"), Some(3.0));
        let jobs: Vec<_> = plan.jobs().map(|(t, seed)| t.place(seed)).collect();
        assert_eq!(jobs.len(), 12);
        assert_eq!(jobs[6], "substeps-2-teacher-solver.order-1/seed-4");
    }

    #[test]
    fn runs_and_samplers_are_listed() {
        let plan = plan(
            "[[run]]\nname = 'Euler'\nset = { teacher-solver = { kind = 'euler' } }\n\
             [[run]]\nname = 'one'\nafter = 'Euler'\nset = { second-stage = true, steps = 1, analytic-first-step = false, spacing = { kind = 'polynomial', rho = 7.0 }, teacher-solver = { kind = 'euler' } }\n\
             [[sampler]]\nname = 'Heun'\nsolver = 'heun'\nsteps = [2, 3]",
        );
        assert_eq!(recipe(&plan.trials[0]).teacher_solver.to_string(), "Euler");
        assert_eq!(plan.trials[2].place(0), "heun");
        assert!(matches!(&plan.trials[2].work, Work::Sample(rows) if rows.len() == 2));
    }

    #[test]
    fn equal_cost_means_other_numbers_of_trajectories() {
        let text = "forwards = 12000\n[base]\nbatch = 1\n[grid]\nsubsteps = [2, 4]";
        let plan = plan(text);
        let card: Card = serde_json::from_value(json!({
            "format": 1, "kind": "teacher", "sigma-data": 0.5, "trained-on": 0, "version": "0",
            "recipe": {}, "parent": null,
            "network": fewstep::network::NetworkConfig::SongUnet(Default::default()),
            "sampling": plan_sampling(),
        }))
        .unwrap();
        let costs = plan.trials.iter().map(|trial| {
            let recipe = plan
                .at_cost(Box::new(recipe(trial).clone()), &card)
                .unwrap();
            (recipe.trajectories, recipe.cost(&card).unwrap().forwards())
        });
        let costs: Vec<_> = costs.collect();
        // Teacher 3 x substeps calls, student 2 steps of 3.
        assert_eq!(costs, [(1000, 12_000), (667, 12_006)]);
    }

    fn plan_sampling() -> Json {
        serde_json::to_value(Recipe::default().sampling()).unwrap()
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in [
            ("", "nothing to compare"),
            ("[grid]\nsubsteps = 3", "not a list"),
            ("[grid]\nsubstep = [3]", "substep"),
            ("[grid]\nsubsteps = [0]", "substeps"),
            ("[grid]\nseed = [1, 2]", "seeds"),
            ("seeds = []\n[grid]\nsubsteps = [2]", "seeds"),
            ("[[run]]\nname = 'a b'\n[[run]]\nname = 'a-b'", "a-b"),
            ("[[run]]\nname = 'a'\nafter = 'b'", "no such run"),
            ("imges = 3", "imges"),
        ] {
            let error = one_line(&Plan::parse("x", &format!("{HEAD}{text}")).unwrap_err());
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
