//! The folder of a sweep: its table, and the curves of its runs.

use super::place::{folders, name};
use super::run::{Depth, RECIPE, Run};
use crate::screen::failure::wrong;
use std::path::{Path, PathBuf};

/// The file that makes a folder one of a sweep.
pub const TABLE: &str = "sweep.csv";

/// A sweep.
pub struct Sweep {
    pub name: String,
    pub folder: PathBuf,
    pub title: String,
    /// Paragraphs below the title.
    pub about: Vec<String>,
    /// What rows are ranked by, for people.
    pub distance: &'static str,
    pub rows: Vec<Row>,
    /// Of each run that is there: name, trajectories and the distance of the last step.
    pub curves: Vec<(String, Vec<[f64; 2]>)>,
}

/// One setting at one number of evaluations.
pub struct Row {
    pub rank: u64,
    pub name: String,
    pub evaluations: u64,
    pub distance: f64,
    pub deviation: Option<f64>,
    /// What else was measured: its name, the figure, and its spread.
    pub others: Vec<(&'static str, f64, Option<f64>)>,
    pub seeds: u64,
    pub forwards: u64,
    pub minutes: f64,
}

impl Sweep {
    /// Reads a sweep's folder.
    ///
    /// # Errors
    /// Its table is broken.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(TABLE);
        let text = fs_err::read_to_string(&path)?;
        let columns = columns(text.lines().next().unwrap_or_default());
        let rows = text.lines().enumerate().skip(1).map(|(at, line)| {
            row(line, &columns).ok_or_else(|| {
                let path = path.display();
                wrong(format!(
                    "{path}: line {} is no row of a sweep; `fewstep sweep --tables` writes the table anew",
                    at + 1
                ))
            })
        });
        let rows = rows.collect::<anyhow::Result<Vec<_>>>()?;
        let said = fs_err::read_to_string(folder.join("sweep.md")).unwrap_or_default();
        let own = name(folder);
        let title = said.lines().next().and_then(|line| line.strip_prefix("# "));
        let about = said.split("\n\n").skip(1);
        let about = about.take_while(|part| !part.starts_with('|'));
        Ok(Self {
            title: title.unwrap_or(&own).to_string(),
            about: about.map(|part| part.trim().to_string()).collect(),
            distance: columns.first().copied().unwrap_or(FRECHET),
            rows,
            curves: curves(folder)?,
            name: own,
            folder: folder.to_path_buf(),
        })
    }
}

/// What a sweep of pictures is ranked by.
pub const FRECHET: &str = "Frechet distance";

/// Columns of figures by the table's names for them, and for people.
const COLUMNS: [(&str, &str); 5] = [
    ("frechet", FRECHET),
    ("paired", "paired"),
    ("latents", "distance to the teacher's latents"),
    ("pixels", "pixels"),
    ("clip", "CLIP score"),
];

/// The figures of a table by its first line; the first of them is what it is ranked by.
fn columns(head: &str) -> Vec<&'static str> {
    let title = |name: &str| COLUMNS.iter().find(|(known, _)| *known == name);
    head.split(',')
        .filter_map(|name| title(name).map(|(_, title)| *title))
        .collect()
}

/// A line of the table; the name is in quotes.
fn row(line: &str, columns: &[&'static str]) -> Option<Row> {
    let (rank, rest) = line.split_once(",\"")?;
    let end = rest.rfind("\",")?;
    let name = rest[..end].replace("\"\"", "\"");
    let mut fields = rest[end + 2..].split(',');
    let mut next = || fields.next();
    let evaluations = next()?.parse().ok()?;
    let mut figures = Vec::new();
    for title in columns {
        figures.push((*title, next()?.parse().ok()?, next()?.parse().ok()));
    }
    let mut figures = figures.into_iter();
    let (_, distance, deviation) = figures.next()?;
    Some(Row {
        rank: rank.parse().ok()?,
        name,
        evaluations,
        distance,
        deviation,
        others: figures.collect(),
        seeds: next()?.parse().ok()?,
        forwards: next()?.parse().ok()?,
        minutes: next()?.parse().ok()?,
    })
}

/// The curves of the first seed of each run.
fn curves(folder: &Path) -> anyhow::Result<Vec<(String, Vec<[f64; 2]>)>> {
    let mut found = Vec::new();
    for setting in folders(folder)? {
        let seeds = folders(&setting)?;
        let first = seeds.iter().find(|seed| seed.join(RECIPE).is_file());
        if let Some(first) = first {
            let run = Run::read(first, Depth::Glance)?;
            let points = run.ticks.iter();
            let points = points.filter_map(|tick| Some([tick.units as f64, *tick.values.last()?]));
            found.push((name(&setting), points.collect()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_are_written() {
        let columns =
            columns("rank,name,nfe,frechet,frechet deviation,paired,paired deviation,seeds");
        assert_eq!(columns, [FRECHET, "paired"]);
        let found = row("2,\"a, \"\"b\"\"\",3,5.5,0.25,0.1,,3,24000,1.5", &columns).unwrap();
        assert_eq!(
            (found.rank, found.name.as_str(), found.evaluations),
            (2, "a, \"b\"", 3)
        );
        assert_eq!((found.distance, found.deviation), (5.5, Some(0.25)));
        assert_eq!(found.others, [("paired", 0.1, None)]);
        assert_eq!(
            (found.seeds, found.forwards, found.minutes),
            (3, 24_000, 1.5)
        );
        assert!(row("rank,name", &columns).is_none());
        let columns = super::columns("rank,name,nfe,latents,latents deviation,clip,clip deviation");
        let found = row("1,\"a\",2,0.5,,31,0.5,1,0,0", &columns).unwrap();
        assert_eq!(found.distance, 0.5);
        assert_eq!(found.others, [("CLIP score", 31.0, Some(0.5))]);
    }
}
