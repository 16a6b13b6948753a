//! The teacher's trajectories of a round.

use super::cache::Key;
use super::part::slice;
use super::share::whole;
use super::{Recipe, Resolved, TrajectoryCache};
use crate::denoiser::{Condition, Contexts, Guided, Preconditioned, draw_round};
use crate::group::{Alone, Group, computes, first};
use crate::model::Model;
use crate::network::Precision;
use crate::sampler::{Sampler, Trajectory};
use crate::{Error, Images};
use burn::tensor::{Device, Tensor};
use fewstep_kernels::Frozen;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Draws noise, classes and texts of a round and solves the teacher's ODE from there. [SFD Alg. 2, lines 2-3]
#[derive(Debug)]
pub struct TrajectorySource {
    denoiser: Guided<Preconditioned>,
    recipe: Resolved,
    device: Device,
    /// What a teacher that takes a text is told, and the hash of it.
    contexts: Option<(Contexts, String)>,
    /// Where trajectories are kept between runs.
    cache: Option<TrajectoryCache>,
    group: Arc<dyn Group>,
    /// What a cache says of the device.
    place: String,
    /// The teacher does not change.
    _frozen: Frozen,
    /// The newest draw, and the next if it is prepared: a cache, which no result depends on.
    known: Mutex<Vec<Draw>>,
}

/// The trajectories of one or more rounds.
#[derive(Clone, Debug)]
struct Draw {
    number: u64,
    target: Trajectory,
    condition: Condition,
}

impl TrajectorySource {
    /// A source for one run.
    ///
    /// # Errors
    /// [`Error::Incompatible`] for another teacher than the recipe was resolved for or a device without its types, and those of
    /// [`Recipe::teacher_grid`].
    pub fn new(recipe: &Resolved, teacher: &Model, device: &Device) -> Result<Self, Error> {
        recipe.check_teacher(teacher)?;
        recipe.check_device(device)?;
        recipe.teacher_grid(recipe.steps)?;
        let denoiser = recipe.teacher(teacher)?.denoiser();
        let frozen = denoiser.network.frozen_weights();
        Ok(Self {
            denoiser: Guided {
                denoiser,
                weight: recipe.teacher_guidance,
            },
            recipe: recipe.clone(),
            device: device.clone().inner(),
            contexts: None,
            cache: None,
            group: Arc::new(Alone),
            place: format!("{:?}", device.clone().inner()),
            _frozen: frozen,
            known: Mutex::default(),
        })
    }

    /// Gives texts to a teacher that takes them: each trajectory draws one.
    ///
    /// # Errors
    /// [`Error::Incompatible`] if the teacher takes no text or one of another width, if it is guided and there is no
    /// text to move away from, or if the recipe names [other texts](Recipe::prompts).
    pub fn with_contexts(self, contexts: Contexts) -> Result<Self, Error> {
        let contexts = self.recipe.sized(contexts)?;
        self.recipe.check_texts(&contexts)?;
        let digest = contexts.digest();
        Ok(Self {
            contexts: Some((contexts, digest)),
            ..self
        })
    }

    /// Takes trajectories from a folder where they are there, and keeps them there where they are not.
    #[must_use]
    pub fn with_cache(self, cache: TrajectoryCache) -> Self {
        Self {
            cache: Some(cache),
            ..self
        }
    }

    /// Makes it the source of one of several processes that distil the same student. Each solves the trajectories of its own
    /// micro-batches; in what it gives, the states of the others' are zero, unless they come from a cache. In a cache are the
    /// same files as those of one process, each written by process 0 when all of its samples are there.
    ///
    /// # Errors
    /// [`Error::Group`] if one of them is gone.
    pub fn with_group(self, group: Arc<dyn Group>) -> Result<Self, Error> {
        // Each may have another card of the same kind; one name is enough.
        let place = first(group.as_ref(), self.place.as_bytes())?;
        Ok(Self {
            place: String::from_utf8_lossy(&place).into_owned(),
            group,
            ..self
        })
    }

    /// The folder of trajectories, if there is one.
    pub fn cache(&self) -> Option<&TrajectoryCache> {
        self.cache.as_ref()
    }

    /// Batches of trajectories in the whole run, how many of them the cache has, and the bytes of all in a cache
    /// (without the headers of its files, some 1000 each).
    ///
    /// # Errors
    /// None for a recipe that passed its check.
    pub fn cached(&self) -> Result<Cached, Error> {
        let recipe = &self.recipe;
        let mut cached = Cached::default();
        for draw in 0..recipe.rounds().div_ceil(recipe.reuse.max(1)) {
            let key = self.key(draw, recipe.steps_at(draw * recipe.reuse.max(1)))?;
            let numbers = key.shape.iter().map(|n| *n as u64).product::<u64>();
            cached.batches += 1;
            cached.bytes += numbers * key.steps as u64 * key.kind.size();
            let there = self.cache.as_ref().is_some_and(|cache| cache.has(&key));
            cached.there += u64::from(there);
        }
        Ok(cached)
    }

