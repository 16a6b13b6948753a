//! One run of a sweep: trained, sampled from and measured.

use super::curve;
use super::gauge::Gauge;
use super::measured::{Identity, Measured, Sample};
use super::setup::Sweep;
use super::trial::{Trial, Work};
use crate::model::latent::Parts;
use crate::run::distillation::{Conduct, PRODUCT, Start};
use crate::run::drive::{Outcome, Tick};
use crate::run::folder::{Folder, Policy};
use fewstep::adapter::read_student;
use fewstep::distill::{Recipe, Resolved, direction_cosines};
use fewstep::model::{Model, Sampling};
use std::time::Instant;

/// Points of a training curve.
const TICKS: u64 = 20;

/// A student that is done.
struct Trained {
    student: Model,
    /// SHA-256 of its file.
    hash: String,
    teacher: Model,
    recipe: Resolved,
    /// Of training.
    seconds: f64,
    /// Held until it is measured.
    _folder: Folder,
}

impl Sweep<'_> {
    /// What makes a result worth keeping.
    pub(super) fn identity(&self, trial: &Trial, seed: u64) -> anyhow::Result<Identity> {
        let (features, reference, latent) = match &self.gauge {
            Gauge::Images(by) => (by.features.hash.clone(), by.hash.clone(), None),
            Gauge::Latents(of) => (String::new(), String::new(), Some(of.facts().clone())),
        };
        Ok(Identity {
            work: self.plan.identity(trial, &self.teacher.card, seed)?,
            teacher: self.teacher_hash.clone(),
            features,
            reference,
            images: self.counts.images,
            pairs: self.counts.pairs,
            directions: self.plan.directions,
            latent,
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
                    let sampling = match &self.gauge {
                        Gauge::Images(_) => sampling,
                        Gauge::Latents(of) => of.sampling(sampling),
                    };
                    measured.samples.push(self.sample(&self.teacher, sampling)?);
                }
            }
            Work::Distil { evaluations, .. } => {
                let Some(trained) = self.distil(trial, seed)? else {
                    return Ok(None);
                };
                let student = &trained.student;
                measured.forwards = trained.recipe.cost(&trained.teacher.card)?.forwards();
                measured.seconds = trained.seconds;
                measured.curve = curve::read(&self.folder.join(trial.place(seed)))?;
                measured.directions = self.directions(&trained)?;
                let evaluations = match evaluations.as_slice() {
                    [] => vec![student.card.sampling.evaluations()?],
                    several => several.to_vec(),
                };
                for evaluations in evaluations {
                    let sampling = student.card.sampling_with(evaluations)?;
                    measured.samples.push(self.sample(student, sampling)?);
                }
            }
        }
        Ok(Some(measured))
    }

    /// Trains the student, or goes on with it, or finds that it is done; `None` if it was interrupted. A folder that holds
    /// a run of other settings is an error.
    fn distil(&self, trial: &Trial, seed: u64) -> anyhow::Result<Option<Trained>> {
        let Work::Distil { recipe, after, .. } = &trial.work else {
            return Ok(None);
        };
        let device = &self.context.device;
        let (teacher, hash) = match after {
            None => (self.teacher.clone(), self.teacher_hash.clone()),
            // Its result may be known without its file being there.
            Some(name) => match self.distil(self.plan.trial(name)?, seed)? {
                None => return Ok(None),
                Some(first) => (first.student, first.hash),
            },
        };
        let recipe = Recipe {
            seed,
            ..self.plan.at_cost(recipe.clone(), &teacher.card)?
        };
        let recipe = recipe.for_teacher(&teacher.card)?;
        let conduct = self.conduct(recipe.rounds());
        let path = self.folder.join(trial.place(seed));
        let none = Parts::default();
        let parts = match &self.gauge {
            Gauge::Images(_) => &none,
            Gauge::Latents(of) => of.parts()?,
        };
        let start = Start {
            recipe: recipe.clone(),
            teacher: teacher.clone(),
            hash: hash.clone(),
            file: None,
            perceptual: None,
            parts,
            cache: self.cache,
            path: &path,
        };
        let begun = Instant::now();
        let (outcome, folder) = start.run(conduct, self.context)?;
        if outcome != Outcome::Finished {
            return Ok(None);
        }
        let seconds = folder.seconds_before + begun.elapsed().as_secs_f64();
        let (student, hash) = read_student(&path.join(PRODUCT), (&teacher, &hash), device)?;
        Ok(Some(Trained {
            student,
            hash,
            teacher,
            recipe,
            seconds,
            _folder: folder,
        }))
    }

    /// The cosines of the student's directions to the teacher's, where the sweep wants them.
    fn directions(&self, trained: &Trained) -> anyhow::Result<Vec<[f64; 2]>> {
        if self.plan.directions == 0 {
            return Ok(Vec::new());
        }
        let (student, device) = (&trained.student, &self.context.device);
        // The levels may have been searched for.
        let recipe = Recipe {
            spacing: student.card.sampling.spacing.clone(),
            ..Recipe::clone(&trained.recipe)
        };
        let trajectories = self.plan.directions;
        let found = direction_cosines(student, &recipe, &trained.teacher, trajectories, device)?;
        Ok(found)
    }

    /// Regular metrics, so that runs can be compared along the way.
    fn conduct(&self, rounds: u64) -> Conduct<'_> {
        let policy = Policy {
            resume: !self.overwrite,
            overwrite: self.overwrite,
        };
        let mut conduct = Conduct::plain(policy, Tick::Rounds(rounds.div_ceil(TICKS).max(1)));
        // Of latents they would take a good part of a short run.
        conduct.options.previews = matches!(self.gauge, Gauge::Images(_));
        conduct
    }

    fn sample(&self, model: &Model, sampling: Sampling) -> anyhow::Result<Sample> {
        let (teacher, of) = (&self.teacher, (model, sampling));
        self.gauge.sample(teacher, of, self.counts, self.context)
    }
}
