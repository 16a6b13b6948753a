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
    pub rows: Vec<Row>,
    /// Of each run that is there: name, trajectories and the distance of the last step.
    pub curves: Vec<(String, Vec<[f64; 2]>)>,
}

/// One setting at one number of evaluations.
pub struct Row {
    pub rank: u64,
    pub name: String,
    pub evaluations: u64,
    pub frechet: f64,
    pub deviation: Option<f64>,
    pub paired: f64,
    pub paired_deviation: Option<f64>,
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
        let rows = text.lines().enumerate().skip(1).map(|(at, line)| {
            row(line).ok_or_else(|| {
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
            rows,
            curves: curves(folder)?,
            name: own,
            folder: folder.to_path_buf(),
        })
    }
}

/// A line of the table; the name is in quotes.
fn row(line: &str) -> Option<Row> {
    let (rank, rest) = line.split_once(",\"")?;
    let end = rest.rfind("\",")?;
    let name = rest[..end].replace("\"\"", "\"");
    let mut fields = rest[end + 2..].split(',');
    let mut next = || fields.next();
    Some(Row {
        rank: rank.parse().ok()?,
        name,
        evaluations: next()?.parse().ok()?,
        frechet: next()?.parse().ok()?,
        deviation: next()?.parse().ok(),
        paired: next()?.parse().ok()?,
        paired_deviation: next()?.parse().ok(),
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
        let found = row("2,\"a, \"\"b\"\"\",3,5.5,0.25,0.1,,3,24000,1.5").unwrap();
        assert_eq!(
            (found.rank, found.name.as_str(), found.evaluations),
            (2, "a, \"b\"", 3)
        );
        assert_eq!(
            (found.deviation, found.paired_deviation),
            (Some(0.25), None)
        );
        assert_eq!(
            (found.seeds, found.forwards, found.minutes),
            (3, 24_000, 1.5)
        );
        assert!(row("rank,name").is_none());
    }
}