    /// The settings.
    pub fn recipe(&self) -> &Resolved {
        &self.recipe
    }

    /// What the trajectories of a draw depend on.
    pub(super) fn key(&self, draw: u64, steps: usize) -> Result<Key, Error> {
        let recipe = &self.recipe;
        let sampling = recipe.teacher_sampling_of(steps);
        let [c, h, w] = self.recipe.teacher_card().network.image_shape();
        let shape = [recipe.batch, c, h, w];
        let mut json = serde_json::json!({
            "seed": recipe.seed,
            "draw": draw,
            "micro-batch": recipe.micro_batch.unwrap_or(recipe.batch).min(recipe.batch),
            "solver": sampling.solver,
            "levels": sampling.grid()?.levels(),
            "substeps": recipe.substeps,
            "analytic-first-step": sampling.analytic_first_step,
            "told-steps": sampling.told_steps(),
            "device": self.place,
        });
        if let Some((_, hash)) = &self.contexts {
            json["texts"] = hash.clone().into();
        }
        if recipe.teacher_guidance != 1.0 {
            json["guidance"] = recipe.teacher_guidance.into();
        }
        for (key, precision) in [
            ("teacher-precision", recipe.teacher_precision),
            ("compute-precision", recipe.compute_precision),
        ] {
            if precision != Precision::F32 {
                json[key] = format!("{precision:?}").into();
            }
        }
        Ok(Key {
            json,
            shape,
            steps,
            kind: recipe.trajectory_type,
        })
    }

    /// Calls of the teacher for one trajectory, while the student takes its usual number of steps.
    ///
    /// # Errors
    /// None for a recipe that passed its check.
    pub fn evaluations(&self) -> Result<usize, Error> {
        let recipe = &self.recipe;
        recipe.teacher_sampling_of(recipe.steps).evaluations()
    }

    /// The trajectory of a round on the student's grid, and the classes and texts that both are told; what they are told of the
    /// number of steps is their own affair. A function of (seed, round) alone.
    ///
    /// # Errors
    /// [`Error::Incompatible`] if the teacher takes a text and was given [none](Self::with_contexts), and what reading the
    /// texts gives.
    pub fn round(&self, round: u64) -> Result<(Trajectory, Condition), Error> {
        let number = self.recipe.trajectory_round(round);
        let wanted = number..=number + 1;
        self.known().retain(|draw| wanted.contains(&draw.number));
        let draw = self.known_or_drawn(round)?;
        Ok((draw.target, draw.condition))
    }

    /// Does the work of [`round`](Self::round) for a round to come, whose call then finds it done. Other rounds may be
    /// asked for meanwhile, by other threads.
    ///
    /// # Errors
    /// As [`round`](Self::round).
    pub fn prepare(&self, round: u64) -> Result<(), Error> {
        self.known_or_drawn(round).map(drop)
    }

    /// Whether [`Distiller::advance`](super::Distiller::advance) has trajectories solved beside other work: where there are
    /// several threads to share out, and the recipe does not save memory, of which two networks at work need more than one.
    /// A GPU is busy anyhow, and several processes wait for each other in one order only.
    pub fn looks_ahead(&self) -> bool {
        let recipe = &self.recipe;
        let saves = recipe.gradient_checkpointing || recipe.parts(recipe.batch).len() > 1;
        let alone = self.group.size() == 1;
        self.device == Device::flex() && rayon::current_num_threads() > 1 && !saves && alone
    }

