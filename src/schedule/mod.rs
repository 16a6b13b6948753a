//! Searching for noise levels: which few points of a fine path give the best short one. [GITS Alg. 1]

mod cost;
mod insertion;

pub use cost::CostMatrix;
pub use insertion::insert_first_step;

use crate::denoiser::{Condition, Denoiser, draw_round};
use crate::grid::{JumpCost, Search, SigmaGrid};
use crate::sampler::Sampler;
use crate::solver::{Evaluation, Solver};
use crate::{Error, Images};
use burn::tensor::Device;
use cost::Path;

/// A search on a model. Its result depends on the fields alone; its noise is that of training, keyed by the seed, but of
/// a round that no run has.
#[derive(Clone, Copy)]
pub struct ScheduleSearch<'a> {
    /// The model.
    pub denoiser: &'a dyn Denoiser,
    /// `[channels, height, width]` of its images.
    pub image_shape: [usize; 3],
    /// Classes it knows; 0 for none.
    pub classes: usize,
    /// The method for the fine paths.
    pub solver: &'a dyn Solver,
    /// What to search for.
    pub search: &'a Search,
    /// Steps of the grid to find, an analytical first one included.
    pub steps: usize,
    /// Smallest level.
    pub sigma_min: f64,
    /// Largest level.
    pub sigma_max: f64,
    /// Whether the first step of the grid to find is taken with the analytical slope. The fine paths never are.
    pub analytic_first_step: bool,
    /// Seed of the noise.
    pub seed: u64,
    /// Where to compute.
    pub device: &'a Device,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The fine grid.
    pub fine: SigmaGrid,
    /// Which of its levels were chosen, the first and the last among them.
    pub indices: Vec<usize>,
    /// The chosen levels.
    pub grid: SigmaGrid,
    /// What a jump between any two levels of the fine grid costs.
    pub costs: CostMatrix,
}

/// The round whose noise a search sees. Runs count from 0 and never get here.
const ROUND: u64 = u64::MAX;

/// Paths computed at once: part of the result's last digits, so no setting.
const BATCH: usize = 32;

impl ScheduleSearch<'_> {
    /// Searches, and calls `report` with the number of paths after each batch of them.
    ///
    /// # Errors
    /// Those of [`Search::check`] and of the fine grid; [`Error::InvalidValue`] if there are more steps than
    /// candidates or if a cost is not finite; [`Error::Incompatible`] if the only step is an analytical one.
    pub fn run(&self, report: &mut dyn FnMut(usize)) -> Result<Schedule, Error> {
        let search = self.search;
        search.check()?;
        if self.analytic_first_step && self.steps == 1 {
            return Err(Error::Incompatible {
                first: "analytic-first-step = true".into(),
                second: "steps = 1".into(),
                remedy: "take at least 2 steps, or leave the analytical first step out: the model would never be called"
                    .into(),
            });
        }
        let fine = search
            .spacing
            .grid(search.candidates, self.sigma_min, self.sigma_max)?;
        let mut costs = CostMatrix::new(fine.levels().len());
        // Asked now, before the long part.
        costs.check_steps(self.steps)?;
        let sampler = Sampler {
            denoiser: self.denoiser,
            solver: self.solver,
            grid: &fine,
            analytic_first_step: false,
            denoise_to_zero: false,
        };
        let mut done = 0;
        while done < search.trajectories {
            let samples = done..(done + BATCH).min(search.trajectories);
            let keys = samples.start as u64..samples.end as u64;
            let (shape, classes) = (self.image_shape, self.classes);
            let (noise, condition) =
                draw_round(self.seed, ROUND, keys, shape, classes, self.device)?;
            let start = noise.mul_scalar(self.sigma_max);
            costs.add(&costs_of(
                &sampler,
                start,
                &condition,
                search.cost,
                self.analytic_first_step,
            ));
            done = samples.end;
            report(done);
        }
        let costs = costs.mean()?;
        let indices = costs.cheapest(self.steps, search.gamma)?;
        let levels = indices.iter().map(|i| fine.levels()[*i]).collect();
        Ok(Schedule {
            grid: SigmaGrid::new(levels)?,
            fine,
            indices,
            costs,
        })
    }
}

