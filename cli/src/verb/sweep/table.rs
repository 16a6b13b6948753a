//! The ranked table of a sweep.

use super::measured::Measured;
use super::plan::Plan;
use super::trial::Trial;
use crate::screen::progress::figure;

/// One trial at one number of network calls, over its seeds.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// What was compared.
    pub trial: &'a Trial,
    /// Network calls an image.
    pub evaluations: usize,
    /// For each seed.
    pub frechet: Vec<f64>,
    /// For each seed.
    pub paired: Vec<f64>,
    /// Network forwards of one training.
    pub forwards: u64,
    /// Mean minutes of a training.
    pub minutes: f64,
}

/// The rows, the smallest Frechet distance first, number of network calls by number of network calls.
pub fn rows<'a>(done: &[(&'a Trial, u64, Measured)]) -> Vec<Row<'a>> {
    let mut rows: Vec<Row<'a>> = Vec::new();
    for (trial, _, measured) in done {
        for sample in &measured.samples {
            let same = |row: &&mut Row<'_>| {
                row.trial.name == trial.name && row.evaluations == sample.evaluations
            };
            let minutes = measured.seconds / 60.0;
            match rows.iter_mut().find(same) {
                Some(row) => {
                    let seen = row.frechet.len() as f64;
                    row.minutes = (row.minutes * seen + minutes) / (seen + 1.0);
                    row.frechet.push(sample.frechet);
                    row.paired.push(sample.paired);
                }
                None => rows.push(Row {
                    trial,
                    evaluations: sample.evaluations,
                    frechet: vec![sample.frechet],
                    paired: vec![sample.paired],
                    forwards: measured.forwards,
                    minutes,
                }),
            }
        }
    }
    let order = |a: &Row<'_>, b: &Row<'_>| {
        let by_quality = mean(&a.frechet).total_cmp(&mean(&b.frechet));
        a.evaluations.cmp(&b.evaluations).then(by_quality)
    };
    rows.sort_by(order);
    rows
}

/// The arithmetic mean.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Standard deviation over the seeds, if there are several.
pub fn deviation(values: &[f64]) -> Option<f64> {
    // From the first on, so that equal values have none, whatever their mean is rounded to.
    let first = values.first()?;
    let from_first: Vec<f64> = values.iter().map(|v| v - first).collect();
    let mean = mean(&from_first);
    let squares: f64 = from_first.iter().map(|v| (v - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

const HEAD: [&str; 10] = [
    "rank",
    "name",
    "nfe",
    "frechet",
    "frechet deviation",
    "paired",
    "paired deviation",
    "seeds",
    "forwards",
    "minutes",
];

/// All figures with full precision, comma-separated. (RFC 4180)
pub fn csv(rows: &[Row<'_>]) -> String {
    let mut text = HEAD.join(",") + "\n";
    let spread = |values: &[f64]| deviation(values).map_or(String::new(), |d| d.to_string());
    for (rank, row) in ranked(rows) {
        // Only names can hold what needs quotes.
        let name = format!("\"{}\"", row.trial.name.replace('"', "\"\""));
        let fields = [
            rank.to_string(),
            name,
            row.evaluations.to_string(),
            mean(&row.frechet).to_string(),
            spread(&row.frechet),
            mean(&row.paired).to_string(),
            spread(&row.paired),
            row.frechet.len().to_string(),
            row.forwards.to_string(),
            row.minutes.to_string(),
        ];
        text += &(fields.join(",") + "\n");
    }
    text
}

/// The table for people.
pub fn markdown(plan: &Plan, rows: &[Row<'_>]) -> String {
    let mut text = format!("# {}\n\n", plan.title);
    if !plan.about.is_empty() {
        text += &format!("{}\n\n", plan.about.trim());
    }
    text += &format!(
        "{} images a figure; paired: root mean square difference to the teacher's images of {} seeds; +- is the standard \
         deviation over the seeds of training; forwards: network calls of one training, a backward pass counted as two.\n\n",
        plan.images,
        plan.pairs.min(plan.images)
    );
    text += "| rank | run | NFE | Frechet distance | paired | seeds | forwards | minutes |\n";
    text += "| --- | --- | --- | --- | --- | --- | --- | --- |\n";
    let spread = |values: &[f64]| {
        let deviation = deviation(values).map_or(String::new(), |d| format!(" +- {}", figure(d)));
        format!("{}{deviation}", figure(mean(values)))
    };
    for (rank, row) in ranked(rows) {
        let name = row.trial.name.replace('|', "\\|");
        let (frechet, paired) = (spread(&row.frechet), spread(&row.paired));
        let (nfe, seeds) = (row.evaluations, row.frechet.len());
        // The teacher itself costs no training.
        let cost = match row.forwards {
            0 => " | ".into(),
            n => format!("{} | {:.1}", indicatif::HumanCount(n), row.minutes),
        };
        text += &format!("| {rank} | {name} | {nfe} | {frechet} | {paired} | {seeds} | {cost} |\n");
    }
    text
}

/// The cosines of directions, where there are any.
pub fn directions(done: &[(&Trial, u64, Measured)]) -> String {
    let mut text = String::new();
    let mut seen: Vec<&str> = Vec::new();
    for (trial, ..) in done {
        if seen.contains(&trial.name.as_str()) {
            continue;
        }
        seen.push(&trial.name);
        let of_trial = done.iter().filter(|(other, ..)| other.name == trial.name);
        let all: Vec<_> = of_trial.map(|(.., m)| &m.directions).collect();
        let levels = all.iter().map(|d| d.len()).min().unwrap_or(0);
        let cell = |at: usize| {
            let values: Vec<f64> = all.iter().map(|d| d[at][1]).collect();
            let spread = deviation(&values).map_or(String::new(), |d| format!(" +- {d:.4}"));
            // Levels that were searched for may differ from seed to seed.
            let level = mean(&all.iter().map(|d| d[at][0]).collect::<Vec<_>>());
            format!("{}: {:.4}{spread}", figure(level), mean(&values))
        };
        let cells: Vec<_> = (0..levels).map(cell).collect();
        if !cells.is_empty() {
            text += &format!(
                "| {} | {} |\n",
                trial.name.replace('|', "\\|"),
                cells.join(" | ")
            );
        }
    }
    match text.is_empty() {
        true => text,
        false => {
            let columns = text
                .lines()
                .map(|l| l.matches(" | ").count())
                .max()
                .unwrap_or(1);
            let head = "| run |".to_string() + &" level: cosine |".repeat(columns);
            let rule = "| --- |".to_string() + &" --- |".repeat(columns);
            format!(
                "\nDirection of one student step from the teacher's trajectory, and the teacher's:\n\n{head}\n{rule}\n{text}"
            )
        }
    }
}

/// The rows with their places among those of as many network calls.
fn ranked<'r, 'a>(rows: &'r [Row<'a>]) -> impl Iterator<Item = (usize, &'r Row<'a>)> {
    rows.iter().enumerate().map(|(at, row)| {
        let first = rows.iter().position(|r| r.evaluations == row.evaluations);
        (at - first.unwrap_or(at) + 1, row)
    })
}
