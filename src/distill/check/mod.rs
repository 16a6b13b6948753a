//! Whether a recipe makes sense, alone and with its teacher.

use super::{Distance, Recipe, Resolved, Target, TrajectoryType};
use crate::Error;
use crate::adapter::Lora;
use crate::error::positive;
use crate::grid::Spacing;
use crate::model::{Card, Kind, Sampling, check_guidance, recipe_json};
use crate::network::Precision;
use crate::solver::SolverConfig;
use burn::tensor::{DType, Device};

fn incompatible(
    first: impl Into<String>,
    second: impl Into<String>,
    remedy: impl Into<String>,
) -> Error {
    Error::Incompatible {
        first: first.into(),
        second: second.into(),
        remedy: remedy.into(),
    }
}

impl Recipe {
    /// Checks every value and their combination.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming key, value and range, or [`Error::Incompatible`].
    pub fn check(&self) -> Result<(), Error> {
        positive("trajectories", self.trajectories as f64)?;
        positive("batch", self.batch as f64)?;
        positive("micro-batch", self.micro_batch.unwrap_or(1) as f64)?;
        positive("reuse", self.reuse as f64)?;
        positive("steps", self.steps as f64)?;
        positive("substeps", self.substeps as f64)?;
        positive("gradient-steps", self.gradient_steps as f64)?;
        positive("huber-scale", self.huber_scale)?;
        positive("learning-rate", self.learning_rate)?;
        positive("learning-rate-drop", self.learning_rate_drop)?;
        positive("average-half-life", self.average_half_life.unwrap_or(1.0))?;
        if self.learning_rate_drop > 1.0 {
            let value = self.learning_rate_drop;
            return Err(Error::invalid("learning-rate-drop", value, "in (0, 1]"));
        }
        check_guidance("teacher-guidance", self.teacher_guidance)?;
        self.adam.check()?;
        self.lora.as_ref().map_or(Ok(()), Lora::check)?;
        self.teacher_solver.build()?;
        self.check_student_solver()?;
        self.spacing.check()?;
        self.check_steps()?;
        self.check_step_weights()?;
        self.check_combinations()?;
        self.check_changes()?;
        self.check_levels()
    }

    /// A step of a student, also of one that teaches, is one call, and ends where its distance is measured.
    fn check_student_solver(&self) -> Result<(), Error> {
        let of_teacher = self
            .second_stage
            .then_some(("teacher-solver", self.teacher_solver));
        let of_student = ("student-solver", self.student_solver);
        for (key, config) in of_teacher.into_iter().chain([of_student]) {
            let corrects = matches!(config, SolverConfig::UniPc { .. });
            if config.build()?.evaluations_per_step() > 1 || corrects {
                return Err(incompatible(
                    format!("{key}: {config}"),
                    "a student's step, which is one call of the network with nothing mended afterwards",
                    "take euler, ipndm, ipndm-v, deis or dpm-solver-pp",
                ));
            }
        }
        let solver = self.student_solver.build()?;
        if solver.history() > 0 && self.gradient_checkpointing && self.gradient_steps > 1 {
            return Err(incompatible(
                format!("the student solver {}", self.student_solver),
                format!(
                    "gradient-checkpointing with gradient-steps = {}",
                    self.gradient_steps
                ),
                "leave one of the three out: the gradient through what an earlier step said is not recorded",
            ));
        }
        Ok(())
    }

    fn check_steps(&self) -> Result<(), Error> {
        let [smallest, largest] = self.variable_steps.unwrap_or([self.steps; 2]);
        if smallest == 0 || smallest > largest {
            let value = format!("[{smallest}, {largest}]");
            let expected = "the smallest and the largest number of steps";
            return Err(Error::invalid("variable-steps", value, expected));
        }
        if !(smallest..=largest).contains(&self.steps) {
            let expected = format!("one of `variable-steps`, {smallest} to {largest}");
            return Err(Error::invalid("steps", self.steps, expected));
        }
        Ok(())
    }