    fn known(&self) -> MutexGuard<'_, Vec<Draw>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_or_drawn(&self, round: u64) -> Result<Draw, Error> {
        let number = self.recipe.trajectory_round(round);
        if let Some(draw) = self.known().iter().find(|draw| draw.number == number) {
            return Ok(draw.clone());
        }
        let draw = self.draw(round)?;
        self.known().push(draw.clone());
        Ok(draw)
    }

    fn draw(&self, round: u64) -> Result<Draw, Error> {
        let number = self.recipe.trajectory_round(round);
        let (start, condition) = self.start(number)?;
        let target = self.kept(start, &condition, number, self.recipe.steps_at(round))?;
        Ok(Draw {
            number,
            target,
            condition,
        })
    }

    /// Noise at the largest level, classes and texts of a draw.
    pub(super) fn start(&self, number: u64) -> Result<(Images, Condition), Error> {
        let recipe = &self.recipe;
        let samples = 0..recipe.batch as u64;
        let network = &self.recipe.teacher_card().network;
        let (shape, classes) = (network.image_shape(), network.classes());
        let (noise, condition) = draw_round(
            recipe.seed,
            number,
            samples.clone(),
            shape,
            classes,
            &self.device,
        )?;
        let condition = match (&self.contexts, network.context_width()) {
            (Some((contexts, _)), _) => {
                contexts.draw(condition, recipe.seed, number, samples, &self.device)?
            }
            (None, None) => condition,
            (None, Some(_)) => {
                return Err(Error::Incompatible {
                    first: "a teacher that takes a text".into(),
                    second: "no texts".into(),
                    remedy: "give the tokens of some prompts".into(),
                });
            }
        };
        Ok((noise.mul_scalar(recipe.sigma_max), condition))
    }

    /// The trajectories of a draw, from the cache if they are there.
    fn kept(
        &self,
        start: Images,
        condition: &Condition,
        draw: u64,
        steps: usize,
    ) -> Result<Trajectory, Error> {
        let Some(cache) = &self.cache else {
            return self.solve(start, condition, steps);
        };
        let key = self.key(draw, steps)?;
        let group = self.group.as_ref();
        let read = cache.read(&key, &self.device);
        // A file may come while they look; what the first has seen decides whether it is to be written.
        let there = first(group, &[u8::from(read.is_some())])? == [1];
        let target = match read {
            Some(states) => {
                let sampling = self.recipe.teacher_sampling_of(steps);
                Trajectory {
                    grid: sampling.grid()?.every(self.recipe.substeps)?,
                    states: std::iter::once(start).chain(states).collect(),
                }
            }
            None => self.solve(start, condition, steps)?,
        };
        if there {
            return Ok(target);
        }
        let parts = self.recipe.parts(self.recipe.batch);
        let target = whole(group, &parts, target)?;
        if group.rank() == 0 {
            cache.write(&key, &target.states[1..]);
        }
        Ok(target)
    }

    /// The teacher's trajectory from `start` (noise at the largest level), on the grid of a student with `steps` steps. Of
    /// samples that another process solves, the states are zero.
    pub(crate) fn solve(
        &self,
        start: Images,
        condition: &Condition,
        steps: usize,
    ) -> Result<Trajectory, Error> {
        let sampling = self.recipe.teacher_sampling_of(steps);
        let (solver, grid) = (sampling.solver.build()?, sampling.grid()?);
        let condition = Condition {
            steps: sampling.told_steps(),
            ..condition.clone()
        };
        let sampler = Sampler {
            denoiser: &self.denoiser,
            solver: solver.as_ref(),
            grid: &grid,
            analytic_first_step: sampling.analytic_first_step,
            denoise_to_zero: false,
        };
        let mut parts = Vec::new();
        let coarse = grid.every(self.recipe.substeps)?;
        for (i, samples) in self.recipe.parts(start.dims()[0]).iter().enumerate() {
            let start = slice(&start, samples);
            parts.push(if computes(self.group.as_ref(), i) {
                let fine = sampler.trajectory(start, &condition.samples(samples));
                fine.thin(self.recipe.substeps)?
            } else {
                let zeros = vec![start.zeros_like(); coarse.steps()];
                Trajectory {
                    grid: coarse.clone(),
                    states: std::iter::once(start).chain(zeros).collect(),
                }
            });
        }
        let mut whole = join(parts, coarse);
        let rounding = self.recipe.trajectory_type;
        for state in whole.states.iter_mut().skip(1) {
            *state = rounding.round(state.clone());
        }
        Ok(whole)
    }
}

/// What a cache has, or would have, of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cached {
    /// Batches of trajectories in the run.
    pub batches: u64,
    /// Those that are there.
    pub there: u64,
    /// Bytes of all.
    pub bytes: u64,
}

impl Recipe {
    /// The samples of a batch that are in memory together.
    pub(super) fn parts(&self, batch: usize) -> Vec<Range<usize>> {
        let size = self.micro_batch.unwrap_or(batch).min(batch).max(1);
        let firsts = (0..batch).step_by(size);
        firsts
            .map(|first| first..(first + size).min(batch))
            .collect()
    }
}

/// The trajectory of a whole batch.
fn join(mut parts: Vec<Trajectory>, grid: crate::grid::SigmaGrid) -> Trajectory {
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let states = (0..=grid.steps()).map(|i| {
        let part = parts.iter().map(|p| p.states[i].clone());
        Tensor::cat(part.collect(), 0)
    });
    Trajectory {
        states: states.collect(),
        grid,
    }
}
