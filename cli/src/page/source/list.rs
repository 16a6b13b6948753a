//! What was named, and what of it is what.

use super::evaluation::Evaluation;
use super::place::folders;
use super::run::{self, Depth, Run};
use super::search::{self, Search};
use super::sweep::{self, Sweep};
use crate::screen::failure::wrong;
use std::path::{Path, PathBuf};

/// One of the things that a page shows.
pub enum Shown {
    Run(Box<Run>),
    Sweep(Sweep),
    Search(Search),
    Evaluation(Evaluation),
}

impl Shown {
    /// What it is called on the page.
    pub fn name(&self) -> &str {
        match self {
            Self::Run(run) => &run.name,
            Self::Sweep(sweep) => &sweep.name,
            Self::Search(search) => &search.name,
            Self::Evaluation(found) => &found.name,
        }
    }

    fn rename(&mut self, name: String) {
        match self {
            Self::Run(run) => run.name = name,
            Self::Sweep(sweep) => sweep.name = name,
            Self::Search(search) => search.name = name,
            Self::Evaluation(found) => found.name = name,
        }
    }

    /// The runs of training in it.
    pub fn run(&self) -> Option<&Run> {
        match self {
            Self::Run(run) => Some(run),
            _ => None,
        }
    }
}

/// Reads all that was named; a measurement of a run's model goes to its run.
///
/// # Errors
/// Something named is nothing of ours, or holds a file that is broken.
pub fn all(paths: &[PathBuf], depth: Depth) -> anyhow::Result<Vec<Shown>> {
    let mut sources = Vec::new();
    for path in paths {
        sources.extend(read(path, depth)?);
    }
    let mut loose = Vec::new();
    let mut kept: Vec<Shown> = Vec::new();
    for source in sources {
        match source {
            Shown::Evaluation(found) => loose.push(found),
            other => kept.push(other),
        }
    }
    for found in loose {
        let own = kept.iter_mut().find_map(|source| match source {
            Shown::Run(run) if run.holds(found.hash.as_deref()) => Some(run),
            _ => None,
        });
        match own {
            Some(run) if !run.evaluations.contains(&found) => run.evaluations.push(found),
            Some(_) => {}
            None => kept.push(Shown::Evaluation(found)),
        }
    }
    tell_apart(&mut kept, paths);
    Ok(kept)
}

/// Names that are there twice get their folders' paths.
fn tell_apart(sources: &mut [Shown], paths: &[PathBuf]) {
    let names: Vec<String> = sources.iter().map(|s| s.name().to_string()).collect();
    for source in sources.iter_mut() {
        let twice = names.iter().filter(|name| *name == source.name()).count() > 1;
        let path = paths.iter().find(|path| match &*source {
            Shown::Run(run) => run.folder == **path,
            Shown::Sweep(sweep) => sweep.folder == **path,
            Shown::Search(search) => search.folder == **path,
            Shown::Evaluation(found) => found.from.as_ref() == Some(*path),
        });
        if let Some(path) = path.filter(|_| twice) {
            source.rename(path.display().to_string());
        }
    }
}

/// What is said of a name that leads nowhere.
pub fn nothing_there(path: &Path) -> anyhow::Error {
    let path = path.display();
    wrong(format!(
        "there is no {path}; name the folder of a run, a sweep or a search, or what `fewstep evaluate --json` printed"
    ))
}

fn read(path: &Path, depth: Depth) -> anyhow::Result<Vec<Shown>> {
    let shown = path.display();
    if path.is_file() {
        return match Evaluation::read(path)? {
            Some(found) => Ok(vec![Shown::Evaluation(found)]),
            None => Err(wrong(format!(
                "{shown} is no result of `fewstep evaluate --json`; name such a file, or the folder of a run"
            ))),
        };
    }
    if !path.is_dir() {
        return Err(nothing_there(path));
    }
    if path.join(search::FILE).is_file() {
        return Ok(vec![Shown::Search(Search::read(path)?)]);
    }
    if path.join(sweep::TABLE).is_file() {
        return Ok(vec![Shown::Sweep(Sweep::read(path)?)]);
    }
    if path.join(run::RECIPE).is_file() {
        return Ok(vec![Shown::Run(Box::new(Run::read(path, depth)?))]);
    }
    let mut found = Vec::new();
    for folder in folders(path)? {
        if folder.join(sweep::TABLE).is_file() {
            found.push(Shown::Sweep(Sweep::read(&folder)?));
        }
    }
    match found.is_empty() {
        true => Err(wrong(format!(
            "{shown} holds no run: it has neither {} (train, distill, demo) nor {} (sweep) nor {} (tune)",
            run::RECIPE,
            sweep::TABLE,
            search::FILE
        ))),
        false => Ok(found),
    }
}
