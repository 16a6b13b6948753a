//! The student's way through one round, micro-batch by micro-batch.

use super::part::{MicroBatch, slice};
use super::{Distiller, Target};
use crate::Images;
use crate::denoiser::Condition;
use crate::group::turns;
use crate::network::{Dropout, Gathered, add_gradients, join_gradients};
use crate::sampler::Trajectory;
use crate::solver::{Evaluation, Step};
use crate::transfer;
use std::ops::Range;

impl Distiller {
    /// The batch in parts, each at its noise: of each [turn](turns) the one that this process computes.
    pub(super) fn split(&self, start: &Images, condition: &Condition) -> Vec<Option<MicroBatch>> {
        let part = |samples: Range<usize>| MicroBatch {
            condition: condition.samples(&samples),
            images: slice(start, &samples),
            starts: Vec::new(),
            said: Vec::new(),
            samples,
        };
        let ranges = self.recipe.parts(start.dims()[0]);
        let turns = turns(self.group.as_ref(), ranges).into_iter();
        turns.map(|samples| samples.map(part)).collect()
    }

    /// Moves one part along step `index`. Returns its share of the batch's mean distance; if the step is trained, and the
    /// distance finite, adds the gradients to `sum`.
    pub(super) fn step(
        &self,
        part: &mut MicroBatch,
        target: &Trajectory,
        index: usize,
        sum: &mut Option<Vec<Gathered>>,
    ) -> f64 {
        let recipe = &self.recipe;
        let levels = target.grid.levels();
        let batch = target.states[0].dims()[0];
        let last = index + 2 == levels.len();
        let goal = slice(&target.states[index + 1], &part.samples);
        if recipe.target == Target::Local {
            part.images = slice(&target.states[index], &part.samples);
        }
        part.starts.push(part.images.clone());
        let analytic = index == 0 && recipe.analytic_first_step;
        let mut calls = Vec::new();
        let images = if analytic {
            let now = Evaluation::analytic(part.images.clone(), levels[0]);
            let end = (self.solver).step(&mut |images, _| images, &[], &now, Step::of(levels, 0));
            self.remember(part, now);
            end
        } else if recipe.gradient_checkpointing {
            // Recorded by hand; what follows is recorded from here on.
            let images;
            (images, calls) = self.record(part, levels, index);
            images.autodiff().require_grad()
        } else {
            self.walk(part, levels, index)
        };
        let goal = if analytic { goal } else { goal.autodiff() };
        let distance = self.criterion.sum(images.clone(), goal, last);
        let distance = distance.div_scalar(batch as f64);
        let value = transfer::number(distance.clone());
        let weight = recipe.weight_of(index);
        if !analytic && weight > 0.0 && value.is_finite() {
            let loss = match weight {
                1.0 => distance,
                other => distance.mul_scalar(other),
            };
            let mut found = loss.backward();
            match images.grad_remove(&mut found) {
                // Those of several steps are added up first: a sum over parts is one of whole parts.
                Some(gradient) if calls.len() > 1 && sum.is_some() => {
                    let mut more = None;
                    self.replay(part, calls, gradient, &mut more);
                    join_gradients(sum, more);
                }
                Some(gradient) if recipe.gradient_checkpointing => {
                    self.replay(part, calls, gradient, sum);
                }
                _ => add_gradients(&self.student().network, &mut found, sum),
            }
        }
        part.images = images.without_autodiff();
        value
    }

    /// The end of step `index`, recorded from the start of the earliest step that the gradient goes through.
    fn walk(&self, part: &mut MicroBatch, levels: &[f64], index: usize) -> Images {
        let first = self.first_step(index);
        let mut images = part.starts[first].clone().autodiff();
        let known = self.remembered(part.said_before(first)).iter();
        let mut past: Vec<_> = known.map(|e| e.clone().map(Images::autodiff)).collect();
        for index in first..=index {
            let step = Step::of(levels, index);
            let dropout = self.dropout(part, index);
            let mut denoise = |images: Images, sigma: f64| {
                self.student()
                    .denoise_each(images, &[sigma], &part.condition, dropout.as_ref())
            };
            let now = Evaluation::of(&mut denoise, images, step.from);
            images = (self.solver).step(&mut denoise, self.remembered(&past), &now, step);
            past.push(now);
        }
        if let Some(now) = past.pop() {
            self.remember(part, now.map(Images::without_autodiff));
        }
        images
    }

    /// Keeps what the student said, where its solver will want it.
    pub(super) fn remember(&self, part: &mut MicroBatch, said: Evaluation) {
        if self.solver.history() > 0 {
            part.said.push(said);
        }
    }

