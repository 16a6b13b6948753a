//! What a distillation costs, counted in network calls.

use super::Recipe;
use crate::Error;
use crate::model::Card;

/// Passes of one image through the network, over a whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Forward passes of the teacher.
    pub teacher: u64,
    /// Forward passes of the student.
    pub student: u64,
    /// How many of the student's are followed by a backward pass.
    pub backward: u64,
}

impl Cost {
    /// The forward passes that take as long: a backward pass counts as two.
    pub fn forwards(&self) -> u64 {
        let student = self.student.saturating_add(self.backward.saturating_mul(2));
        self.teacher.saturating_add(student)
    }
}

impl Recipe {
    /// What the whole run costs with this teacher, with its last batch full; of a recipe for several numbers of steps,
    /// what is to be expected. The [search](Self::search_forwards) for levels before the run is the teacher's; a perceptual
    /// distance is not in it.
    ///
    /// # Errors
    /// None for a recipe that passed its check.
    pub fn cost(&self, teacher: &Card) -> Result<Cost, Error> {
        let [fewest, most] = self.variable_steps.unwrap_or([self.steps; 2]);
        let mut sum = Cost::default();
        for steps in fewest..=most {
            let of = self.cost_a_trajectory(teacher, steps)?;
            sum.teacher += of.teacher;
            sum.student += of.student;
            sum.backward += of.backward;
        }
        let numbers = (most - fewest + 1) as u64;
        let all = self.trajectories_after(self.rounds());
        let of_all = |calls: u64| calls.saturating_mul(all) / numbers;
        Ok(Cost {
            teacher: of_all(sum.teacher).saturating_add(self.search_forwards()?),
            student: of_all(sum.student),
            backward: of_all(sum.backward),
        })
    }

    /// Forward passes of the teacher before the run, to search for levels that are still to be found.
    ///
    /// # Errors
    /// None for a recipe that passed its check.
    pub fn search_forwards(&self) -> Result<u64, Error> {
        let Some(search) = self.spacing.to_search() else {
            return Ok(0);
        };
        let calls = self.teacher_solver.build()?;
        let calls = calls.evaluations(search.candidates, false) as u64;
        Ok(calls.saturating_mul(search.trajectories as u64))
    }

    /// One trajectory of the teacher and all uses of it.
    fn cost_a_trajectory(&self, teacher: &Card, steps: usize) -> Result<Cost, Error> {
        let guided = if self.teacher_guidance == 1.0 { 1 } else { 2 };
        let calls = guided * self.teacher_sampling(teacher, steps).evaluations()?;
        let free = usize::from(self.analytic_first_step);
        let (mut student, mut backward) = (0, 0);
        for step in free..steps {
            // A gradient through several steps takes those before it again.
            let passes = self.gradient_steps.min(step + 1 - free) as u64;
            student += passes;
            if self.weight_of(step) > 0.0 {
                backward += passes;
            }
        }
        Ok(Cost {
            teacher: calls as u64,
            student: student * self.reuse,
            backward: backward * self.reuse,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::{Search, Spacing};
    use crate::model::Kind;
    use crate::network::{NetworkConfig, SongUNetConfig};
    use crate::solver::SolverConfig;

    fn card(recipe: &Recipe) -> Card {
        Card {
            format: 1,
            kind: Kind::Teacher,
            network: NetworkConfig::SongUnet(SongUNetConfig::default()),
            answer: 0.5.into(),
            sampling: recipe.sampling(),
            recipe: serde_json::Value::Null,
            trained_on: 0,
            class_names: Vec::new(),
            adapter: None,
            parent: None,
            version: String::new(),
        }
    }

    fn cost(recipe: &Recipe) -> [u64; 4] {
        let cost = recipe.cost(&card(recipe)).unwrap();
        [cost.teacher, cost.student, cost.backward, cost.forwards()]
    }

    fn short() -> Recipe {
        Recipe {
            trajectories: 10,
            batch: 4,
            ..Recipe::default()
        }
    }

    #[test]
    fn a_trajectory_of_the_paper_costs_what_its_hours_say() {
        // K (N - 1) calls of the teacher and (N - 2) of the student, at three each: the paper's hours for 2 to 5
        // evaluations are as 18 : 25 : 32 : 39.
        for (steps, units) in [(3, 18), (4, 25), (5, 32), (6, 39)] {
            let recipe = Recipe { steps, ..short() };
            // 10 trajectories are three batches of 4.
            assert_eq!(cost(&recipe)[3], 12 * units);
        }
        assert_eq!(cost(&short()), [144, 24, 24, 216]);
    }

    #[test]
    fn settings_that_cost_are_counted() {
        let with = |change: fn(&mut Recipe)| {
            let mut recipe = short();
            change(&mut recipe);
            cost(&recipe)
        };
        assert_eq!(with(|r| r.reuse = 3), [144, 72, 72, 360]);
        assert_eq!(with(|r| r.gradient_steps = 2), [144, 36, 36, 252]);
        assert_eq!(with(|r| r.analytic_first_step = false)[1], 36);
        let weighed = with(|r| r.step_weights = Some(vec![1.0, 0.0, 1.0]));
        assert_eq!(weighed, [144, 24, 12, 192]);
        let heun = with(|r| r.teacher_solver = SolverConfig::Heun {});
        assert_eq!(heun[0], 288);
        let guided = with(|r| r.teacher_guidance = 7.5);
        assert_eq!(guided, [288, 24, 24, 360]);
        // 3 to 6 steps, each as often as the others.
        let several = with(|r| r.variable_steps = Some([3, 6]));
        assert_eq!(several, [216, 42, 42, 342]);
        // 256 paths of 60 steps before the run, unless the levels are there already.
        let searched = with(|r| r.spacing = Spacing::Searched(Search::default()));
        assert_eq!(searched, [144 + 256 * 60, 24, 24, 216 + 256 * 60]);
        let found = with(|r| {
            r.spacing = Spacing::Searched(Search {
                levels: Some(vec![80.0, 6.0, 2.0, 1.0, 0.006]),
                ..Search::default()
            });
        });
        assert_eq!(found, [144, 24, 24, 216]);
        // A second stage's teacher is a student, with a first step that is free.
        let second = with(|r| {
            r.steps = 2;
            r.substeps = 3;
            r.second_stage = true;
            r.teacher_solver = SolverConfig::Euler {};
        });
        assert_eq!(second, [60, 12, 12, 96]);
    }
}
