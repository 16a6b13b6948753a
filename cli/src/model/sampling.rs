//! How a model is sampled, as typed.

use crate::model::levels::Levels;
use crate::screen::failure::wrong;
use crate::typed::value;
use crate::typed::{real, whole};
use fewstep::model::{Card, Kind, Sampling};
use fewstep::noise::Source;
use fewstep::solver::SolverConfig;

/// More steps than anybody takes on purpose.
const MOST_STEPS: u64 = 100_000;

/// Flags that change how a model is sampled.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct SamplingArgs {
    /// Network calls an image: for a student, one of the numbers that it was distilled for
    #[arg(long, value_name = "N", conflicts_with_all = ["steps", "levels"], value_parser = whole::<usize>(1..=MOST_STEPS))]
    pub nfe: Option<usize>,
    /// Number of steps, for a teacher
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..=MOST_STEPS))]
    pub steps: Option<usize>,
    /// Noise levels, for a teacher: a list such as 80,3.1,0.006, or a file that `fewstep schedule` wrote
    #[arg(long, value_name = "LEVELS", conflicts_with = "steps")]
    pub levels: Option<Levels>,
    /// Solver, for a teacher: euler, heun, dpm-solver-2, ipndm, ipndm-v, deis, unipc or dpm-solver-pp, with its order
    /// after a colon and other settings after commas, such as unipc:2,prediction=noise; docs/recipes.md lists them
    #[arg(long, value_name = "NAME[:ORDER]")]
    pub solver: Option<String>,
    /// Whether the first step is taken without calling the network
    #[arg(long, value_name = "BOOL")]
    pub analytic_first_step: Option<bool>,
    /// Whose noise and classes the seeds stand for: ours, torch-cpu or torch-cuda (PyTorch's, as EDM and SFD seed it)
    #[arg(long, value_name = "SOURCE", default_value_t)]
    pub noise: Source,
    /// How closely a text or a class is followed: 1 is no guidance, any other weight doubles the work [default: as the file
    /// says]
    #[arg(long, value_name = "WEIGHT", value_parser = real(0.0, 1000.0))]
    pub guidance: Option<f64>,
    /// Let --steps, --levels, --solver and --analytic-first-step change a student too, away from what it was distilled for
    #[arg(long = "override")]
    pub force: bool,
}

impl SamplingArgs {
    /// What the card says, with the flags applied.
    pub fn apply(&self, card: &Card) -> anyhow::Result<Sampling> {
        let mut sampling = card.sampling.clone();
        let given = [
            (self.steps.is_some(), "--steps"),
            (self.levels.is_some(), "--levels"),
            (self.solver.is_some(), "--solver"),
            (self.analytic_first_step.is_some(), "--analytic-first-step"),
        ];
        if let Some((_, flag)) = given.iter().find(|(given, _)| *given)
            && card.kind == Kind::Student
            && !self.force
        {
            return Err(wrong(format!(
                "{flag} does not go with a student, which was distilled for {} steps of {}; add --override if you \
                 mean it",
                sampling.steps, sampling.solver
            )));
        }
        sampling.analytic_first_step = self
            .analytic_first_step
            .unwrap_or(sampling.analytic_first_step);
        if let Some(name) = &self.solver {
            sampling.solver = solver(name)?;
        }
        if let Some(evaluations) = self.nfe {
            // With another solver or first step there is nothing that a student was distilled for.
            let changed = self.solver.is_some() || self.analytic_first_step.is_some();
            sampling = match changed {
                true => sampling.with_calls(evaluations)?,
                false => card.sampling_with(evaluations)?,
            };
        }
        sampling.steps = self.steps.unwrap_or(sampling.steps);
        if let Some(levels) = &self.levels {
            sampling.steps = levels.grid.steps();
            sampling.sigma_max = levels.grid.sigma_max();
            sampling.sigma_min = levels.grid.sigma_min();
            sampling.spacing = levels.spacing.clone();
        }
        self.guide(card, &mut sampling)?;
        sampling.check()?;
        Ok(sampling)
    }

    /// Sets the weight of the guidance, where there is something to follow.
    fn guide(&self, card: &Card, sampling: &mut Sampling) -> anyhow::Result<()> {
        let Some(weight) = self.guidance else {
            return Ok(());
        };
        let followed = card.network.classes() > 0 || card.takes_text();
        if weight != 1.0 && !followed {
            return Err(wrong(format!(
                "--guidance {weight}: this model has neither texts nor classes to follow; leave it out"
            )));
        }
        // Of the recipe that the card repeats.
        let taught = card.recipe["teacher-guidance"].as_f64().unwrap_or(1.0);
        if weight != 1.0 && taught != 1.0 && card.kind == Kind::Student && !self.force {
            return Err(wrong(format!(
                "--guidance {weight}: this student was distilled at guidance {taught}, and has it in it; leave it out, or \
                 add --override if you mean it"
            )));
        }
        sampling.guidance = weight;
        Ok(())
    }
}

/// A solver as typed: `heun`, `dpm-solver-pp:2`, `unipc:3,variant=bh1`.
pub fn solver(text: &str) -> anyhow::Result<SolverConfig> {
    let refuse = |reason: &str| wrong(format!("--solver {text}: {reason}"));
    let mut parts = text.split(',');
    let first = parts.next().unwrap_or_default();
    let (name, order) = match first.split_once(':') {
        Some((name, order)) => (name, Some(order)),
        None => (first, None),
    };
    let mut table = toml::Table::new();
    table.insert("kind".into(), name.into());
    let settings = parts.map(|part| part.split_once('=').ok_or(part));
    for setting in order
        .map(|order| Ok(("order", order)))
        .into_iter()
        .chain(settings)
    {
        let (key, text) =
            setting.map_err(|part| refuse(&format!("`{part}` is not of the form key=value")))?;
        if key == "kind" {
            return Err(refuse("the name comes first, such as heun"));
        }
        let value = value(text).ok_or_else(|| refuse(&format!("`{text}` is not a value")))?;
        table.insert(key.into(), value);
    }
    let config = toml::Value::Table(table).try_into();
    config.map_err(|e: toml::de::Error| refuse(e.message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solvers_are_typed_with_their_order() {
        let name = |text| solver(text).unwrap().to_string();
        assert_eq!(name("euler"), "Euler");
        assert_eq!(name("dpm-solver-pp"), "DPM-Solver++(3M)");
        assert_eq!(name("dpm-solver++:2"), "DPM-Solver++(2M)");
        assert_eq!(name("ipndm-v:3"), "iPNDM-v(3)");
        assert_eq!(name("deis:3,time=rhoab"), "DEIS(3, rhoab)");
        assert_eq!(
            name("unipc:2,variant=bh1,lower-order-final=false"),
            "UniPC(2, bh1, full order to the end)"
        );
        for bad in [
            "rk4",
            "euler:2",
            "ipndm:x",
            "a\"b",
            "deis,time",
            "deis,time=[",
            "euler,kind=heun",
            "unipc,variant=bh3",
            "",
        ] {
            let error = solver(bad).unwrap_err().to_string();
            assert!(error.contains(bad) && !error.contains('\n'), "{error}");
        }
        assert!(solver("dpm-solver-pp:4").unwrap().build().is_err());
    }
}