    fn check_levels(&self) -> Result<(), Error> {
        let Some(search) = self.spacing.to_search() else {
            // The student's own first: an error of the teacher's finer ones would name steps that nobody typed.
            self.sampling().check()?;
            for steps in self.variable_steps.unwrap_or([self.steps; 2]) {
                self.teacher_grid(steps)?;
            }
            return Ok(());
        };
        // All that can be said before the search: it chooses from this grid.
        let rule = &search.spacing;
        rule.grid(search.candidates, self.sigma_min, self.sigma_max)?;
        if self.steps > search.candidates {
            let expected = format!("at most {}, the search's candidates", search.candidates);
            return Err(Error::invalid("steps", self.steps, expected));
        }
        let spacing = (**rule).clone();
        let stand_in = Sampling {
            spacing,
            ..self.sampling()
        };
        stand_in.check()
    }

    fn check_step_weights(&self) -> Result<(), Error> {
        let Some(weights) = &self.step_weights else {
            return Ok(());
        };
        let free = usize::from(self.analytic_first_step);
        let fine = weights.len() == self.steps
            && weights.iter().all(|w| w.is_finite() && *w >= 0.0)
            && weights.iter().skip(free).any(|w| *w > 0.0);
        if !fine {
            let expected = format!(
                "{} numbers, one for each step, none negative, one or more of the trained steps positive",
                self.steps
            );
            let value = format!("{weights:?}");
            return Err(Error::invalid("step-weights", value, expected));
        }
        match self.variable_steps {
            Some(_) => Err(incompatible(
                "step-weights",
                "variable-steps",
                "leave one of them out",
            )),
            None => Ok(()),
        }
    }

    fn check_combinations(&self) -> Result<(), Error> {
        if self.target == Target::Local && self.gradient_steps > 1 {
            return Err(incompatible(
                "target = \"local\"",
                format!("gradient-steps = {}", self.gradient_steps),
                "a step that starts at the teacher's point has none before it; use gradient-steps = 1",
            ));
        }
        if self.teacher_guidance != 1.0 && self.guidance != 1.0 {
            return Err(incompatible(
                format!("teacher-guidance = {}", self.teacher_guidance),
                format!("guidance = {}", self.guidance),
                "a student of a guided teacher has the guidance in it; leave one of them out",
            ));
        }
        if let Some(perceptual) = &self.perceptual {
            perceptual.check()?;
            if self.distance != Distance::L1Lpips {
                return Err(incompatible(
                    "perceptual",
                    "another distance than l1-lpips",
                    "set distance = \"l1-lpips\", or leave `perceptual` out",
                ));
            }
        }
        if self.variable_steps.is_some() && matches!(self.spacing, Spacing::Searched(_)) {
            return Err(incompatible(
                "spacing.kind = \"searched\"",
                "variable-steps",
                "levels are searched for one number of steps; take another spacing",
            ));
        }
        if self.second_stage && self.variable_steps.is_some() {
            return Err(incompatible(
                "second-stage = true",
                "variable-steps",
                "a second stage is for one number of steps",
            ));
        }
        Ok(())
    }

    /// The recipe as it may be used: checked, with what depends on the teacher (`step-condition`) filled in.
    ///
    /// # Errors
    /// Those of [`check`](Self::check), and [`Error::InvalidValue`] or [`Error::Incompatible`] for a teacher that the
    /// recipe is not made for.
    pub fn for_teacher(&self, teacher: &Card) -> Result<Resolved, Error> {
        self.check()?;
        self.check_condition(teacher)?;
        if teacher.adapter.is_some() {
            return Err(incompatible(
                "a file of adapters",
                "the place of a teacher",
                "make a whole model of it and its base: fewstep convert --merge FILE OUT --base BASE",
            ));
        }
        if let Some(lora) = &self.lora {
            lora.adapters(&teacher.network)?;
        }
        let told = self.second_stage && teacher.sampling.step_condition;
        match (self.second_stage, teacher.kind) {
            (true, Kind::Student) => self.check_student(teacher)?,
            (false, Kind::Teacher) => {}
            (true, Kind::Teacher) => {
                return Err(incompatible(
                    "second-stage = true",
                    "a teacher that is no student",
                    "give the file of a student, or set second-stage = false",
                ));
            }
            (false, Kind::Student) => {
                return Err(incompatible(
                    "second-stage = false",
                    "a student as the teacher",
                    "set second-stage = true, so that it is sampled as its file says",
                ));
            }
        }
        let recipe = Self {
            step_condition: Some(self.step_condition.unwrap_or(self.tells_steps() || told)),
            ..self.clone()
        };
        Ok(Resolved::new(recipe, teacher))
    }

