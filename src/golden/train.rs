//! Traces of a distillation, replayed with the real [`Distiller`].

use crate::Images;
use crate::denoiser::{Condition, Preconditioned};
use crate::distill::{Distiller, Recipe, TrajectorySource};
use crate::golden::case::Case;
use crate::golden::gradient::Gradients;
use crate::golden::measure::Report;
use crate::golden::measure::{KeyBias, Measure, Named, Problem, largest, norm, relative, worse};
use crate::golden::model::{condition, denoiser, guidance, is_latent_unet, table};
use crate::golden::sampling::schedule::spacing;
use crate::golden::sampling::solver::{configuration, states_error};
use crate::grid::Spacing;
use crate::model::{Card, Kind, Model, Sampling};
use crate::network::{NetworkConfig, parameters};
use crate::sampler::Trajectory;
use crate::solver::SolverConfig;
use burn::tensor::Device;
use serde_json::Value;
use std::collections::BTreeMap;

/// A row for each quantity, the worst of all rounds.
pub(crate) fn run(case: &Case, device: &Device, report: Report<'_>) -> Result<(), Problem> {
    let config = case.config();
    let recipe = recipe(case)?;
    let (net, teacher) = denoiser(case, config, device)?;
    let teacher = model(case, &recipe, &net, teacher)?;
    let recipe = recipe.for_teacher(&teacher.card)?;
    let source = TrajectorySource::new(&recipe, &teacher, device)?;
    let names = case.texts(config, "param_names")?;
    let mut student = Distiller::new(recipe.clone(), &teacher, String::new(), device)?;
    let mut errors = Errors::default();
    for (k, detail) in case.list(config, "iterations_detail")?.iter().enumerate() {
        let round = Round {
            case,
            k,
            names: &names,
            net: &net,
        };
        let (target, told) = round.target(&source, detail, device)?;
        round.replay(&mut student, &target, &told, detail, &mut errors)?;
    }
    let end = parameter_map(&student.model()?);
    errors.end(case, KeyBias::of(&net), &end, &parameter_map(&teacher))?;
    for (name, measure, error) in errors.rows() {
        let tolerance = match measure {
            Tolerance::Key(key) => case.tolerance(key)?,
            Tolerance::Fixed(value) => value,
        };
        let measure = Measure::new(error.error, tolerance);
        report(name, Ok(measure.of_tensor(error.tensor)));
    }
    Ok(())
}

/// The recipe that the trace followed.
fn recipe(case: &Case) -> Result<Recipe, Problem> {
    let config = case.config();
    let images = case.number(config, "total_kimg")? * 1000.0;
    let second_stage = case.flag(config, "second_stage")?;
    let variable_steps = match case.flag(config, "use_step_condition")? {
        false => None,
        true => {
            let sequence = case.list(config, "num_steps_sequence")?.iter();
            let sequence = sequence.map(|n| n.as_u64().filter(|n| (2..=MOST_STEPS).contains(n)));
            let sequence: Option<Vec<u64>> = sequence.collect();
            let ends = sequence.and_then(|s| Some([*s.iter().min()?, *s.iter().max()?]));
            let ends = ends.ok_or_else(|| {
                case.malformed("`num_steps_sequence` is not a list of a few timestamps each")
            })?;
            Some(ends.map(|n| n as usize - 1))
        }
    };
    let recipe = Recipe {
        trajectories: images.round() as u64,
        batch: case.count(config, "batch")?,
        steps: case.count(config, "num_steps")?.saturating_sub(1),
        substeps: case.count(config, "M")? + 1,
        spacing: match is_latent_unet(&config["net"]) {
            true => Spacing::Discrete {
                rho: case.number(config, "schedule_rho")?,
                table: table(case, &config["net"])?,
            },
            false => spacing(case, config)?,
        },
        teacher_guidance: guidance(case, config)?,
        sigma_max: case.number(config, "sigma_max")?,
        sigma_min: case.number(config, "sigma_min")?,
        analytic_first_step: case.flag(config, "afs")?,
        // A second stage ignores the solver that it was given.
        teacher_solver: match second_stage {
            true => SolverConfig::Euler {},
            false => configuration(case, config, "sampler_tea")?,
        },
        second_stage,
        variable_steps,
        learning_rate: case.number(config, "lr")?,
        ..Recipe::default()
    };
    let stored = case.data("out/it0/t_steps")?.num_elements();
    let steps = variable_steps.unwrap_or([recipe.steps; 2]);
    let fits = (steps[0] + 1..=steps[1] + 1).contains(&stored);
    if !fits || recipe.substeps > 64 {
        return Err(case.malformed("`num_steps` or `M` do not fit the trace"));
    }
    recipe.check()?;
    Ok(recipe)
}

/// More timestamps than any student has.
const MOST_STEPS: u64 = 64;

/// The teacher, with what its own training says about how to sample it.
fn model(
    case: &Case,
    recipe: &Recipe,
    network: &NetworkConfig,
    denoiser: Preconditioned,
) -> Result<Model, Problem> {
    let (kind, sampling) = match recipe.second_stage {
        false => (Kind::Teacher, recipe.sampling()),
        true => {
            let trained = &case.config()["teacher_training_kwargs"];
            let sampling = Sampling {
                steps: recipe.steps * recipe.substeps,
                spacing: spacing(case, trained)?,
                analytic_first_step: case.flag(trained, "afs")?,
                step_condition: case.flag(trained, "use_step_condition")?,
                ..recipe.sampling()
            };
            (Kind::Student, sampling)
        }
    };
    Ok(Model {
        card: Card {
            format: 1,
            kind,
            network: network.clone(),
            answer: denoiser.preconditioning.clone().into(),
            sampling,
            recipe: Value::Null,
            trained_on: 0,
            class_names: Vec::new(),
            adapter: None,
            parent: None,
            version: String::new(),
        },
        network: denoiser.network,
        compute: denoiser.compute,
    })
}

