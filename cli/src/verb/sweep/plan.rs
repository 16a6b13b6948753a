//! A sweep, checked, and the runs that it stands for.

use super::text::{Plot, Text};
use super::trial::{Trial, Work, slug};
use crate::model::latent::PartArgs;
use crate::model::sampling::SamplingArgs;
use crate::screen::failure::wrong;
use anyhow::Context as _;
use fewstep::distill::Recipe;
use fewstep::model::Card;
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Keys of a sweep that are for latent teachers.
#[derive(Clone, Debug, Default)]
pub struct Latent {
    /// The texts that trajectories and pictures are of.
    pub prompts: Option<PathBuf>,
    /// What not to show.
    pub negative: Option<String>,
    /// A folder that keeps embeddings.
    pub embeddings: Option<PathBuf>,
    /// Where autoencoder and text encoder are.
    pub parts: PartArgs,
    /// The CLIP model of CLIP scores.
    pub clip: Option<PathBuf>,
    /// Whether pictures are made and compared; if they can be, unless said.
    pub pixels: Option<bool>,
}

impl Latent {
    /// The first key that is said.
    pub fn said(&self) -> Option<&'static str> {
        let PartArgs {
            autoencoder,
            text_encoder,
            vocabulary,
        } = &self.parts;
        let keys = [
            (self.prompts.is_some(), "prompts"),
            (self.negative.is_some(), "negative"),
            (self.embeddings.is_some(), "embeddings"),
            (autoencoder.is_some(), "autoencoder"),
            (text_encoder.is_some(), "text-encoder"),
            (vocabulary.is_some(), "vocabulary"),
            (self.clip.is_some(), "clip"),
            (self.pixels.is_some(), "pixels"),
        ];
        keys.into_iter().find(|(said, _)| *said).map(|(_, key)| key)
    }
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
    /// Images behind each Frechet distance, if said.
    pub images: Option<u64>,
    /// Seeds on which students are compared with the teacher image by image, if said.
    pub pairs: Option<u64>,
    /// What a latent teacher is told, decoded and looked at with.
    pub latent: Latent,
    /// Trajectories on which the directions of single steps are compared with the teacher's; 0 for none.
    pub directions: u64,
    /// Network forwards for each training; the recipes' own trajectories if not given.
    forwards: Option<u64>,
    /// What is compared.
    pub trials: Vec<Trial>,
    /// What the picture shows.
    pub plot: Plot,
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
        let text = Text::read(text)?;
        let trials = text.trials()?;
        let plan = Self {
            name: name.into(),
            title: text.title,
            about: text.about,
            teacher: text.teacher,
            features: text.features,
            reference: text.reference,
            images: text.images,
            pairs: text.pairs,
            latent: Latent {
                prompts: text.prompts,
                negative: text.negative,
                embeddings: text.embeddings,
                parts: PartArgs {
                    autoencoder: text.autoencoder,
                    text_encoder: text.text_encoder,
                    vocabulary: text.vocabulary,
                },
                clip: text.clip,
                pixels: text.pixels,
            },
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
        if self.images.is_some_and(|n| n < 2) || self.pairs == Some(0) {
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
            let search = recipe.search_forwards()?;
            let cost = recipe.cost(teacher)?.forwards() - search;
            let counted = recipe.trajectories_after(recipe.rounds()) as f64;
            let left = forwards.saturating_sub(search) as f64;
            let wanted = left * counted / cost.max(1) as f64;
            recipe.trajectories = (wanted.round() as u64).max(1);
        }
        Ok(recipe)
    }

    /// What the result depends on, besides what the whole sweep shares. Names do not count: the same run in two sweeps
    /// has the same identity.
    pub fn identity(&self, trial: &Trial, teacher: &Card, seed: u64) -> anyhow::Result<Json> {
        Ok(match &trial.work {
            Work::Distil {
                recipe,
                evaluations,
                after,
            } => {
                // What a run costs after another one depends on that one's student, which is not there yet.
                let (recipe, forwards) = match after {
                    None => (self.at_cost(recipe.clone(), teacher)?, None),
                    Some(_) => ((**recipe).clone(), self.forwards),
                };
                let recipe = serde_json::to_value(recipe).context("cannot write the recipe")?;
                let after = match after {
                    None => Json::Null,
                    Some(name) => self.identity(self.trial(name)?, teacher, seed)?,
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::failure::one_line;

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
