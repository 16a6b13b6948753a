//! What a file of ours is for, by its card.

use serde::{Deserialize, Serialize};

/// What a model file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// Trained on images; needs a many-step sampler.
    Teacher,
    /// Distilled; samples in a few steps.
    Student,
}

impl Kind {
    /// The name of the file that a run leaves in its folder.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Teacher => "teacher.safetensors",
            Self::Student => "student.safetensors",
        }
    }
}

/// What a file of ours is by its card: `teacher`, `student`, `features`, `statistics`, `latents` or `training state`.
pub fn kind_name(card: &serde_json::Value) -> Option<&'static str> {
    match card["kind"].as_str() {
        Some("teacher") => Some("teacher"),
        Some("student") => Some("student"),
        Some("features") => Some("features"),
        Some("moments") => Some("statistics"),
        Some("latents") => Some("latents"),
        _ if card.get("round").is_some() && card.get("recipe").is_some() => Some("training state"),
        _ => None,
    }
}
