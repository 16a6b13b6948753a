//! A run's folder: recipe, checkpoint, metrics and previews.

use crate::context::Context;
use crate::model::latent::NOTE;
use crate::run::events;
use crate::run::lock::Lock;
use crate::run::recipe::first_difference;
use crate::screen::failure::wrong;
use crate::screen::progress::Reporter;
use anyhow::Context as _;
use fewstep::model::{State, write_atomically};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The checkpoint.
pub const STATE: &str = "state.safetensors";
const METRICS: &str = "metrics.jsonl";
const RECIPE: &str = "recipe.toml";
/// How the names of states that are kept begin.
const SNAPSHOT: &str = "state-";

/// What to do with a folder that holds a run already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// Go on with it.
    pub resume: bool,
    /// Throw it away.
    pub overwrite: bool,
}

/// The folder of one run, which no other process works in while this is there.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Seconds of work done before this start.
    pub seconds_before: f64,
    /// Whether the run is to go on from what is there.
    pub resumes: bool,
    /// Whether its recipe is another one from now on, which its checkpoint does not know yet.
    pub changed: bool,
    /// Of the process that writes.
    lock: Option<Lock>,
}

impl Folder {
    /// Creates the folder, or opens it. Returns the checkpoint to go on from, if there is one: whether it is of the same
    /// run is to be [checked](Self::check_recipe). `product` is the name of the file that the run makes.
    ///
    /// Of several processes the first holds the folder and writes into it; the others see what it has found.
    pub fn open(
        path: &Path,
        policy: Policy,
        product: &str,
        context: &Context,
    ) -> anyhow::Result<(Self, Option<State>)> {
        let together = &context.together;
        together.first(|| match together.leads() {
            true => Self::enter(path, policy, product, context.reporter),
            false => Self::follow(path, policy),
        })
    }

    /// As a process that writes nothing.
    fn follow(path: &Path, policy: Policy) -> anyhow::Result<(Self, Option<State>)> {
        let folder = Self {
            path: path.to_path_buf(),
            seconds_before: 0.0,
            resumes: policy.resume,
            changed: false,
            lock: None,
        };
        let there = policy.resume && folder.state().exists();
        let state = there.then(|| State::read(&folder.state())).transpose()?;
        Ok((folder, state))
    }

    fn enter(
        path: &Path,
        policy: Policy,
        product: &str,
        reporter: Reporter,
    ) -> anyhow::Result<(Self, Option<State>)> {
        fs_err::create_dir_all(path)?;
        let mut folder = Self {
            path: path.to_path_buf(),
            seconds_before: 0.0,
            resumes: policy.resume,
            changed: false,
            lock: Some(Lock::take(path, reporter)?),
        };
        let (holds_state, holds_product) = (folder.state().exists(), folder.file(product).exists());
        if policy.overwrite {
            folder.clear(product)?;
        } else if holds_state && policy.resume {
            let state = State::read(&folder.state())?;
            folder.clear_temporary()?;
            folder.rewind_metrics(state.progress.round)?;
            return Ok((folder, Some(state)));
        } else if holds_product && policy.resume {
            return Err(wrong(format!(
                "{} holds {product} but no {STATE} to go on from; --overwrite starts anew, --out names another folder",
                path.display()
            )));
        } else if holds_state || holds_product {
            return Err(wrong(format!(
                "{} already holds a run; add --resume to go on with it, --overwrite to start anew, or name another \
                 folder with --out",
                path.display()
            )));
        }
        folder.clear_temporary()?;
        folder.rewind_metrics(0)?;
        Ok((folder, None))
    }

    /// Whether this process writes into it.
    pub fn is_held(&self) -> bool {
        self.lock.is_some()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file inside.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The checkpoint.
    pub fn state(&self) -> PathBuf {
        self.file(STATE)
    }

    /// Writes the recipe as it was resolved.
    pub fn write_recipe(&self, text: &str) -> anyhow::Result<()> {
        if !self.is_held() {
            return Ok(());
        }
        Ok(write_atomically(&self.file(RECIPE), text.as_bytes())?)
    }

    /// Adds a line of metrics.
    pub fn append_metrics(&self, line: &Value) -> anyhow::Result<()> {
        let path = self.file(METRICS);
        let mut file = fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)?;
        file.write_all(format!("{line}\n").as_bytes())?;
        events::append(&self.path, line)
    }

    /// Shows a round's preview to TensorBoard, if there is one; `line` is that of the round's metrics.
    pub fn append_preview(&self, line: &Value) -> anyhow::Result<()> {
        let round = line["round"].as_u64().unwrap_or(0);
        events::append_preview(&self.path, &self.preview(round), line)
    }

    /// The name of a round's preview.
    pub fn preview(&self, round: u64) -> PathBuf {
        self.file(&format!("preview-{round:07}.png"))
    }

    /// Whether a checkpoint is of this recipe; `changeable` are the settings that --set may change.
    pub fn check_recipe(
        &self,
        state: &State,
        recipe: &Value,
        changeable: &[&str],
    ) -> anyhow::Result<()> {
        let Some((key, before, now)) = first_difference(&state.progress.recipe, recipe) else {
            return Ok(());
        };
        if key == "prompts" {
            return Err(wrong(format!(
                "the run in {} was started with other prompts (or another text encoder, vocabulary or embedding type, or \
                 version of this program); give the same ones, or start anew with --overwrite",
                self.path.display()
            )));
        }
        let top = key.split('.').next().unwrap_or_default();
        let or = match changeable.contains(&top) {
            true => format!(", or change it from here on with --set {key}={now}"),
            false => String::new(),
        };
        Err(wrong(format!(
            "the run in {} was started with `{key}` = {before}, the recipe now says {now}; go on with the old recipe \
             ({}){or}, or start anew with --overwrite",
            self.path.display(),
            self.file(RECIPE).display()
        )))
    }

