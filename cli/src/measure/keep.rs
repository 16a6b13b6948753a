//! Where an evaluation keeps what it has measured so far, and the work itself, batch by batch.

use super::journal::Journal;
use super::record::Record;
use crate::output::Outputs;
use crate::screen::progress::Reporter;
use crate::screen::signal;
use clap::Args;
use fewstep::model::hash_bytes;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::path::PathBuf;

/// Where it is kept unless one says otherwise.
const FOLDER: &str = "runs/evaluate";

/// What is typed of it.
#[derive(Args, Clone, Debug, Default)]
pub struct KeepArgs {
    /// Go on with the same evaluation where it was stopped, or start it
    #[arg(long)]
    pub resume: bool,
    /// Folder for what is measured so far; empty again in the end [default: runs/evaluate, after ten seconds of work]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

/// All that one evaluation keeps. It is thrown away by [`Keep::done`] only.
pub struct Keep {
    folder: PathBuf,
    resume: bool,
    /// Whether the folder was named.
    named: bool,
    /// What is evaluated, so that two evaluations with a part in common do not wait for each other.
    of: Value,
    reporter: Reporter,
    finished: RefCell<Vec<Journal>>,
    _outputs: Outputs,
}

impl Keep {
    /// Of one evaluation, which `of` tells from others. Tries the folder, if it was named.
    pub fn new(args: &KeepArgs, of: Value, reporter: Reporter) -> anyhow::Result<Self> {
        let mut outputs = Outputs::default();
        if let Some(folder) = &args.state {
            outputs.folder(folder)?;
        }
        Ok(Self {
            folder: args.state.clone().unwrap_or(PathBuf::from(FOLDER)),
            resume: args.resume,
            named: args.state.is_some(),
            of,
            reporter,
            finished: RefCell::default(),
            _outputs: outputs,
        })
    }

    /// One kind of images; `origin` is all that their figures depend on.
    pub fn stage(&self, what: &'static str, mut origin: Value) -> anyhow::Result<Stage<'_>> {
        origin["what"] = json!(what);
        origin["of"] = self.of.clone();
        origin["version"] = json!(env!("CARGO_PKG_VERSION"));
        let header = origin.to_string();
        let hash = hash_bytes(header.as_bytes());
        let path = self.folder.join(format!("{what}-{hash:.16}.measured"));
        let journal = Journal::open(path, header, self.resume, self.named, self.reporter)?;
        Ok(Stage(Some((journal, self))))
    }

    /// Throws away what was kept.
    pub fn done(self) {
        self.finished.take().into_iter().for_each(Journal::remove);
        // One that holds something stays; that of the outputs was perhaps there before.
        if !self.named && std::fs::remove_dir(&self.folder).is_ok() {
            let _ = self.folder.parent().map(std::fs::remove_dir);
        }
    }
}

/// Work in batches, each of which is kept.
pub struct Stage<'a>(Option<(Journal, &'a Keep)>);

impl Stage<'_> {
    /// Keeps nothing.
    pub fn none() -> Self {
        Self(None)
    }

    /// Whether what is made is kept.
    pub fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Makes `count` records, or takes those that are there already, and hands each on in order. A signal stops it between
    /// two.
    pub fn batches(
        mut self,
        count: usize,
        mut make: impl FnMut(usize) -> anyhow::Result<Record>,
        mut take: impl FnMut(Record) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        signal::catch("batch")?;
        let there = match &mut self.0 {
            Some((journal, _)) => journal.replay(&mut take)?,
            None => 0,
        };
        if let Some((_, keep)) = self.0.as_ref().filter(|_| there > 0) {
            keep.reporter
                .say(format!("{there} of {count} batches are measured already"));
        }
        for index in there..count {
            signal::check()?;
            let record = make(index)?;
            if let Some((journal, _)) = &mut self.0 {
                journal.append(&record)?;
            }
            take(record)?;
        }
        if let Some((journal, keep)) = self.0 {
            keep.finished.borrow_mut().push(journal);
        }
        Ok(())
    }
}
