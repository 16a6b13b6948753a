//! What a folder turned out to be, and how one samples from it.

use super::schedule::Schedule;
use crate::container::Scalar;
use std::path::Path;

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The class of the pipeline.
    pub pipeline: String,
    /// Module and class of the scheduler.
    pub scheduler: [String; 2],
    /// The numbers of calls that it samples with, and what happens in each.
    pub schedules: Vec<Schedule>,
    /// The type of all its weights.
    pub scalar: Scalar,
    /// What the network is told in place of its own times, where they differ.
    pub told: Option<Vec<f64>>,
    /// Its latents are the student's times this.
    pub unit: f64,
    /// How closely the text is followed.
    pub guidance: f64,
    /// Whether the network must be connected with its scheduler.
    pub attached: bool,
}

impl Written {
    /// The shortest program that samples from the folder, as Python.
    pub fn snippet(&self, folder: &Path) -> String {
        let (pipeline, path) = (&self.pipeline, folder.display().to_string());
        // As JSON, which is Python's as well: a path may hold anything.
        let path = serde_json::Value::from(path);
        let calls = self.schedules.last().map(Schedule::calls);
        let steps = calls.map_or(String::new(), |n| format!("num_inference_steps={n}, "));
        let attach = match self.attached {
            true => "pipe.scheduler.attach(pipe.unet)\n",
            false => "",
        };
        format!(
            "from diffusers import {pipeline}\n\npipe = {pipeline}.from_pretrained({path})\n{attach}picture = pipe(\"a lighthouse in a \
             storm\", {steps}guidance_scale={}).images[0]\n",
            self.guidance
        )
    }

    /// The numbers of calls that it samples with: `3`, `2, 3 or 4`.
    pub fn calls(&self) -> String {
        let all: Vec<String> = self
            .schedules
            .iter()
            .map(|s| s.calls().to_string())
            .collect();
        match all.as_slice() {
            [before @ .., last] if !before.is_empty() => format!("{} or {last}", before.join(", ")),
            all => all.join(""),
        }
    }

    /// What the scheduler is, and what is needed for it.
    pub fn needs(&self) -> String {
        let [module, class] = &self.scheduler;
        match module.as_str() {
            "diffusers" => {
                format!("Its scheduler is diffusers' own {class}: nothing but diffusers is needed.")
            }
            _ => format!(
                "Its scheduler is {class} of the Python package `fewstep`, which must be installed.{}",
                match self.attached {
                    true =>
                        " It is connected with the U-Net by `attach`, since the student is told how many calls there will be.",
                    false => "",
                }
            ),
        }
    }
}
