//! The whole page.

use super::section::Section;
use super::shell::Page;
use super::{compare, measure, run, search, sweep};
use crate::page::draw::Sheets;
use crate::page::embed::Embed;
use crate::page::source::Shown;

/// The page of some sources.
pub fn report(sources: &[Shown], sheets: &[Sheets], embed: &Embed) -> anyhow::Result<String> {
    let parts = parts(sources, sheets, embed)?;
    let page = match parts.len() {
        1 => Page::of(parts),
        _ => Page::several(parts, compare::part(sources)?),
    };
    Ok(page.html(false))
}

/// The page of a run that is looked at while it goes on.
pub fn live(sources: &[Shown], embed: &Embed) -> anyhow::Result<String> {
    Ok(Page::of(parts(sources, &[], embed)?).html(true))
}

fn parts(sources: &[Shown], sheets: &[Sheets], embed: &Embed) -> anyhow::Result<Vec<Section>> {
    // Room is divided among all pictures that are drawn.
    let rows = sheets.iter().flat_map(|s| &s.sheets);
    let rows: usize = rows.map(|sheet| sheet.rows.len()).sum();
    let part = |(at, source): (usize, &Shown)| match source {
        Shown::Run(run) => {
            let drawn = sheets.iter().find(|s| s.source == at);
            run::part(run, drawn, rows, embed)
        }
        Shown::Sweep(sweep) => sweep::part(sweep),
        Shown::Search(search) => search::part(search),
        Shown::Evaluation(found) => Ok(measure::part(found)),
    };
    sources.iter().enumerate().map(part).collect()
}
