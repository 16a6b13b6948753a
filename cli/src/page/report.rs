//! From what was named to a page.

use crate::context::Context;
use crate::page::draw::{self, Wish};
use crate::page::embed::Embed;
use crate::page::source::{Depth, Evaluation, Shown, all};
use crate::page::view;
use crate::screen::failure::wrong;
use fewstep::model::write_atomically;
use std::path::{Path, PathBuf};

/// The file that verbs leave in their folders.
pub const FILE: &str = "report.html";

/// Writes the page of some runs.
///
/// # Errors
/// A run that is none, or holds a file that cannot be read; a page that cannot be written.
pub fn write(
    runs: &[PathBuf],
    wish: &Wish<'_>,
    to: &Path,
    context: &Context,
) -> anyhow::Result<()> {
    let sources = all(runs, Depth::Whole)?;
    let sheets = draw::sheets(&sources, wish, context)?;
    finish(&sources, sheets, to)
}

/// Writes the page of one measurement.
///
/// # Errors
/// A page that cannot be written.
pub fn write_evaluation(found: Evaluation, to: &Path) -> anyhow::Result<()> {
    finish(&[Shown::Evaluation(found)], Vec::new(), to)
}

fn finish(sources: &[Shown], sheets: Vec<draw::Sheets>, to: &Path) -> anyhow::Result<()> {
    let embed = Embed::inline(sources);
    let page = view::report(sources, &sheets, &embed)?;
    Ok(write_atomically(to, page.as_bytes())?)
}

/// The page of a run as it is now, for a browser that looks at `preview-0000100.png` beside it and asks again.
///
/// # Errors
/// As [`write`].
pub fn live(run: &Path) -> anyhow::Result<String> {
    let runs = [run.to_path_buf()];
    let sources = all(&runs, Depth::Glance)?;
    if !matches!(sources.as_slice(), [Shown::Run(_)]) {
        return Err(wrong(format!(
            "{} is no folder of one run, which is what there is to watch; `fewstep report` shows the others",
            run.display()
        )));
    }
    view::live(&sources, &Embed::links())
}