    /// The evaluations that a step goes on from, as the sampler keeps them.
    pub(super) fn remembered<'a>(&self, said: &'a [Evaluation]) -> &'a [Evaluation] {
        &said[said.len().saturating_sub(self.solver.history())..]
    }

    /// The earliest step that the gradient of step `index` goes through.
    pub(super) fn first_step(&self, index: usize) -> usize {
        let free = usize::from(self.recipe.analytic_first_step);
        let first = (index + 1).saturating_sub(self.recipe.gradient_steps);
        first.max(free)
    }

    /// Each step of a round draws its own masks; a step that is taken again has them again.
    pub(super) fn dropout(&self, part: &MicroBatch, index: usize) -> Option<Dropout> {
        let first = part.samples.start as u64;
        let draw = || Dropout::new(self.recipe.seed, self.round, first, (index as u64) << 32);
        self.recipe.student_dropout.then(draw)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::denoiser::Preconditioned;
    use crate::distill::{Recipe, TrajectorySource};
    use crate::model::{Card, Kind, Model};
    use crate::network::law::filled;
    use crate::network::{NetworkConfig, SongUNetConfig, gradients};
    use crate::sampler::Sampler;
    use crate::solver::SolverConfig;
    use burn::module::Module;
    use burn::tensor::{DType, Device};

    /// An updating step as small as nothing: a round then shows the gradients at one and the same weights.
    const STILL: f64 = 1e-30;

    pub(in crate::distill) fn teacher() -> Model {
        let config = NetworkConfig::SongUnet(SongUNetConfig {
            resolution: 8,
            channels: 1,
            classes: 0,
            model_channels: 8,
            channel_multipliers: vec![1, 2],
            blocks: 1,
            attention_resolutions: vec![4],
            augment_labels: 0,
            dropout: 0.0,
            step_branch: false,
            ..SongUNetConfig::default()
        });
        let network = filled(&config, 8);
        Model {
            card: Card {
                format: 1,
                kind: Kind::Teacher,
                network: config,
                answer: 0.5.into(),
                sampling: Recipe::default().sampling(),
                recipe: serde_json::Value::Null,
                trained_on: 0,
                class_names: Vec::new(),
                adapter: None,
                parent: None,
                version: String::new(),
            },
            network,
            compute: DType::F32,
        }
    }

    /// Gradients (all parameters in one row, if there are any) and distance of each step of the first round.
    fn round(recipe: Recipe) -> (Vec<Option<Vec<f32>>>, Vec<f64>) {
        let recipe = Recipe {
            seed: 4,
            batch: 3,
            learning_rate: STILL,
            ..recipe
        };
        let (teacher, device) = (teacher(), Device::flex());
        let recipe = recipe.for_teacher(&teacher.card).unwrap();
        let source = TrajectorySource::new(&recipe, &teacher, &device).unwrap();
        let mut student = Distiller::new(recipe.clone(), &teacher, String::new(), &device).unwrap();
        let (target, condition) = source.round(0).unwrap();
        let mut found = Vec::new();
        let round = student.round_with(&target, &condition, &mut |report| {
            found.push(report.gradients.map(flat));
        });
        (found, round.unwrap().distances)
    }

    fn flat(gathered: &[Gathered]) -> Vec<f32> {
        let all = gathered.iter().filter_map(|g| g.tensor.clone());
        all.flat_map(|t| t.into_data_dtype(DType::F32).try_to_vec::<f32>().unwrap())
            .collect()
    }

    /// The same by hand: distance and gradients of walking from state `from` of the teacher's path, or of the
    /// student's own, to level `to`, all of it recorded.
    fn by_hand(local: bool, from: usize, to: usize) -> (Vec<f32>, f64) {
        let recipe = Recipe {
            seed: 4,
            batch: 3,
            ..Recipe::default()
        };
        let (teacher, device) = (teacher(), Device::flex());
        let recipe = recipe.for_teacher(&teacher.card).unwrap();
        let source = TrajectorySource::new(&recipe, &teacher, &device).unwrap();
        let (target, condition) = source.round(0).unwrap();
        let levels = target.grid.levels();
        let student = Preconditioned {
            network: (teacher.network.clone())
                .to_device(&device.autodiff())
                .train(),
            ..teacher.denoiser()
        };
        let walk = |mut x: Images, steps: Range<usize>| {
            for i in steps {
                let slope = match i {
                    0 => x.clone().div_scalar((1.0 + levels[0] * levels[0]).sqrt()),
                    _ => {
                        let denoised =
                            student.denoise_each(x.clone(), &[levels[i]], &condition, None);
                        (x.clone() - denoised).div_scalar(levels[i])
                    }
                };
                x = x + slope.mul_scalar(levels[i + 1] - levels[i]);
            }
            x
        };
        let start = match local {
            true => target.states[from].clone(),
            false => walk(target.states[0].clone().autodiff(), 0..from).without_autodiff(),
        };
        let end = walk(start.autodiff(), from..to);
        let goal = target.states[to].clone().autodiff();
        let loss = (end - goal).abs().sum().div_scalar(3.0);
        let value = loss.clone().into_scalar::<f64>();
        (flat(&gradients(&student.network, &loss.backward())), value)
    }

    fn assert_close(got: &[f32], want: &[f32]) {
        assert_eq!(got.len(), want.len());
        let norm = |values: &mut dyn Iterator<Item = f32>| {
            values.map(|v| f64::from(v * v)).sum::<f64>().sqrt()
        };
        let off = norm(&mut got.iter().zip(want).map(|(g, w)| g - w));
        let size = norm(&mut want.iter().copied());
        // The two differ in the order of a few multiplications in f32.
        assert!(off < 1e-4 * size && size > 0.0, "{off} of {size}");
    }

    fn far(got: &[f32], want: &[f32]) -> bool {
        let off: f32 = got.iter().zip(want).map(|(g, w)| (g - w).abs()).sum();
        off > 0.01 * want.iter().map(|w| w.abs()).sum::<f32>()
    }

    #[test]
    fn own_path_and_local_targets_start_where_they_say() {
        let (own, own_distances) = round(Recipe::default());
        let local = Recipe {
            target: Target::Local,
            ..Recipe::default()
        };
        let (local, local_distances) = round(local);
        assert!(own[0].is_none() && local[0].is_none());
        assert_eq!(own_distances[0], local_distances[0]);
        for step in [1, 2] {
            for (local, found, distances) in [
                (false, &own, &own_distances),
                (true, &local, &local_distances),
            ] {
                let (gradient, distance) = by_hand(local, step, step + 1);
                assert!((distances[step] / distance - 1.0).abs() < 1e-5);
                assert_close(found[step].as_ref().unwrap(), &gradient);
            }
        }
        assert!(far(own[2].as_ref().unwrap(), local[2].as_ref().unwrap()));
    }

    #[test]
    fn a_gradient_goes_through_as_many_steps_as_it_is_told() {
        let (one, _) = round(Recipe::default());
        let (two, distances) = round(Recipe {
            gradient_steps: 2,
            ..Recipe::default()
        });
        // The step before step 1 is analytical, so there is nothing more to go through.
        assert_eq!(one[1], two[1]);
        let (gradient, distance) = by_hand(false, 1, 3);
        assert!((distances[2] / distance - 1.0).abs() < 1e-5);
        assert_close(two[2].as_ref().unwrap(), &gradient);
        assert!(far(one[2].as_ref().unwrap(), two[2].as_ref().unwrap()));
        let (more, _) = round(Recipe {
            gradient_steps: 9,
            ..Recipe::default()
        });
        assert_eq!(more, two);
    }

    /// Where the student is after each step of the first round, and the gradients of the last.
    fn ends(recipe: &Recipe) -> (Vec<Images>, Vec<f32>) {
        let (teacher, device) = (teacher(), Device::flex());
        let recipe = recipe.for_teacher(&teacher.card).unwrap();
        let source = TrajectorySource::new(&recipe, &teacher, &device).unwrap();
        let mut student = Distiller::new(recipe.clone(), &teacher, String::new(), &device).unwrap();
        let (target, condition) = source.round(0).unwrap();
        let (mut ends, mut last) = (vec![target.states[0].clone()], Vec::new());
        let mut report = |report: crate::distill::StepReport<'_>| {
            ends.push((report.images)());
            last = report.gradients.map(flat).unwrap_or_default();
        };
        student
            .round_with(&target, &condition, &mut report)
            .unwrap();
        (ends, last)
    }

    #[test]
    fn a_student_walks_in_training_as_it_is_sampled_with_any_solver() {
        for solver in [
            SolverConfig::Euler {},
            SolverConfig::Ipndm { order: 2 },
            toml::from_str("kind = 'deis'\norder = 3").unwrap(),
            SolverConfig::default(),
        ] {
            let recipe = |steps: usize, gradient_checkpointing| Recipe {
                seed: 4,
                batch: 3,
                micro_batch: Some(2),
                steps: 4,
                learning_rate: STILL,
                student_solver: solver,
                student_dropout: false,
                gradient_steps: steps,
                gradient_checkpointing,
                ..Recipe::default()
            };
            let (ends, gradient) = ends(&recipe(1, false));
            let model = teacher();
            let sampling = recipe(1, false).sampling();
            let (method, grid) = (sampling.solver.build().unwrap(), sampling.grid().unwrap());
            let sampler = Sampler {
                denoiser: &model.denoiser(),
                solver: method.as_ref(),
                grid: &grid,
                analytic_first_step: true,
                denoise_to_zero: false,
            };
            let walked = sampler.trajectory(ends[0].clone(), &Condition::default());
            for (trained, sampled) in ends.iter().zip(&walked.states) {
                let values = |x: &Images| x.to_data().try_to_vec::<f32>().unwrap();
                assert_close(&values(trained), &values(sampled));
            }
            let (_, checkpointed) = self::ends(&recipe(1, true));
            assert_close(&checkpointed, &gradient);
            let (_, further) = self::ends(&recipe(2, false));
            assert!(far(&further, &gradient), "{solver}");
        }
    }

    #[test]
    fn weights_scale_gradients_and_leave_distances() {
        let (plain, distances) = round(Recipe::default());
        let (weighted, same) = round(Recipe {
            step_weights: Some(vec![1.0, 0.0, 4.0]),
            ..Recipe::default()
        });
        assert_eq!(distances, same);
        assert!(weighted[1].is_none(), "a step with weight 0 is not trained");
        let four: Vec<f32> = plain[2].as_ref().unwrap().iter().map(|g| 4.0 * g).collect();
        assert_eq!(weighted[2].as_ref().unwrap(), &four);
    }
}
