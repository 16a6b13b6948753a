//! What a search has found so far, a line for each measured candidate, so that it can be gone on with.

use super::space::Candidate;
use crate::screen::failure::wrong;
use anyhow::Context as _;
use fs_err::OpenOptions;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A candidate at the end of a rung.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    /// Which of the searches, from 0.
    pub bracket: usize,
    /// Its place in it, from 0.
    pub place: usize,
    /// The rung, from 0.
    pub rung: usize,
    /// The settings.
    pub candidate: Candidate,
    /// Trajectories that it has been trained on in all.
    pub trajectories: u64,
    /// Network forwards of its training in all, a backward pass counted as two.
    pub forwards: u64,
    /// The target; nothing if the training ran away.
    pub distance: Option<f64>,
    /// Seconds of this rung, measuring included.
    pub seconds: f64,
}

impl Entry {
    /// The distance, or infinity where there is none.
    pub fn value(&self) -> f64 {
        self.distance.unwrap_or(f64::INFINITY)
    }
}

/// The lines of a search. The first says what is searched: with other settings it is another search.
pub struct Record {
    path: PathBuf,
    entries: Vec<Entry>,
}

impl Record {
    /// The file of a search's lines.
    pub const FILE: &'static str = "tune.jsonl";

    /// Opens the lines of an earlier start with the same `settings`, or begins.
    pub fn open(folder: &Path, settings: &serde_json::Value) -> anyhow::Result<Self> {
        let path = folder.join(Self::FILE);
        let text = match fs_err::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error.into()),
        };
        // What a kill or a power cut left without an end is measured again.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let mut lines = whole.lines();
        let mut entries = Vec::new();
        match lines.next() {
            None => {
                fewstep::model::write_atomically(&path, format!("{settings}\n").as_bytes())?;
            }
            Some(first) => {
                let before: serde_json::Value = serde_json::from_str(first)
                    .with_context(|| format!("{}: line 1 is no search", path.display()))?;
                if let Some((key, before, now)) =
                    crate::run::recipe::first_difference(&before, settings)
                {
                    return Err(wrong(format!(
                        "{} holds a search with `{key}` = {before}, now it is {now}; type the same command to go on with \
                         it, add --overwrite to start anew, or name another folder with --out",
                        folder.display()
                    )));
                }
                for (at, line) in lines.enumerate() {
                    entries.push(serde_json::from_str(line).with_context(|| {
                        format!("{}: line {} is no result", path.display(), at + 2)
                    })?);
                }
                if whole.len() < text.len() {
                    fewstep::model::write_atomically(&path, whole.as_bytes())?;
                }
            }
        }
        Ok(Self { path, entries })
    }

    /// What is known of a candidate after so many trajectories, in whichever bracket it was.
    pub fn find(&self, candidate: &Candidate, trajectories: u64) -> Option<&Entry> {
        let mut entries = self.entries.iter();
        entries.find(|e| e.candidate == *candidate && e.trajectories == trajectories)
    }

    /// Keeps a result.
    pub fn add(&mut self, entry: Entry) -> anyhow::Result<()> {
        let line = serde_json::to_string(&entry).context("cannot write the result")?;
        let mut file = OpenOptions::new().append(true).open(&self.path)?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_all()?;
        self.entries.push(entry);
        Ok(())
    }

    /// All results, in the order in which they were found.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_search_is_gone_on_with_and_another_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let settings = json!({ "budget": 100 });
        let entry = Entry {
            bracket: 0,
            place: 3,
            rung: 1,
            candidate: Candidate {
                curve: None,
                substeps: 4,
                analytic_first_step: true,
                learning_rate: 5e-5,
                growth: 1.0,
            },
            trajectories: 64,
            forwards: 1000,
            distance: None,
            seconds: 1.5,
        };
        Record::open(folder.path(), &settings)
            .unwrap()
            .add(entry.clone())
            .unwrap();
        // A line that was cut off.
        let path = folder.path().join(Record::FILE);
        let text = fs_err::read_to_string(&path).unwrap();
        fs_err::write(&path, format!("{text}{{\"bracket\":0")).unwrap();
        let record = Record::open(folder.path(), &settings).unwrap();
        assert_eq!(record.entries(), std::slice::from_ref(&entry));
        assert_eq!(record.find(&entry.candidate, 64), Some(&entry));
        assert_eq!(record.find(&entry.candidate, 32), None);
        assert!(fs_err::read_to_string(&path).unwrap().ends_with("}\n"));
        let error = Record::open(folder.path(), &json!({ "budget": 200 }))
            .err()
            .unwrap();
        assert!(error.to_string().contains("`budget`"), "{error}");
    }
}