/// What all jumps cost along the paths of a batch, summed over its images. With `analytic_first_slope` the jumps from the
/// first point follow the analytical slope, whatever the path did.
pub(crate) fn costs_of(
    sampler: &Sampler<'_>,
    start: Images,
    condition: &Condition,
    cost: JumpCost,
    analytic_first_slope: bool,
) -> CostMatrix {
    let mut path = Path::new(sampler.grid.levels(), &start);
    sampler.walk(start, condition, &mut |step, now, images| {
        let slope = if step.index == 0 && analytic_first_slope {
            Evaluation::analytic(now.images.clone(), now.sigma).direction()
        } else {
            now.direction()
        };
        path.push(&slope, images);
    });
    path.costs(cost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denoiser::{Counted, Mixture};
    use crate::noise;
    use crate::solver::{Euler, Ipndm, SolverConfig};
    use burn::tensor::{DType, Tensor};

    fn mixture() -> Mixture {
        let means = [0.9, 0.1, -0.8, 0.4, -0.3, 0.7, 0.5, -0.9];
        let means = Tensor::<1>::from_data(means.as_slice(), (&Device::flex(), DType::F32));
        Mixture::new(&[0.5, 0.5], means.reshape([2, 1, 2, 2]), &[0.05, 0.1]).unwrap()
    }

    fn search(analytic_first_step: bool, settings: &Search, steps: usize) -> Schedule {
        let denoiser = Counted::new(mixture());
        let solver = Ipndm::new(4).unwrap();
        let mut reports = Vec::new();
        let search = ScheduleSearch {
            denoiser: &denoiser,
            image_shape: [1, 2, 2],
            classes: 0,
            solver: &solver,
            search: settings,
            steps,
            sigma_min: 0.006,
            sigma_max: 80.0,
            analytic_first_step,
            seed: 3,
            device: &Device::flex(),
        };
        let found = search.run(&mut |done| reports.push(done)).unwrap();
        let batches = settings.trajectories.div_ceil(BATCH);
        assert_eq!(reports.len(), batches);
        assert_eq!(reports.last(), Some(&settings.trajectories));
        assert_eq!(denoiser.calls(), batches * settings.candidates);
        found
    }

    #[test]
    fn a_found_grid_is_better_than_its_rule() {
        let settings = Search {
            cost: JumpCost::L2,
            trajectories: 40,
            ..Search::default()
        };
        let steps = 5;
        let found = search(false, &settings, steps);
        assert_eq!(found.grid.steps(), steps);
        assert_eq!(
            (found.grid.sigma_max(), found.grid.sigma_min()),
            (80.0, 0.006)
        );
        // Other noise than the search saw.
        let seeds: Vec<u64> = (0..200).collect();
        let start = noise::latents(&seeds, [1, 2, 2], &Device::flex()).mul_scalar(80.0);
        let denoiser = mixture();
        let end = |solver: &dyn Solver, grid: &SigmaGrid| {
            let sampler = Sampler {
                denoiser: &denoiser,
                solver,
                grid,
                analytic_first_step: false,
                denoise_to_zero: false,
            };
            sampler.sample(start.clone(), &Condition::default())
        };
        let rule = settings.spacing.grid(steps, 0.006, 80.0).unwrap();
        let exact = settings.spacing.grid(400, 0.006, 80.0).unwrap();
        let exact = end(SolverConfig::Heun {}.build().unwrap().as_ref(), &exact);
        let error = |grid: &SigmaGrid| -> f64 {
            let difference = end(&Euler, grid) - exact.clone();
            difference.abs().mean().into_scalar()
        };
        let (searched, ruled) = (error(&found.grid), error(&rule));
        assert!(searched < 0.8 * ruled, "{searched} against {ruled}");
    }

    #[test]
    fn an_analytic_first_step_moves_the_first_level() {
        let settings = Search {
            trajectories: 8,
            candidates: 40,
            ..Search::default()
        };
        let plain = search(false, &settings, 4);
        let analytic = search(true, &settings, 4);
        for (i, (a, b)) in plain.costs.rows().zip(analytic.costs.rows()).enumerate() {
            assert_eq!(a == b, i > 0, "row {i}");
        }
        // Equal searches give equal grids.
        assert_eq!(search(true, &settings, 4).grid, analytic.grid);
    }

    #[test]
    fn a_search_that_cannot_be_is_refused() {
        let denoiser = mixture();
        let settings = Search {
            candidates: 5,
            ..Search::default()
        };
        let search = |steps, analytic_first_step, search: &Search| {
            let search = ScheduleSearch {
                denoiser: &denoiser,
                image_shape: [1, 2, 2],
                classes: 0,
                solver: &Euler,
                search,
                steps,
                sigma_min: 0.006,
                sigma_max: 80.0,
                analytic_first_step,
                seed: 0,
                device: &Device::flex(),
            };
            search.run(&mut |_| ()).map(|found| found.indices)
        };
        assert_eq!(search(5, false, &settings).unwrap(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(search(1, false, &settings).unwrap(), [0, 5]);
        for steps in [0, 6] {
            let error = search(steps, false, &settings).unwrap_err().to_string();
            assert!(error.contains("`steps`"), "{error}");
        }
        let error = search(1, true, &settings).unwrap_err().to_string();
        assert!(error.contains("never be called"), "{error}");
        let bad = Search {
            gamma: -1.0,
            ..settings
        };
        assert!(search(2, false, &bad).is_err());
    }
}
