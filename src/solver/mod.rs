//! Solvers of the probability flow ODE dx/dsigma = (x - D(x; sigma)) / sigma. [EDM Eq. 3]

mod config;
mod deis;
mod dpm2;
mod dpm_solver_pp;
mod euler;
mod heun;
mod ipndm;
mod ipndm_v;
mod multistep;
mod quadrature;
mod uni_pc;

#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
mod law;

pub use config::SolverConfig;
pub use deis::{Deis, DeisTime};
pub use dpm_solver_pp::DpmSolverPp;
pub use dpm2::Dpm2;
pub use euler::Euler;
pub use heun::Heun;
pub use ipndm::Ipndm;
pub use ipndm_v::IpndmV;
pub use multistep::Prediction;
pub use uni_pc::{UniPc, UniPcVariant};

use crate::Images;

/// The model's answer at one point of a trajectory.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Noise level.
    pub sigma: f64,
    /// The noisy images, `[batch, channels, height, width]`.
    pub images: Images,
    /// What the model made of them, same shape.
    pub denoised: Images,
}

impl Evaluation {
    /// Asks the model.
    pub fn of(denoise: &mut dyn FnMut(Images, f64) -> Images, images: Images, sigma: f64) -> Self {
        let denoised = denoise(images.clone(), sigma);
        Self {
            sigma,
            images,
            denoised,
        }
    }

    /// The analytical first step: at a large noise level the images are nearly pure noise, so the slope is taken
    /// as x / sqrt(1 + sigma^2), without asking the model. [SFD Sec. 3.2]
    pub fn analytic(images: Images, sigma: f64) -> Self {
        let keep = 1.0 - sigma / (1.0 + sigma * sigma).sqrt();
        let denoised = images.clone().mul_scalar(keep);
        Self {
            sigma,
            images,
            denoised,
        }
    }

    /// The same with other images, such as those that a gradient is wanted for.
    pub(crate) fn map(self, other: impl Fn(Images) -> Images) -> Self {
        Self {
            sigma: self.sigma,
            images: other(self.images),
            denoised: other(self.denoised),
        }
    }

    /// The slope dx/dsigma = (x - D) / sigma, same shape as the images.
    pub fn direction(&self) -> Images {
        self.scaled_direction(1.0)
    }

    /// `factor` times the slope, in one pass less than scaling [`direction`](Self::direction) takes.
    pub fn scaled_direction(&self, factor: f64) -> Images {
        (self.images.clone() - self.denoised.clone()).mul_scalar(factor / self.sigma)
    }

    /// The images at noise level `sigma`, along the slope here: one step of Euler's method.
    pub fn advance(&self, sigma: f64) -> Images {
        self.images.clone() + self.scaled_direction(sigma - self.sigma)
    }
}

/// One step of a grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Noise level the step starts at.
    pub from: f64,
    /// Noise level it ends at, smaller than `from`.
    pub to: f64,
    /// Position in the grid, counted from 0.
    pub index: usize,
    /// Steps in the grid.
    pub count: usize,
}

impl Step {
    /// Step `index` of the grid with these levels.
    pub(crate) fn of(levels: &[f64], index: usize) -> Self {
        Self {
            from: levels[index],
            to: levels[index + 1],
            index,
            count: levels.len() - 1,
        }
    }
}

/// A numerical method for the probability flow ODE. One step is the primitive; sampling folds over it.
///
/// Solvers are stateless and differentiable; their coefficients are computed in f64 on the host, and the images
/// keep whatever float type they have.
pub trait Solver: std::fmt::Debug + Send + Sync {
    /// Order of accuracy p: with exact past evaluations one step, corrected where the method does that, has error
    /// O(h^(p+1)).
    ///
    /// This is what a test measures, not the number in the method's name: DPM-Solver++(3M) as published says 2, see
    /// [`DpmSolverPp`], [`Ipndm`] has its order on equal steps only, and UniPC-3 says 4.
    fn order(&self) -> usize;

    /// How many past evaluations `step` can use.
    fn history(&self) -> usize {
        0
    }

    /// Model calls a step costs, the one at its start included.
    fn evaluations_per_step(&self) -> usize {
        1
    }

    /// Model calls of `steps` steps, one less if the first slope is [analytical](Evaluation::analytic).
    fn evaluations(&self, steps: usize, analytic_first_step: bool) -> usize {
        let calls = steps.saturating_mul(self.evaluations_per_step());
        calls.saturating_sub(usize::from(analytic_first_step))
    }

    /// Images at `step.to`, from the evaluation at `step.from` and those before it.
    ///
    /// `denoise` is for methods that call the model inside a step. `past` is ordered oldest to newest and may be
    /// shorter than [`history`](Self::history) at the start of a grid.
    fn step(
        &self,
        denoise: &mut dyn FnMut(Images, f64) -> Images,
        past: &[Evaluation],
        now: &Evaluation,
        step: Step,
    ) -> Images;

    /// What the next step starts from: the evaluation `end` of what [`step`](Self::step) gave, which a method with a
    /// corrector improves on now that the model has been asked there. `past`, `now` and `step` are those of the step.
    ///
    /// A corrector moves the images; the answer it keeps in whatever form it extrapolates later. Called after every
    /// step but the last of a grid, at whose end nothing is evaluated. Methods without a corrector leave it out.
    fn correct(
        &self,
        _past: &[Evaluation],
        _now: &Evaluation,
        end: Evaluation,
        _step: Step,
    ) -> Evaluation {
        end
    }
}

/// The noise levels at `now` and before, newest first: as many as a method of this order uses, or as there are.
fn nodes(past: &[Evaluation], now: &Evaluation, order: usize) -> Vec<f64> {
    let newest_first = std::iter::once(now).chain(past.iter().rev());
    newest_first.take(order).map(|e| e.sigma).collect()
}

/// The images at `now`, moved along the slopes there and before, each times its weight in units of sigma; the weights are
/// ordered from the newest slope to the oldest.
fn follow(past: &[Evaluation], now: &Evaluation, weights: &[f64]) -> Images {
    std::iter::once(now)
        .chain(past.iter().rev())
        .zip(weights)
        .fold(now.images.clone(), |images, (evaluation, weight)| {
            images + evaluation.scaled_direction(*weight)
        })
}
