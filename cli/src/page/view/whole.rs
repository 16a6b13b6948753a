//! The whole page.

use super::part::Part;
use super::shell::Page;
use super::{compare, measure, run, search, sweep};
use crate::page::draw::Sheets;
use crate::page::embed::Embed;
use crate::page::source::Source;

/// The page of some sources.
pub fn report(sources: &[Source], sheets: &[Sheets], embed: &Embed) -> anyhow::Result<String> {
    let parts = parts(sources, sheets, embed)?;
    let page = match parts.len() {
        1 => Page::of(parts),
        _ => Page::several(parts, compare::part(sources)?),
    };
    Ok(page.html(false))
}

/// The page of a run that is looked at while it goes on.
pub fn live(sources: &[Source], embed: &Embed) -> anyhow::Result<String> {
    Ok(Page::of(parts(sources, &[], embed)?).html(true))
}

fn parts(sources: &[Source], sheets: &[Sheets], embed: &Embed) -> anyhow::Result<Vec<Part>> {
    // Room is divided among all pictures that are drawn.
    let rows = sheets.iter().flat_map(|s| &s.sheets);
    let rows: usize = rows.map(|sheet| sheet.rows.len()).sum();
    let part = |(at, source): (usize, &Source)| match source {
        Source::Run(run) => {
            let drawn = sheets.iter().find(|s| s.source == at);
            run::part(run, drawn, rows, embed)
        }
        Source::Sweep(sweep) => sweep::part(sweep),
        Source::Search(search) => search::part(search),
        Source::Evaluation(found) => Ok(measure::part(found)),
    };
    sources.iter().enumerate().map(part).collect()
}
