//! The official way to an analytical first step: found without one, then a level is put in front.

use crate::denoiser::Condition;
use crate::grid::SigmaGrid;
use crate::sampler::Sampler;
use crate::{Error, Images};

/// Puts the one level behind the first with which `sampler`, on the given points of the `fine` grid, ends nearest to
/// `goal` (mean Euclidean distance over the images). What [`ScheduleSearch`](super::ScheduleSearch) does instead is to
/// price the analytical slope of the first jump itself. Nothing is inserted where no level of the fine grid lies between
/// the first two points.
///
/// `sampler` says model, method and whether the first step is analytical; its grid is not used. `start` and `goal`:
/// `[batch, channels, height, width]`, at the first and the last level.
///
/// # Errors
/// [`Error::InvalidValue`] if `indices` are no increasing points of the fine grid.
pub fn insert_first_step(
    sampler: &Sampler<'_>,
    fine: &SigmaGrid,
    indices: &[usize],
    start: &Images,
    goal: &Images,
    condition: &Condition,
) -> Result<Vec<usize>, Error> {
    let levels = fine.levels();
    if indices.len() < 2 || indices.iter().any(|i| *i >= levels.len()) {
        let expected = format!("at least two of 0 to {}", levels.len() - 1);
        return Err(Error::invalid("points", format!("{indices:?}"), expected));
    }
    let mut best: Option<(f64, Vec<usize>)> = None;
    for point in indices[0] + 1..indices[1] {
        let mut candidate = indices.to_vec();
        candidate.insert(1, point);
        let chosen = candidate.iter().map(|i| levels[*i]).collect();
        let grid = SigmaGrid::new(chosen)?;
        let sampler = Sampler {
            grid: &grid,
            ..*sampler
        };
        let end = sampler.sample(start.clone(), condition);
        let distance = mean_distance(&end, goal);
        if best.as_ref().is_none_or(|(least, _)| distance < *least) {
            best = Some((distance, candidate));
        }
    }
    Ok(best.map_or_else(|| indices.to_vec(), |(_, points)| points))
}

/// The mean over the images of their Euclidean distance.
fn mean_distance(images: &Images, others: &Images) -> f64 {
    let difference = images.clone() - others.clone();
    let data = difference.to_data();
    let values: Vec<f64> = data.iter::<f64>().collect();
    let images = images.dims()[0];
    let size = (values.len() / images.max(1)).max(1);
    let each = values.chunks(size);
    let norms = each.map(|image| image.iter().map(|v| v * v).sum::<f64>().sqrt());
    norms.sum::<f64>() / images as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denoiser::Gaussian;
    use crate::solver::Euler;
    use burn::tensor::{DType, Device, Tensor};

    #[test]
    fn the_best_level_is_put_in_front() {
        let options = (&Device::flex(), DType::F64);
        let mean = Tensor::<4>::full([1, 1, 1, 2], 0.4, options);
        let denoiser = Gaussian::new(mean, 0.3).unwrap();
        let start = Tensor::<1>::from_data([90.0, -50.0].as_slice(), options).reshape([1, 1, 1, 2]);
        let goal = denoiser.flow(start.clone(), 80.0, 0.01);
        let fine = SigmaGrid::new(vec![80.0, 40.0, 20.0, 10.0, 5.0, 1.0, 0.01]).unwrap();
        let sampler = Sampler {
            denoiser: &denoiser,
            solver: &Euler,
            grid: &fine,
            analytic_first_step: true,
            denoise_to_zero: false,
        };
        let insert = |indices: &[usize]| {
            let condition = Condition::default();
            insert_first_step(&sampler, &fine, indices, &start, &goal, &condition)
        };
        let found = insert(&[0, 5, 6]).unwrap();
        let distance = |indices: &[usize]| {
            let levels = indices.iter().map(|i| fine.levels()[*i]).collect();
            let grid = SigmaGrid::new(levels).unwrap();
            let sampler = Sampler {
                grid: &grid,
                ..sampler
            };
            mean_distance(&sampler.sample(start.clone(), &Condition::default()), &goal)
        };
        for point in 1..5 {
            assert!(distance(&found) <= distance(&[0, point, 5, 6]));
        }
        assert_eq!((found.len(), found[0], &found[2..]), (4, 0, &[5, 6][..]));
        assert_eq!(insert(&[0, 1, 6]).unwrap(), [0, 1, 6]);
        assert!(insert(&[0]).is_err() && insert(&[0, 9]).is_err());
    }
}
