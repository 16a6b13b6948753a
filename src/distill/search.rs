//! The grid that a run searches for before it starts.

use super::Recipe;
use crate::Error;
use crate::grid::Spacing;
use crate::model::Model;
use crate::schedule::ScheduleSearch;
use burn::tensor::Device;

impl Recipe {
    /// The recipe with the levels that its spacing is to search for: on the paths of this teacher and its solver, for the
    /// student's first step as it will be taken. A recipe that has nothing to search for comes back as it is.
    ///
    /// The levels become a part of the recipe, and so of every checkpoint and of the card: a run that goes on, a student
    /// that is sampled and a run that is repeated from the written recipe all use the very same ones, also on a machine
    /// that rounds otherwise.
    ///
    /// `report` is told how many paths are done.
    ///
    /// # Errors
    /// Those of [`Recipe::check`] and of [`ScheduleSearch::run`].
    pub fn searched(
        &self,
        teacher: &Model,
        device: &Device,
        report: &mut dyn FnMut(usize),
    ) -> Result<Self, Error> {
        self.check()?;
        let Some(search) = self.spacing.to_search() else {
            return Ok(self.clone());
        };
        let network = &teacher.card.network;
        if network.context_width().is_some() {
            return Err(Error::Incompatible {
                first: "spacing.kind = \"searched\"".into(),
                second: "a teacher that takes a text".into(),
                remedy: "the search has no texts to ask it with; take another spacing".into(),
            });
        }
        let solver = self.teacher_solver.build()?;
        let found = ScheduleSearch {
            denoiser: &teacher.denoiser(),
            image_shape: network.image_shape(),
            classes: network.classes(),
            solver: solver.as_ref(),
            search,
            steps: self.steps,
            sigma_min: self.sigma_min,
            sigma_max: self.sigma_max,
            analytic_first_step: self.analytic_first_step,
            seed: self.seed,
            device: &device.clone().inner(),
        }
        .run(report)?;
        let mut search = search.clone();
        search.levels = Some(found.grid.levels().to_vec());
        Ok(Self {
            spacing: Spacing::Searched(search),
            ..self.clone()
        })
    }

    /// The recipe with the levels that an earlier start of the same run has found, if its search is the same.
    pub fn with_levels_of(mut self, earlier: &Self) -> Self {
        if let (Some(search), Spacing::Searched(found)) =
            (self.spacing.to_search(), &earlier.spacing)
            && search.same_settings(found)
        {
            self.spacing = earlier.spacing.clone();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::Search;

    fn recipe(gamma: f64, levels: Option<Vec<f64>>) -> Recipe {
        Recipe {
            spacing: Spacing::Searched(Search {
                gamma,
                levels,
                ..Search::default()
            }),
            ..Recipe::default()
        }
    }

    #[test]
    fn a_recipe_is_checked_before_its_search() {
        let open = recipe(1.15, None);
        open.check().unwrap();
        assert!(open.teacher_grid(3).is_err());
        assert!(recipe(0.0, None).check().is_err());
        let many = Recipe {
            steps: 61,
            ..open.clone()
        };
        let error = many.check().unwrap_err().to_string();
        assert!(error.contains("`steps`") && error.contains("60"), "{error}");
        let alone = Recipe { steps: 1, ..open };
        assert!(alone.check().is_err());
    }

    #[test]
    fn a_found_grid_is_that_of_teacher_and_student() {
        let levels = vec![80.0, 10.0, 1.0, 0.006];
        let found = recipe(1.15, Some(levels.clone()));
        found.check().unwrap();
        assert_eq!(found.sampling().grid().unwrap().levels(), levels);
        assert!(matches!(found.sampling().spacing, Spacing::Levels { .. }));
        let teacher = found.teacher_grid(3).unwrap();
        assert_eq!(teacher.steps(), 12);
        assert_eq!(teacher.every(4).unwrap().levels(), levels);
    }

    #[test]
    fn only_the_same_search_takes_over_what_was_found() {
        let found = recipe(1.15, Some(vec![80.0, 10.0, 1.0, 0.006]));
        assert_eq!(recipe(1.15, None).with_levels_of(&found), found);
        let other = recipe(1.2, None);
        assert_eq!(other.clone().with_levels_of(&found), other);
        let plain = Recipe::default();
        assert_eq!(plain.clone().with_levels_of(&found), plain);
    }
}