    /// Whether a device has the types that the recipe computes and stores in.
    pub(super) fn check_types(&self, device: &Device) -> Result<(), Error> {
        let half = |precision: Precision| match precision {
            Precision::F32 => None,
            half => Some(half.dtype()),
        };
        let stored = (self.trajectory_type == TrajectoryType::F16).then_some(DType::F16);
        let wanted = [
            ("teacher-precision", half(self.teacher_precision)),
            ("compute-precision", half(self.compute_precision)),
            ("trajectory-type", stored),
        ];
        for (key, dtype) in wanted {
            if let Some(dtype) = dtype.filter(|dtype| !device.supports_dtype(*dtype)) {
                return Err(incompatible(
                    format!("{key} of {dtype:?}"),
                    format!("{device:?}, which has no such type"),
                    format!("set {key} = \"f32\", or take another device"),
                ));
            }
        }
        Ok(())
    }

    /// Whether there is something to follow, where it is to be followed closely.
    fn check_condition(&self, teacher: &Card) -> Result<(), Error> {
        let network = &teacher.network;
        let told = network.classes() > 0 || network.context_width().is_some();
        if self.prompts.is_some() && network.context_width().is_none() {
            return Err(incompatible(
                "prompts in the recipe",
                "a teacher that takes no text",
                "leave `prompts` out",
            ));
        }
        let weights = [
            ("teacher-guidance", self.teacher_guidance),
            ("guidance", self.guidance),
        ];
        match weights
            .into_iter()
            .find(|(_, weight)| *weight != 1.0 && !told)
        {
            None => Ok(()),
            Some((key, weight)) => Err(incompatible(
                format!("{key} = {weight}"),
                "an unconditional teacher",
                "there is no class or text to follow; leave it out",
            )),
        }
    }

    /// Whether the teacher of a second stage was distilled for what it is asked for.
    fn check_student(&self, teacher: &Card) -> Result<(), Error> {
        let theirs = &teacher.sampling;
        let allowed = theirs.allowed_steps();
        let steps = self.steps * self.substeps;
        if !allowed.contains(&steps) {
            let range = match allowed.start() == allowed.end() {
                true => format!("{} steps", theirs.steps),
                false => format!("{} to {} steps", allowed.start(), allowed.end()),
            };
            let expected = format!(
                "such that `steps` ({}) times `substeps` is what the teacher was distilled for, {range}",
                self.steps
            );
            return Err(Error::invalid("substeps", self.substeps, expected));
        }
        let spacing = |of: &Sampling| recipe_json(&of.spacing).map(|json| json.to_string());
        let keys = [
            (
                "teacher-solver",
                theirs.solver.to_string(),
                self.teacher_solver.to_string(),
            ),
            ("spacing", spacing(theirs)?, spacing(&self.sampling())?),
            (
                "sigma-max",
                theirs.sigma_max.to_string(),
                self.sigma_max.to_string(),
            ),
            (
                "sigma-min",
                theirs.sigma_min.to_string(),
                self.sigma_min.to_string(),
            ),
        ];
        match keys.into_iter().find(|(_, theirs, ours)| theirs != ours) {
            None => Ok(()),
            Some((key, theirs, ours)) => Err(incompatible(
                format!("{key} = {ours}"),
                format!("a teacher that was distilled with {theirs}"),
                format!("set `{key}` to the teacher's"),
            )),
        }
    }
}

#[cfg(test)]
mod tests;
