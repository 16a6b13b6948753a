//! One of the things that a sweep compares.

use crate::model::sampling::SamplingArgs;
use fewstep::distill::Recipe;

/// One of the things that are compared.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Unique in the sweep.
    pub name: String,
    /// Where it differs from the others, as typed: key and value.
    pub settings: Vec<(String, String)>,
    /// A run for each.
    pub seeds: Vec<u64>,
    /// What is done.
    pub work: Work,
}

/// What is measured.
#[derive(Clone, Debug)]
pub enum Work {
    /// A student.
    Distil {
        /// With any seed.
        recipe: Box<Recipe>,
        /// Numbers of network calls to sample with; the card's own if empty.
        evaluations: Vec<usize>,
        /// The trial whose student is the teacher.
        after: Option<String>,
    },
    /// The teacher.
    Sample(Vec<SamplingArgs>),
}

impl Trial {
    /// The folder of one of its runs, inside the sweep's.
    pub fn place(&self, seed: u64) -> String {
        match self.work {
            Work::Distil { .. } => place(&self.name, seed),
            Work::Sample(_) => slug(&self.name),
        }
    }

    /// The number that a key of the recipe has.
    pub fn number(&self, key: &str) -> Option<f64> {
        let Work::Distil { recipe, .. } = &self.work else {
            return None;
        };
        let recipe = serde_json::to_value(recipe).ok()?;
        let found = key.split('.').try_fold(&recipe, |at, part| at.get(part))?;
        found.as_f64()
    }
}

/// The folder of a distillation.
pub fn place(name: &str, seed: u64) -> String {
    format!("{}/seed-{seed}", slug(name))
}

/// A name as a folder.
pub fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars() {
        match c {
            c if c.is_alphanumeric() => slug.extend(c.to_lowercase()),
            '.' | '+' => slug.push(c),
            _ if slug.ends_with('-') || slug.is_empty() => {}
            _ => slug.push('-'),
        }
    }
    let slug = slug.trim_end_matches(['-', '.']).to_string();
    if slug.is_empty() { "run".into() } else { slug }
}
