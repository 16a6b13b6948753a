//! A recipe that may be used: checked, and with what depends on its teacher filled in.

use super::{PerceptualConfig, Recipe};
use crate::Error;
use crate::denoiser::{Contexts, FACTOR};
use crate::model::{Card, Model, Sampling};
use burn::tensor::Device;
use serde::{Serialize, Serializer};
use std::ops::Deref;
use std::sync::Arc;

/// How much of a hash a message shows.
const SHOWN: usize = 12;

/// A recipe that is checked, alone and with its teacher, and says all that depends on the teacher.
/// [`Recipe::for_teacher`] makes one, and nothing trains by any other. Its settings can be read as a [`Recipe`]'s; what may
/// still change - the levels of a search, the texts, the weights of a perceptual distance - makes another one, checked again.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    recipe: Recipe,
    teacher: Arc<Card>,
}

impl Deref for Resolved {
    type Target = Recipe;

    fn deref(&self) -> &Recipe {
        &self.recipe
    }
}

impl Serialize for Resolved {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.recipe.serialize(serializer)
    }
}

impl Resolved {
    /// Of a recipe that was checked with this teacher.
    pub(super) fn new(recipe: Recipe, teacher: &Card) -> Self {
        Self {
            recipe,
            teacher: Arc::new(teacher.clone()),
        }
    }

    /// The same with other settings.
    fn with(&self, recipe: Recipe) -> Result<Self, Error> {
        recipe.check()?;
        Ok(Self {
            recipe,
            teacher: Arc::clone(&self.teacher),
        })
    }

    /// The card of its teacher.
    pub fn teacher_card(&self) -> &Card {
        &self.teacher
    }

    /// How the teacher is sampled while the student takes `steps` steps.
    pub fn teacher_sampling_of(&self, steps: usize) -> Sampling {
        self.recipe.teacher_sampling(&self.teacher, steps)
    }

    /// Whether a model is the teacher that the recipe was resolved for.
    ///
    /// # Errors
    /// [`Error::Incompatible`] for another.
    pub(super) fn check_teacher(&self, teacher: &Model) -> Result<(), Error> {
        if teacher.card == *self.teacher {
            return Ok(());
        }
        Err(Error::Incompatible {
            first: "a recipe that was resolved for one teacher".into(),
            second: "another teacher".into(),
            remedy: "resolve it for this one (`Recipe::for_teacher`)".into(),
        })
    }

    /// Whether a device has the types that the recipe computes and stores in.
    ///
    /// # Errors
    /// [`Error::Incompatible`] naming the setting.
    pub fn check_device(&self, device: &Device) -> Result<(), Error> {
        self.recipe.check_types(device)
    }

    /// The recipe with the texts that its trajectories draw from.
    ///
    /// # Errors
    /// [`Error::Incompatible`] if the teacher takes no text or one of another width, if it is guided and there is no
    /// text to move away from, or if the recipe names [other texts](Recipe::prompts).
    pub fn with_texts(&self, texts: &Contexts) -> Result<Self, Error> {
        let texts = self.sized(texts.clone())?;
        self.check_texts(&texts)?;
        self.with(Recipe {
            prompts: Some(texts.digest()),
            ..self.recipe.clone()
        })
    }

    /// Texts with the sizes of whole pictures, for a teacher that is told sizes, unless they say some themselves.
    pub(super) fn sized(&self, texts: Contexts) -> Result<Contexts, Error> {
        let network = &self.teacher.network;
        texts.sized_as_whole(network, network.image_shape(), FACTOR)
    }

    /// The recipe with the levels that an earlier start of the same run has found, if its search is the same.
    ///
    /// # Errors
    /// Those of [`Recipe::check`].
    pub fn with_levels_of(&self, earlier: &Recipe) -> Result<Self, Error> {
        self.with(self.recipe.clone().with_levels_of(earlier))
    }

    /// The recipe with the weights of its perceptual distance named.
    ///
    /// # Errors
    /// Those of [`Recipe::check`].
    pub fn with_perceptual(&self, config: PerceptualConfig) -> Result<Self, Error> {
        self.with(Recipe {
            perceptual: Some(config),
            ..self.recipe.clone()
        })
    }

    /// The recipe with levels that are found by its search, if it wants one; see [`Recipe::searched`].
    ///
    /// # Errors
    /// Those of [`Recipe::searched`], and [`Error::Incompatible`] for another teacher than its own.
    pub fn searched(
        &self,
        teacher: &Model,
        device: &Device,
        report: &mut dyn FnMut(usize),
    ) -> Result<Self, Error> {
        self.check_teacher(teacher)?;
        self.with(self.recipe.searched(teacher, device, report)?)
    }

    /// Whether texts are those that the recipe and its teacher ask for.
    pub(super) fn check_texts(&self, contexts: &Contexts) -> Result<(), Error> {
        let [texts, tokens, width] = contexts.dims();
        let incompatible = |second: String, remedy: &str| Error::Incompatible {
            first: format!("{texts} texts of {tokens} tokens, {width} wide"),
            second,
            remedy: remedy.into(),
        };
        match self.teacher.network.context_width() {
            Some(wanted) if wanted == width => {}
            Some(wanted) => {
                let second = format!("a teacher that takes tokens {wanted} wide");
                return Err(incompatible(
                    second,
                    "use the text encoder that it was trained with",
                ));
            }
            None => {
                let second = "a teacher that takes no text".into();
                return Err(incompatible(second, "leave the texts out"));
            }
        }
        if self.teacher_guidance != 1.0 && !contexts.has_negative() {
            let second = format!("teacher-guidance = {}", self.teacher_guidance);
            return Err(incompatible(
                second,
                "give the tokens of the empty text as well",
            ));
        }
        let digest = contexts.digest();
        if let Some(wanted) = self.prompts.as_ref().filter(|w| **w != digest) {
            let short = |digest: &str| digest.chars().take(SHOWN).collect::<String>();
            return Err(Error::Incompatible {
                first: format!("the prompts of the recipe ({})", short(wanted)),
                second: format!("the given ones ({})", short(&digest)),
                remedy: "give the same list, text encoder and vocabulary, or leave `prompts` out of the recipe".into(),
            });
        }
        Ok(())
    }
}