/// One round of a trace.
struct Round<'a> {
    case: &'a Case,
    k: usize,
    names: &'a [&'a str],
    net: &'a NetworkConfig,
}

impl Round<'_> {
    /// The teacher's trajectory from the stored noise, and what both networks are told.
    fn target(
        &self,
        source: &TrajectorySource,
        detail: &Value,
        device: &Device,
    ) -> Result<(Trajectory, Condition), Problem> {
        let (case, k, net) = (self.case, self.k, self.net);
        let start: Images = case.images(&format!("in/it{k}/latents"), net, device)?;
        let labels = match case.flag(case.config(), "labels")? {
            true => Value::String(format!("in/it{k}/labels")),
            false => Value::Null,
        };
        let context = match case.flag(case.config(), "context")? {
            true => Value::String(format!("in/it{k}/context")),
            false => Value::Null,
        };
        let told = serde_json::json!({ "labels": labels, "context": context });
        let told = condition(case, &told, net, start.dims()[0], device)?;
        let timestamps = case.count(detail, "num_steps")?;
        let stored = case.data(&format!("out/it{k}/t_steps"))?.num_elements();
        if timestamps != stored || timestamps < 2 {
            return Err(case.malformed(format!("`num_steps` does not fit the trace of round {k}")));
        }
        Ok((source.solve(start, &told, timestamps - 1)?, told))
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
                let gradients = Gradients::from_gathered(gathered).of_heads(self.net);
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
        // A row of all names for each trained step.
        let all = self.names.iter().cycle().copied();
        errors.gradient_norms.relative(all, &norms, &out("gnorm")?);
        let rate = self.case.number(detail, "lr")?;
        keep(
            &mut errors.learning_rate,
            relative(&[round.learning_rate], &[rate]),
        );
        let now = parameter_map(&student.model()?);
        let norms = self.names.iter().map(|name| {
            let values = now.get(*name).cloned().unwrap_or_default();
            norm(&KeyBias::of(self.net).leave_out(name, values))
        });
        let norms: Vec<f64> = norms.collect();
        let all = self.names.iter().copied();
        errors.parameter_norms.relative(all, &norms, &out("pnorm")?);
        Ok(())
    }
}

/// All parameters by official name.
fn parameter_map(model: &Model) -> BTreeMap<String, Vec<f64>> {
    let all = parameters(&model.network).into_iter();
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
    gradient_norms: Named,
    parameter_norms: Named,
    mean_change: Named,
    part_off: Named,
    moved: Named,
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
        heads: KeyBias,
        got: &BTreeMap<String, Vec<f64>>,
        start: &BTreeMap<String, Vec<f64>>,
    ) -> Result<(), Problem> {
        let rate = case.number(case.config(), "lr")?;
        let mut changes = Vec::new();
        let mut largest_change = Named::default();
        for (name, want) in case.tensors("final/") {
            let want: Vec<f64> = want.iter::<f64>().collect();
            let Some(got) = got.get(name).and_then(|got| got.get(..want.len())) else {
                return Err(case.malformed(format!("final/{name} is longer than the parameter")));
            };
            let got = heads.leave_out(name, got.to_vec());
            let want = heads.leave_out(name, want);
            for (g, w) in got.iter().zip(want) {
                let change = (g - w).abs() / rate;
                largest_change.keep(name, change);
                changes.push(change);
            }
        }
        let count = changes.len().max(1) as f64;
        // Of means and parts it is the tensor with the largest change that is named.
        let of_all = |error| Named {
            error,
            ..largest_change.clone()
        };
        self.mean_change = of_all(changes.iter().sum::<f64>() / count);
        // What is not a number counts as off, too.
        let off = changes.iter().filter(|c| **c > 0.1 || c.is_nan()).count();
        self.part_off = of_all(off as f64 / count);
        for name in case.texts(case.config(), "unchanged")? {
            let (Some(got), Some(start)) = (got.get(name), start.get(name)) else {
                return Err(case.malformed(format!("there is no parameter {name}")));
            };
            let moved = largest(got, start, |g, s| (g - s).abs());
            self.moved.keep(name, moved);
        }
        Ok(())
    }

    fn rows(&self) -> [(&'static str, Tolerance, Named); 10] {
        use Tolerance::{Fixed, Key};
        let whole = |error: f64| Named {
            error,
            ..Named::default()
        };
        let by_name = Named::clone;
        [
            ("levels", Fixed(STORED_LEVELS), whole(self.levels)),
            ("learning rate", Fixed(1e-12), whole(self.learning_rate)),
            ("teacher", Key("teacher_nmax"), whole(self.teacher)),
            ("student", Key("student_nmax"), whole(self.student)),
            ("loss", Key("loss_rel"), whole(self.loss)),
            (
                "gradient norms",
                Key("gnorm_rel"),
                by_name(&self.gradient_norms),
            ),
            (
                "parameter norms",
                Key("pnorm_rel"),
                by_name(&self.parameter_norms),
            ),
            (
                "parameters",
                Key("param_mean_over_lr"),
                by_name(&self.mean_change),
            ),
            (
                "parameters off",
                Key("param_frac_over_10pct_lr"),
                by_name(&self.part_off),
            ),
            // Exactly as they were: any change is a gradient that should not be there.
            ("unchanged", Fixed(0.0), by_name(&self.moved)),
        ]
    }
}
