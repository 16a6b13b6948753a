//! Traces of a distillation, replayed with the real [`Distiller`].

use super::Report;
use super::case::Case;
use super::gradient::Gradients;
use super::measure::{Measure, Problem, largest, norm, relative, without_key_bias, worse};
use super::network::{condition, denoiser};
use super::schedule::spacing;
use super::solver::{configuration, states_error};
use crate::Images;
use crate::checkpoint::{Card, Kind, Model};
use crate::denoiser::{Condition, Preconditioned};
use crate::distill::{Distiller, Recipe};
use crate::network::{NetworkConfig, parameters};
use crate::sampler::{Sampler, Trajectory};
use burn::tensor::Device;
use serde_json::Value;
use std::collections::BTreeMap;

/// A row for each quantity, the worst of all rounds.
pub(super) fn run(case: &Case, device: &Device, report: Report<'_>) -> Result<(), Problem> {
    let config = case.config();
    if case.flag(config, "second_stage")? {
        return Err(Problem::unsupported("second-stage distillation"));
    }
    if case.flag(config, "use_step_condition")? {
        return Err(Problem::unsupported("step-conditioned distillation"));
    }
    let recipe = recipe(case)?;
    let (net, teacher) = denoiser(case, config, device)?;
    let teacher = model(&recipe, &net, teacher);
    let names = case.texts(config, "param_names")?;
    let mut student = Distiller::new(recipe.clone(), &teacher, String::new(), device)?;
    let mut errors = Errors::default();
    for (k, detail) in case.list(config, "iterations_detail")?.iter().enumerate() {
        let round = Round {
            case,
            k,
            names: &names,
        };
        let (target, told) = round.target(&recipe, &teacher, device)?;
        round.replay(&mut student, &target, &told, detail, &mut errors)?;
    }
    let end = parameter_map(&student.model()?);
    errors.end(case, &end, &parameter_map(&teacher))?;
    for (name, measure, error) in errors.rows() {
        let tolerance = match measure {
            Tolerance::Key(key) => case.tolerance(key)?,
            Tolerance::Fixed(value) => value,
        };
        report(name, Ok(Measure::new(error, tolerance)));
    }
    Ok(())
}

/// The recipe that the trace followed.
fn recipe(case: &Case) -> Result<Recipe, Problem> {
    let config = case.config();
    let images = case.number(config, "total_kimg")? * 1000.0;
    let recipe = Recipe {
        trajectories: images.round() as u64,
        batch: case.count(config, "batch")?,
        steps: case.count(config, "num_steps")?.saturating_sub(1),
        substeps: case.count(config, "M")? + 1,
        spacing: spacing(case, config)?,
        sigma_max: case.number(config, "sigma_max")?,
        sigma_min: case.number(config, "sigma_min")?,
        analytic_first_step: case.flag(config, "afs")?,
        teacher_solver: configuration(case, config, "sampler_tea")?,
        learning_rate: case.number(config, "lr")?,
        ..Recipe::default()
    };
    let stored = case.data("out/it0/t_steps")?.num_elements();
    if recipe.steps + 1 != stored || recipe.substeps > 64 {
        return Err(case.malformed("`num_steps` or `M` do not fit the trace"));
    }
    recipe.check()?;
    Ok(recipe)
}

fn model(recipe: &Recipe, network: &NetworkConfig, denoiser: Preconditioned) -> Model {
    Model {
        card: Card {
            format: 1,
            kind: Kind::Teacher,
            network: network.clone(),
            sigma_data: denoiser.sigma_data,
            sampling: recipe.sampling(),
            recipe: Value::Null,
            trained_on: 0,
            parent: None,
            version: String::new(),
        },
        denoiser,
    }
}

/// One round of a trace.
struct Round<'a> {
    case: &'a Case,
    k: usize,
    names: &'a [&'a str],
}

