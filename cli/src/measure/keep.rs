//! Where an evaluation keeps what it has measured so far, and the work itself, batch by batch.

use super::journal::Journal;
use super::record::Record;
use crate::context::Context;
use crate::group::Together;
use crate::output::Outputs;
use crate::screen::progress::Reporter;
use crate::screen::signal;
use anyhow::Context as _;
use clap::Args;
use fewstep::model::hash_bytes;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;

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
    /// The processes that share the work; the first of them keeps it.
    together: Arc<Together>,
    finished: RefCell<Vec<Journal>>,
    _outputs: Outputs,
}

impl Keep {
    /// Of one evaluation, which `of` tells from others. Tries the folder, if it was named.
    pub fn new(args: &KeepArgs, of: Value, context: &Context) -> anyhow::Result<Self> {
        let mut outputs = Outputs::default();
        if let Some(folder) = args.state.as_ref().filter(|_| context.together.leads()) {
            outputs.folder(folder)?;
        }
        Ok(Self {
            folder: args.state.clone().unwrap_or(PathBuf::from(FOLDER)),
            resume: args.resume,
            named: args.state.is_some(),
            of,
            reporter: context.reporter,
            together: Arc::clone(&context.together),
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
        let open = || Journal::open(path, header, self.resume, self.named, self.reporter);
        Ok(Stage(Some(Kept {
            journal: self.together.leads().then(open).transpose()?,
            keep: self,
        })))
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
pub struct Stage<'a>(Option<Kept<'a>>);

/// Where it is kept.
struct Kept<'a> {
    /// Of the process that keeps it.
    journal: Option<Journal>,
    keep: &'a Keep,
}

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
    /// two. Of several processes each makes some of the records, and all take all of them.
    pub fn batches(
        mut self,
        count: usize,
        mut make: impl FnMut(usize) -> anyhow::Result<Record>,
        mut take: impl FnMut(Record) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        signal::catch("batch")?;
        let alone = Together::alone();
        let together = match &self.0 {
            Some(kept) => &kept.keep.together,
            None => &alone,
        };
        let there = match &mut self.0 {
            Some(kept) => kept.replay(&mut take)?,
            None => 0,
        };
        if let Some(kept) = self.0.as_ref().filter(|_| there > 0) {
            let said = format!("{there} of {count} batches are measured already");
            kept.keep.reporter.say(said);
        }
        let mut index = there;
        while index < count {
            let own = index + together.rank();
            let mine = together.agree(match own < count {
                true => signal::check()
                    .map_err(Into::into)
                    .and_then(|()| make(own))
                    .map(Some),
                false => signal::check().map(|()| None).map_err(Into::into),
            })?;
            for record in shared(together, mine)? {
                if let Some(Kept {
                    journal: Some(journal),
                    ..
                }) = &mut self.0
                {
                    journal.append(&record)?;
                }
                take(record)?;
            }
            index += together.size();
        }
        if let Some(kept) = self.0 {
            kept.keep.finished.borrow_mut().extend(kept.journal);
        }
        Ok(())
    }
}

impl Kept<'_> {
    /// Hands on what is there, to all processes; how many records.
    fn replay(
        &mut self,
        take: &mut dyn FnMut(Record) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let together = &self.keep.together;
        if together.size() == 1 {
            return self
                .journal
                .as_mut()
                .map_or(Ok(0), |journal| journal.replay(take));
        }
        let mut found = Vec::new();
        let replayed = self.journal.as_mut().map(|journal| {
            journal.replay(&mut |record| {
                found.push(record);
                Ok(())
            })
        });
        together.agree(replayed.transpose())?;
        let mut found = found.into_iter();
        let mut count = 0;
        loop {
            let record = shared(together, found.next())?.pop();
            let Some(record) = record else {
                return Ok(count);
            };
            count += 1;
            take(record)?;
        }
    }
}

/// The records of all processes, in their order, of those that have one.
fn shared(together: &Together, mine: Option<Record>) -> anyhow::Result<Vec<Record>> {
    if together.size() == 1 {
        return Ok(mine.into_iter().collect());
    }
    let mine = mine.map_or(Vec::new(), |record| record.to_bytes());
    let all = together.group().tell(&mine)?;
    let all = all.into_iter().filter(|bytes| !bytes.is_empty());
    let read = all.map(|bytes| {
        let length = bytes.len() as u64;
        let record = Record::read(&mut bytes.as_slice(), length);
        Ok(record.context("a process has told what is no record")?.0)
    });
    read.collect()
}
