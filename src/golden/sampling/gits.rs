//! Searches for noise levels: the fine paths, what jumps along them cost, and the points that follow.

use crate::Images;
use crate::denoiser::{Condition, Denoiser};
use crate::golden::case::Case;
use crate::golden::measure::Report;
use crate::golden::measure::{Measure, Problem, largest};
use crate::golden::model::denoiser;
use crate::golden::sampling::schedule::spacing;
use crate::golden::sampling::solver::{configuration, exact, states_error};
use crate::grid::{JumpCost, SigmaGrid};
use crate::sampler::Sampler;
use crate::schedule::{CostMatrix, costs_of, insert_first_step};
use crate::solver::Solver;
use burn::tensor::{DType, Device};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A row for each kind of fine path and each matrix of costs, and one for each list of points.
pub(crate) fn run(case: &Case, device: &Device, report: Report<'_>) -> Result<(), Problem> {
    let search = Search::read(case, device)?;
    let config = case.config();
    let runs = case.list(config, "runs")?;
    let mut paths = BTreeSet::new();
    let mut costs = BTreeSet::new();
    for run in runs {
        let analytic = case.flag(run, "afs")?;
        let suffix = if analytic {
            " with an analytical step"
        } else {
            ""
        };
        if paths.insert(analytic) {
            report(&format!("path{suffix}"), search.path(analytic));
        }
        if costs.insert(case.text(run, "cost")?) {
            let name = format!("costs {}{suffix}", case.text(run, "metric")?);
            report(&name, search.costs(run));
        }
        report(case.text(run, "id")?, search.points(run));
    }
    Ok(())
}

/// What all runs of a case share.
struct Search<'a> {
    case: &'a Case,
    denoiser: Box<dyn Denoiser>,
    solver: Box<dyn Solver>,
    fine: SigmaGrid,
    start: Images,
}

impl<'a> Search<'a> {
    fn read(case: &'a Case, device: &Device) -> Result<Self, Problem> {
        let config = case.config();
        let name = case.text(config, "latents")?;
        let (denoiser, latents): (Box<dyn Denoiser>, Images) =
            if case.text(config, "denoiser")? == "network" {
                let (net, model) = denoiser(case, config, device)?;
                (Box::new(model), case.images(name, &net, device)?)
            } else if device.supports_dtype(DType::F64) {
                let latents = case.tensor(name, device, DType::F64)?;
                (exact(case, device)?, latents)
            } else {
                return Err(Problem::unsupported("f64 on this device"));
            };
        let fine = SigmaGrid::new(case.values(case.text(config, "t_steps")?)?)?;
        if case.count(config, "num_steps_tea")? != fine.levels().len() {
            return Err(case.malformed("there are not `num_steps_tea` times"));
        }
        let ours = spacing(case, config)?.grid(
            fine.steps(),
            case.number(config, "sigma_min")?,
            case.number(config, "sigma_max")?,
        )?;
        // The reference computes times in f32 for its networks.
        if largest(ours.levels(), fine.levels(), |a, b| (a / b - 1.0).abs()) > 2e-6 {
            return Err(case.malformed("the times are not those of the schedule"));
        }
        Ok(Self {
            solver: configuration(case, config, "solver_tea")?.build()?,
            denoiser,
            start: latents.mul_scalar(fine.sigma_max()),
            fine,
            case,
        })
    }

    /// Along the fine grid; where the search is for a grid with an analytical first step, the reference takes one here,
    /// too.
    fn sampler(&self, analytic_first_step: bool) -> Sampler<'_> {
        Sampler {
            denoiser: self.denoiser.as_ref(),
            solver: self.solver.as_ref(),
            grid: &self.fine,
            analytic_first_step,
            denoise_to_zero: false,
        }
    }

    /// The points and slopes of the fine paths.
    fn path(&self, analytic: bool) -> Result<Measure, Problem> {
        let (case, config) = (self.case, self.case.config());
        let mut states = vec![self.start.clone()];
        let mut slopes = Vec::new();
        let condition = Condition::default();
        let sampler = self.sampler(analytic);
        sampler.walk(self.start.clone(), &condition, &mut |_, now, images| {
            slopes.push(now.direction());
            states.push(images.clone());
        });
        let suffix = if analytic { "_afs" } else { "" };
        let error = |key: &str, got: &[Images]| {
            let want = case.values(&format!("{}{suffix}", case.text(config, key)?))?;
            let tolerance = case.tolerance("teacher")?;
            Ok::<_, Problem>(Measure::new(states_error(got, &want), tolerance))
        };
        let states = error("teacher_traj", &states)?;
        Ok(states.or_worse(error("teacher_eps", &slopes)?))
    }

    fn costs(&self, run: &Value) -> Result<Measure, Problem> {
        let case = self.case;
        let cost = match case.text(run, "metric")? {
            "dev" => JumpCost::Deviation,
            "l1" => JumpCost::L1,
            "l2" => JumpCost::L2,
            other => return Err(Problem::unsupported(format!("jump costs {other:?}"))),
        };
        let sampler = self.sampler(case.flag(run, "afs")?);
        // The slope at the first point is the path's own.
        let condition = Condition::default();
        let got = costs_of(&sampler, self.start.clone(), &condition, cost, false).mean()?;
        let got: Vec<f64> = got.rows().flatten().copied().collect();
        let want = case.values(case.text(run, "cost")?)?;
        let scale = want.iter().map(|w| w.abs()).fold(0.0, f64::max);
        let error = largest(&got, &want, |g, w| (g - w).abs() / scale);
        Ok(Measure::new(error, case.tolerance("cost")?))
    }

    /// The points that follow from the stored costs; the error is the number of wrong ones.
    fn points(&self, run: &Value) -> Result<Measure, Problem> {
        let case = self.case;
        let count = self.fine.levels().len();
        let costs = CostMatrix::from_values(count, case.values(case.text(run, "cost")?)?)?;
        let coefficient = case.number(run, "coeff")?;
        let mut points = costs.cheapest(case.count(run, "nfe")?, coefficient)?;
        let analytic = case.flag(run, "afs")?;
        if analytic {
            points = self.with_first_step(run, &points)?;
        }
        let want = case.values(case.text(run, "dp")?)?;
        let got: Vec<f64> = points.iter().map(|i| *i as f64).collect();
        let wrong = if got.len() == want.len() {
            got.iter().zip(&want).filter(|(g, w)| g != w).count() as f64
        } else {
            f64::INFINITY
        };
        Ok(Measure::new(wrong, 0.0))
    }

    fn with_first_step(&self, run: &Value, points: &[usize]) -> Result<Vec<usize>, Problem> {
        let named = json!({
            "student_solver": run["student_solver"],
            "max_order": run["student_max_order"],
        });
        let solver = configuration(self.case, &named, "student_solver")?.build()?;
        let condition = Condition::default();
        let path = self.sampler(true);
        let goal = path.sample(self.start.clone(), &condition);
        let student = Sampler {
            solver: solver.as_ref(),
            ..path
        };
        let (fine, start) = (&self.fine, &self.start);
        Ok(insert_first_step(
            &student, fine, points, start, &goal, &condition,
        )?)
    }
}