    /// Drops the lines that the checkpoint does not know of, and a half-written one; likewise of what TensorBoard reads.
    fn rewind_metrics(&mut self, round: u64) -> anyhow::Result<()> {
        let path = self.file(METRICS);
        if !path.exists() {
            return events::rebuild(&self.path, "", |round| self.preview(round));
        }
        let text = fs_err::read(&path)?;
        let text = String::from_utf8_lossy(&text);
        let mut kept = String::new();
        for line in text.lines() {
            let Ok(values) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            if values["round"]
                .as_u64()
                .is_some_and(|r| r <= round && r > 0)
            {
                self.seconds_before = values["seconds"].as_f64().unwrap_or(self.seconds_before);
                kept.push_str(line);
                kept.push('\n');
            }
        }
        write_atomically(&path, kept.as_bytes())?;
        events::rebuild(&self.path, &kept, |round| self.preview(round))
    }

    /// Removes an old run, its checkpoint first, so that what is left is never taken for a run.
    fn clear(&self, product: &str) -> anyhow::Result<()> {
        let mut doomed = [STATE, product, METRICS, RECIPE, NOTE, events::FILE]
            .map(|name| self.file(name))
            .to_vec();
        doomed.extend(self.matching("preview-", ".png")?);
        doomed.extend(self.matching(SNAPSHOT, ".safetensors")?);
        for path in doomed {
            if path.exists() {
                fs_err::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Removes what a killed write left behind.
    fn clear_temporary(&self) -> anyhow::Result<()> {
        for path in self.matching(".fewstep-", ".tmp")? {
            fs_err::remove_file(path)?;
        }
        Ok(())
    }

    /// Where the state after so many rounds is kept for good.
    pub fn snapshot(&self, round: u64) -> PathBuf {
        self.file(&format!("{SNAPSHOT}{round:07}.safetensors"))
    }

    /// Removes all snapshots but the last few.
    pub fn keep_snapshots(&self, count: usize) -> anyhow::Result<()> {
        let mut found = self.matching(SNAPSHOT, ".safetensors")?;
        // Rounds of more than seven digits are behind those of fewer.
        found.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
        for path in found.iter().rev().skip(count) {
            fs_err::remove_file(path)?;
        }
        Ok(())
    }

    fn matching(&self, prefix: &str, suffix: &str) -> anyhow::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        if !self.path.exists() {
            return Ok(found);
        }
        for entry in fs_err::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(prefix) && name.ends_with(suffix) {
                found.push(entry.path());
            }
        }
        Ok(found)
    }
}

/// The name of a run that was not given one.
pub fn default_folder(recipe: &str) -> PathBuf {
    let stem = Path::new(recipe)
        .file_stem()
        .map_or("run".into(), |s| s.to_os_string());
    Path::new("runs").join(stem)
}

/// A recipe as the checkpoint holds it.
pub fn recipe_json<R: serde::Serialize>(recipe: &R) -> anyhow::Result<Value> {
    serde_json::to_value(recipe).context("cannot write the recipe")
}

/// One line of metrics.
pub fn metrics_line(
    round: u64,
    unit: &str,
    count: u64,
    measure: (&str, Value),
    rest: [f64; 3],
) -> Value {
    let [learning_rate, seconds, rate] = rest;
    let mut line = json!({
        "round": round,
        "learning-rate": learning_rate,
        "seconds": (seconds * 1e3).round() / 1e3,
        "rate": (rate * 1e3).round() / 1e3,
    });
    line[unit] = json!(count);
    line[measure.0] = measure.1;
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCT: &str = "student.safetensors";

    fn open(path: &Path, policy: Policy) -> anyhow::Result<Folder> {
        let (folder, _) = Folder::enter(path, policy, PRODUCT, Reporter::new(true))?;
        Ok(folder)
    }

    fn line(round: u64) -> Value {
        let loss = ("loss", json!(0.5));
        metrics_line(round, "images", 8 * round, loss, [0.1, round as f64, 2.0])
    }

    #[test]
    fn metrics_are_cut_back_to_the_checkpoint() {
        let temporary = tempfile::tempdir().unwrap();
        let mut folder = open(temporary.path(), Policy::default()).unwrap();
        for round in [1, 2, 3] {
            folder.append_metrics(&line(round)).unwrap();
        }
        let path = folder.file(METRICS);
        let mut text = fs_err::read_to_string(&path).unwrap();
        text.push_str("{\"round\": 4, \"los");
        fs_err::write(&path, text).unwrap();
        folder.rewind_metrics(2).unwrap();
        let text = fs_err::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}\n{}\n", line(1), line(2)));
        assert_eq!(folder.seconds_before, 2.0);
    }

    #[test]
    fn a_folder_with_a_product_is_not_overwritten_by_accident() {
        let temporary = tempfile::tempdir().unwrap();
        fs_err::write(temporary.path().join(PRODUCT), "x").unwrap();
        let refused = open(temporary.path(), Policy::default()).unwrap_err();
        assert!(refused.to_string().contains("--resume"), "{refused}");
        let resume = Policy {
            resume: true,
            ..Policy::default()
        };
        let refused = open(temporary.path(), resume).unwrap_err();
        assert!(refused.to_string().contains("no state"), "{refused}");
        let overwrite = Policy {
            overwrite: true,
            ..Policy::default()
        };
        open(temporary.path(), overwrite).unwrap();
        assert!(!temporary.path().join(PRODUCT).exists());
    }
}
