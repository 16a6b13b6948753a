//! How well a student's single steps point where the teacher goes.

use super::{Recipe, TrajectorySource};
use crate::denoiser::{Condition, Denoiser};
use crate::model::Model;
use crate::{Error, Images};
use burn::tensor::Device;

/// The seed of the trajectories that are looked at, where a run's own is `seed`: others than those it is trained on.
const OTHER: u64 = 0x5eed_d1ec;

/// At each level from which the student calls its network, the level and the mean cosine between the direction of one
/// student step, started *on the teacher's trajectory*, and the teacher's way from there to the next level. 1 is
/// perfect; `trajectories` (rounded up to whole batches of the recipe) are looked at. [SFD Fig. 3]
///
/// # Errors
/// Those of [`Recipe::for_teacher`] and of [`TrajectorySource::new`].
pub fn direction_cosines(
    student: &Model,
    recipe: &Recipe,
    teacher: &Model,
    trajectories: u64,
    device: &Device,
) -> Result<Vec<[f64; 2]>, Error> {
    let recipe = Recipe {
        seed: recipe.seed ^ OTHER,
        reuse: 1,
        variable_steps: None,
        ..recipe.clone()
    };
    let recipe = recipe.for_teacher(&teacher.card)?;
    let source = TrajectorySource::new(&recipe, teacher, device)?;
    let first = usize::from(recipe.analytic_first_step);
    let sampling = &student.card.sampling;
    let told = sampling.step_condition.then_some(recipe.steps + 1);
    let walker = student.denoiser();
    let mut sums = vec![0.0; recipe.steps - first];
    let mut images = 0;
    for round in 0..trajectories.div_ceil(recipe.batch as u64).max(1) {
        let (target, condition) = source.round(round)?;
        let condition = Condition {
            steps: told,
            ..condition
        };
        let levels = target.grid.levels();
        for (sum, at) in sums.iter_mut().zip(first..) {
            let (from, to) = (&target.states[at], &target.states[at + 1]);
            let denoised = walker.denoise(from.clone(), levels[at], &condition);
            *sum += cosines(from.clone() - denoised, from.clone() - to.clone());
        }
        images += recipe.batch;
    }
    let grid = recipe.sampling().grid()?;
    let levels = grid.levels().iter().skip(first);
    let mean = |(level, sum): (&f64, &f64)| [*level, sum / images as f64];
    Ok(levels.zip(&sums).map(mean).collect())
}

/// The sum over the batch of the cosine between two images.
fn cosines(a: Images, b: Images) -> f64 {
    let dot = |a: Images, b: Images| (a * b).sum_dims(&[1, 2, 3]);
    let lengths = dot(a.clone(), a.clone()) * dot(b.clone(), b.clone());
    (dot(a, b) / lengths.sqrt()).sum().into_scalar::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distill::rollout::tests::teacher;
    use crate::solver::SolverConfig;
    use burn::tensor::Tensor;

    #[test]
    fn a_teacher_that_takes_the_same_steps_is_followed_exactly() {
        let teacher = teacher();
        let cosines = |substeps: usize| {
            let recipe = Recipe {
                batch: 4,
                substeps,
                teacher_solver: SolverConfig::Euler {},
                ..Recipe::default()
            };
            direction_cosines(&teacher, &recipe, &teacher, 6, &Device::flex()).unwrap()
        };
        let same = cosines(1);
        assert_eq!(same.len(), 2);
        assert!(same[0][0] > same[1][0], "{same:?}");
        for [level, cosine] in same {
            assert!((cosine - 1.0).abs() < 1e-5, "{level}: {cosine}");
        }
        let finer = cosines(4);
        assert!(
            finer.iter().all(|[_, cosine]| *cosine < 1.0 - 1e-5),
            "{finer:?}"
        );
    }

    #[test]
    fn a_cosine_is_one_for_the_same_and_none_for_a_right_angle() {
        let image = |values: [f32; 4]| {
            Tensor::<1>::from_floats(values, &Device::flex()).reshape([2, 1, 1, 2])
        };
        let a = image([1.0, 0.0, 3.0, 4.0]);
        assert!((cosines(a.clone(), a.clone() * 2.0) - 2.0).abs() < 1e-6);
        // The first is at a right angle, the second points back.
        assert!((cosines(a, image([0.0, 5.0, -3.0, -4.0])) + 1.0).abs() < 1e-6);
    }
}
