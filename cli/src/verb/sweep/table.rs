//! The ranked table of a sweep.

use super::gauge::Counts;
use super::measured::{Measured, Sample};
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
    /// For each seed; none for latent models.
    frechet: Vec<f64>,
    /// For each seed; of latent models of their latents.
    paired: Vec<f64>,
    /// For each seed, that of decoded pictures of latent models; none where none were made.
    pixels: Vec<f64>,
    /// For each seed, CLIP scores; none where there was no model for them.
    clip: Vec<f64>,
    /// Network forwards of one training.
    pub forwards: u64,
    /// Mean minutes of a training.
    pub minutes: f64,
}

impl<'a> Row<'a> {
    fn new(trial: &'a Trial, evaluations: usize, forwards: u64) -> Self {
        Self {
            trial,
            evaluations,
            frechet: Vec::new(),
            paired: Vec::new(),
            pixels: Vec::new(),
            clip: Vec::new(),
            forwards,
            minutes: 0.0,
        }
    }

    fn push(&mut self, sample: &Sample, minutes: f64) {
        let seen = self.paired.len() as f64;
        self.minutes = (self.minutes * seen + minutes) / (seen + 1.0);
        self.paired.push(sample.paired);
        self.frechet.extend(sample.frechet);
        self.pixels.extend(sample.pixels);
        self.clip.extend(sample.clip);
    }

    /// Whether it is measured by latents, not by a Frechet distance.
    fn is_latent(&self) -> bool {
        self.frechet.is_empty()
    }

    /// What rows are ranked by, for each seed.
    pub fn distances(&self) -> &[f64] {
        match self.is_latent() {
            true => &self.paired,
            false => &self.frechet,
        }
    }

    /// What that is, for people.
    pub fn distance(&self) -> &'static str {
        match self.is_latent() {
            true => "distance to the teacher's latents (rms)",
            false => "Frechet distance",
        }
    }
}

/// The rows, the smallest distance first, number of network calls by number of network calls.
pub fn rows<'a>(done: &[(&'a Trial, u64, Measured)]) -> Vec<Row<'a>> {
    let mut rows: Vec<Row<'a>> = Vec::new();
    for (trial, _, measured) in done {
        for sample in &measured.samples {
            let same = |row: &Row<'_>| {
                row.trial.name == trial.name && row.evaluations == sample.evaluations
            };
            let minutes = measured.seconds / 60.0;
            let at = rows.iter().position(same);
            let at = at.unwrap_or_else(|| {
                rows.push(Row::new(trial, sample.evaluations, measured.forwards));
                rows.len() - 1
            });
            rows[at].push(sample, minutes);
        }
    }
    let order = |a: &Row<'_>, b: &Row<'_>| {
        let by_quality = mean(a.distances()).total_cmp(&mean(b.distances()));
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

/// The columns of figures: name in a program's table, name in one for people, and what it holds of a row.
type Column<'a> = (&'static str, &'static str, fn(&'a Row<'_>) -> &'a [f64]);

/// Those that the rows have.
fn columns<'a>(rows: &'a [Row<'_>]) -> Vec<Column<'a>> {
    let latent = rows.iter().any(Row::is_latent);
    let all: Vec<Column<'a>> = match latent {
        false => vec![
            ("frechet", "Frechet distance", |row| &row.frechet),
            ("paired", "paired", |row| &row.paired),
        ],
        true => vec![
            ("latents", "latents", |row| &row.paired),
            ("pixels", "pixels", |row| &row.pixels),
            ("clip", "CLIP score", |row| &row.clip),
        ],
    };
    let used = |(_, _, of): &Column<'a>| rows.iter().any(|row| !of(row).is_empty());
    all.into_iter().filter(used).collect()
}

/// All figures with full precision, comma-separated. (RFC 4180)
pub fn csv(rows: &[Row<'_>]) -> String {
    let columns = columns(rows);
    let names = columns
        .iter()
        .flat_map(|(name, ..)| [(*name).to_string(), format!("{name} deviation")]);
    let first = ["rank", "name", "nfe"].map(String::from);
    let last = ["seeds", "forwards", "minutes"].map(String::from);
    let head: Vec<String> = first.into_iter().chain(names).chain(last).collect();
    let mut text = head.join(",") + "\n";
    for (rank, row) in ranked(rows) {
        // Only names can hold what needs quotes.
        let name = format!("\"{}\"", row.trial.name.replace('"', "\"\""));
        let mut fields = vec![rank.to_string(), name, row.evaluations.to_string()];
        for (_, _, of) in &columns {
            let values = of(row);
            let spread = deviation(values).map_or(String::new(), |d| d.to_string());
            fields.extend([mean(values).to_string(), spread]);
        }
        fields.extend([
            row.paired.len().to_string(),
            row.forwards.to_string(),
            row.minutes.to_string(),
        ]);
        text += &(fields.join(",") + "\n");
    }
    text
}

/// The table for people.
pub fn markdown(plan: &Plan, counts: Counts, rows: &[Row<'_>]) -> String {
    let mut text = format!("# {}\n\n", plan.title);
    if !plan.about.is_empty() {
        text += &format!("{}\n\n", plan.about.trim());
    }
    let (images, pairs) = (counts.images, counts.pairs);
    let measured = match rows.iter().any(Row::is_latent) {
        false => format!(
            "{images} images a figure; paired: root mean square difference to the teacher's images of {} seeds",
            pairs.min(images)
        ),
        true => format!(
            "{pairs} seeds a figure; latents: root mean square difference to the teacher's latents; pixels: that of the decoded \
             pictures, where black and white are 2 apart; CLIP score: 100 times the mean cosine with the prompt"
        ),
    };
    text += &format!(
        "{measured}; +- is the standard deviation over the seeds of training; forwards: network calls of one training, a backward \
         pass counted as two.\n\n"
    );
    let columns = columns(rows);
    let titles: Vec<&str> = columns.iter().map(|(_, title, _)| *title).collect();
    text += &format!(
        "| rank | run | NFE | {} | seeds | forwards | minutes |\n",
        titles.join(" | ")
    );
    text += &format!(
        "| --- | --- | --- |{} --- | --- | --- |\n",
        " --- |".repeat(titles.len())
    );
    let spread = |values: &[f64]| {
        let deviation = deviation(values).map_or(String::new(), |d| format!(" +- {}", figure(d)));
        format!("{}{deviation}", figure(mean(values)))
    };
    for (rank, row) in ranked(rows) {
        let name = row.trial.name.replace('|', "\\|");
        let figures: Vec<String> = columns.iter().map(|(_, _, of)| spread(of(row))).collect();
        let (nfe, figures, seeds) = (row.evaluations, figures.join(" | "), row.paired.len());
        // The teacher itself costs no training.
        let cost = match row.forwards {
            0 => " | ".into(),
            n => format!("{} | {:.1}", indicatif::HumanCount(n), row.minutes),
        };
        text += &format!("| {rank} | {name} | {nfe} | {figures} | {seeds} | {cost} |\n");
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