impl Round<'_> {
    /// The teacher's trajectory from the stored noise, and what both networks are told.
    fn target(
        &self,
        recipe: &Recipe,
        teacher: &Model,
        device: &Device,
    ) -> Result<(Trajectory, Condition), Problem> {
        let (case, k) = (self.case, self.k);
        let net = &teacher.card.network;
        let start: Images = case.images(&format!("in/it{k}/latents"), net, device)?;
        let labels = match case.flag(case.config(), "labels")? {
            true => Value::String(format!("in/it{k}/labels")),
            false => Value::Null,
        };
        let told = serde_json::json!({ "labels": labels });
        let told = condition(case, &told, net, start.dims()[0], device)?;
        let grid = recipe.teacher_grid()?;
        let solver = recipe.teacher_solver.build()?;
        let sampler = Sampler {
            denoiser: &teacher.denoiser,
            solver: solver.as_ref(),
            grid: &grid,
            analytic_first_step: false,
            denoise_to_zero: false,
        };
        let fine = sampler.trajectory(start, &told);
        Ok((fine.thin(recipe.substeps)?, told))
    }

    /// Trains one round and compares everything stored of it.
    fn replay(
        &self,
        student: &mut Distiller,
        target: &Trajectory,
        told: &Condition,
        detail: &Value,
        errors: &mut Errors,
    ) -> Result<(), Problem> {
        let out = |what: &str| self.case.values(&format!("out/it{}/{what}", self.k));
        let (mut states, mut norms) = (Vec::new(), Vec::new());
        let round = student.round_with(target, told, &mut |step| {
            states.push((step.images)());
            if let Some(gathered) = step.gradients {
                let gradients = Gradients::from_gathered(gathered);
                // As stored: -1 says that there is no gradient.
                let all = self.names.iter();
                norms.extend(all.map(|n| gradients.norm(n).unwrap_or(-1.0)));
            }
        })?;
        let keep = |slot: &mut f64, error: f64| *slot = worse(*slot, error);
        keep(
            &mut errors.levels,
            relative(target.grid.levels(), &out("t_steps")?),
        );
        let teacher = states_error(&target.states[1..], &out("teacher")?);
        keep(&mut errors.teacher, teacher);
        keep(&mut errors.student, states_error(&states, &out("student")?));
        keep(&mut errors.loss, relative(&round.distances, &out("loss")?));
        keep(&mut errors.gradient_norms, relative(&norms, &out("gnorm")?));
        let rate = self.case.number(detail, "lr")?;
        keep(
            &mut errors.learning_rate,
            relative(&[round.learning_rate], &[rate]),
        );
        let now = parameter_map(&student.model()?);
        let norms = self.names.iter().map(|name| {
            let values = now.get(*name).cloned().unwrap_or_default();
            norm(&without_key_bias(name, values))
        });
        let norms: Vec<f64> = norms.collect();
        keep(
            &mut errors.parameter_norms,
            relative(&norms, &out("pnorm")?),
        );
        Ok(())
    }
}

/// All parameters by official name.
fn parameter_map(model: &Model) -> BTreeMap<String, Vec<f64>> {
    let all = parameters(&model.denoiser.network).into_iter();
    all.map(|p| (p.name, p.data.iter::<f64>().collect()))
        .collect()
}

/// The worst error of each quantity so far.
#[derive(Default)]
struct Errors {
    levels: f64,
    learning_rate: f64,
    teacher: f64,
    student: f64,
    loss: f64,
    gradient_norms: f64,
    parameter_norms: f64,
    mean_change: f64,
    part_off: f64,
    moved: f64,
}

/// Where the tolerance of a quantity comes from.
enum Tolerance {
    /// A key of the case's own tolerances.
    Key(&'static str),
    /// The case has none.
    Fixed(f64),
}

/// The times are stored as the reference computes them, in f32, within about 1.2e-6 of the formula.
const STORED_LEVELS: f64 = 2e-6;

impl Errors {
    /// Compares the parameters after the last round.
    fn end(
        &mut self,
        case: &Case,
        got: &BTreeMap<String, Vec<f64>>,
        start: &BTreeMap<String, Vec<f64>>,
    ) -> Result<(), Problem> {
        let rate = case.number(case.config(), "lr")?;
        let mut changes = Vec::new();
        for (name, want) in case.tensors("final/") {
            let want: Vec<f64> = want.iter::<f64>().collect();
            let Some(got) = got.get(name).and_then(|got| got.get(..want.len())) else {
                return Err(case.malformed(format!("final/{name} is longer than the parameter")));
            };
            let got = without_key_bias(name, got.to_vec());
            let want = without_key_bias(name, want);
            changes.extend(got.iter().zip(want).map(|(g, w)| (g - w).abs() / rate));
        }
        let count = changes.len().max(1) as f64;
        self.mean_change = changes.iter().sum::<f64>() / count;
        // What is not a number counts as off, too.
        let off = changes.iter().filter(|c| **c > 0.1 || c.is_nan()).count();
        self.part_off = off as f64 / count;
        for name in case.texts(case.config(), "unchanged")? {
            let (Some(got), Some(start)) = (got.get(name), start.get(name)) else {
                return Err(case.malformed(format!("there is no parameter {name}")));
            };
            self.moved = worse(self.moved, largest(got, start, |g, s| (g - s).abs()));
        }
        Ok(())
    }

    fn rows(&self) -> [(&'static str, Tolerance, f64); 10] {
        use Tolerance::{Fixed, Key};
        [
            ("levels", Fixed(STORED_LEVELS), self.levels),
            ("learning rate", Fixed(1e-12), self.learning_rate),
            ("teacher", Key("teacher_nmax"), self.teacher),
            ("student", Key("student_nmax"), self.student),
            ("loss", Key("loss_rel"), self.loss),
            ("gradient norms", Key("gnorm_rel"), self.gradient_norms),
            ("parameter norms", Key("pnorm_rel"), self.parameter_norms),
            ("parameters", Key("param_mean_over_lr"), self.mean_change),
            (
                "parameters off",
                Key("param_frac_over_10pct_lr"),
                self.part_off,
            ),
            // Exactly as they were: any change is a gradient that should not be there.
            ("unchanged", Fixed(0.0), self.moved),
        ]
    }
}
