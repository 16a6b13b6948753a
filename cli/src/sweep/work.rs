//! One run of a sweep: trained, sampled from and measured.

use super::Sweep;
use super::curve;
use super::measured::{Identity, Measured, Sample};
use super::plan::{Trial, Work};
use crate::args::RunArgs;
use crate::distill::{PRODUCT, Start};
use crate::generate::Generator;
use crate::latent::Parts;
use crate::measure::{apart, batches, draw};
use crate::run::{Outcome, Tick};
use anyhow::Context as _;
use fewstep::checkpoint::{Model, Sampling};
use fewstep::distill::{Recipe, direction_cosines};
use fewstep::import;
use fewstep::metric::frechet_distance;
use std::time::Instant;

/// Points of a training curve.
const TICKS: u64 = 20;

impl Sweep<'_> {
    /// What makes a result worth keeping.
    pub(super) fn identity(&self, trial: &Trial, seed: u64) -> anyhow::Result<Identity> {
        Ok(Identity {
            work: trial.identity(self.plan, &self.teacher.card, seed)?,
            teacher: self.teacher_hash.clone(),
            features: self.features.hash.clone(),
            reference_images: self.reference.count,
            images: self.plan.images,
            pairs: self.plan.pairs,
            directions: self.plan.directions,
        })
    }

    /// Trains if there is something to train, and measures; `None` if it was interrupted.
    pub(super) fn measure(
        &self,
        trial: &Trial,
        seed: u64,
        identity: Identity,
    ) -> anyhow::Result<Option<Measured>> {
        let mut measured = Measured {
            identity,
            samples: Vec::new(),
            directions: Vec::new(),
            curve: Vec::new(),
            forwards: 0,
            seconds: 0.0,
        };
        match &trial.work {
            Work::Sample(rows) => {
                for row in rows {
                    let sampling = row.apply(&self.teacher.card)?;
                    measured.samples.push(self.sample(&self.teacher, sampling)?);
                }
            }
            Work::Distil { evaluations, .. } => {
                let Some(student) = self.distil(trial, seed, &mut measured)? else {
                    return Ok(None);
                };
                measured.curve = curve::read(&self.folder.join(trial.place(seed)))?;
                let evaluations = match evaluations.as_slice() {
                    [] => vec![student.card.sampling.evaluations()?],
                    several => several.to_vec(),
                };
                for evaluations in evaluations {
                    let sampling = student.card.sampling_with(evaluations)?;
                    measured.samples.push(self.sample(&student, sampling)?);
                }
            }
        }
        Ok(Some(measured))
    }

    /// Trains the student, or goes on with it; `None` if it was interrupted.
    fn distil(
        &self,
        trial: &Trial,
        seed: u64,
        measured: &mut Measured,
    ) -> anyhow::Result<Option<Model>> {
        let Work::Distil { recipe, after, .. } = &trial.work else {
            return Ok(None);
        };
        let device = &self.context.device;
        let parent = match after {
            None => None,
            Some(name) => match self.parent(self.plan.trial(name)?, seed, measured)? {
                None => return Ok(None),
                parent => parent,
            },
        };
        let (teacher, hash) = match &parent {
            Some((model, hash)) => (model, hash),
            None => (&self.teacher, &self.teacher_hash),
        };
        let recipe = Recipe {
            seed,
            ..self.plan.at_cost(recipe.clone(), &teacher.card)?
        };
        let recipe = recipe.for_teacher(&teacher.card)?;
        measured.forwards = recipe.cost(&teacher.card)?.forwards();
        let args = self.run_args(recipe.rounds());
        let path = self.folder.join(trial.place(seed));
        let start = Start {
            recipe: recipe.clone(),
            teacher: teacher.clone(),
            hash: hash.clone(),
            perceptual: None,
            parts: Parts::default(),
            cache: self.cache,
            path: &path,
        };
        let begun = Instant::now();
        let (outcome, before) = start.run(&args, self.context)?;
        if outcome != Outcome::Finished {
            return Ok(None);
        }
        measured.seconds = before + begun.elapsed().as_secs_f64();
        let (student, _) = Model::read(&path.join(PRODUCT), device)?;
        if self.plan.directions > 0 {
            // The levels may have been searched for.
            let recipe = Recipe {
                spacing: student.card.sampling.spacing.clone(),
                ..recipe
            };
            let trajectories = self.plan.directions;
            measured.directions =
                direction_cosines(&student, &recipe, teacher, trajectories, device)?;
        }
        Ok(Some(student))
    }

    /// The student that another run starts from, and the hash of its file. It is trained if its file is not there, as when
    /// only its result is.
    fn parent(
        &self,
        trial: &Trial,
        seed: u64,
        scratch: &Measured,
    ) -> anyhow::Result<Option<(Model, String)>> {
        let file = self.folder.join(trial.place(seed)).join(PRODUCT);
        if !file.exists() && self.distil(trial, seed, &mut scratch.clone())?.is_none() {
            return Ok(None);
        }
        Ok(Some(import::open(&file, &self.context.device)?))
    }

    /// Regular metrics, so that runs can be compared along the way.
    fn run_args(&self, rounds: u64) -> RunArgs {
        RunArgs {
            out: None,
            set: Vec::new(),
            dry_run: false,
            resume: !self.overwrite,
            overwrite: self.overwrite,
            tick: Tick::Rounds(rounds.div_ceil(TICKS).max(1)),
            stop_after: None,
        }
    }

    fn sample(&self, model: &Model, sampling: Sampling) -> anyhow::Result<Sample> {
        let (device, reporter) = (&self.context.device, self.context.reporter);
        let generator = Generator::new(model, sampling, device)?;
        let seeds: Vec<u64> = (0..self.plan.images).collect();
        let drawn = draw(&generator, &seeds, &self.features, reporter)?;
        let pairs = &seeds[..self.plan.pairs.min(self.plan.images) as usize];
        if self.pairs.get().is_none() {
            let teacher = Generator::of(&self.teacher, device)?;
            let _ = self.pairs.set(batches(&teacher, pairs, reporter)?);
        }
        let theirs = self.pairs.get().context("the teacher's images")?;
        Ok(Sample {
            evaluations: generator.evaluations(),
            frechet: frechet_distance(&drawn, &self.reference)?,
            paired: apart(theirs, &generator, pairs)?.rms,
        })
    }
}
