//! The folder of a training: what it trains, how far it is, and what is known of the result.

use super::evaluation::Evaluation;
use super::place::name;
use crate::run::recipe::{Kind, RecipeText as RecipeFile};
use crate::screen::failure::wrong;
use fewstep::distill::Recipe;
use fewstep::import::Checkpoint;
use fewstep::model::{Card, Kind as ModelKind, hash_file};
use fewstep::teacher::TeacherRecipe;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The file that makes a folder one of a run.
pub const RECIPE: &str = "recipe.toml";
const METRICS: &str = "metrics.jsonl";
const SUMMARY: &str = "summary.json";
const FEATURES: &str = "features.safetensors";
/// The picture that the demo leaves.
const PICTURE: &str = "demo.png";

/// How closely a folder is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// All of it: models are hashed.
    Whole,
    /// What tells how far a run is, for looking at it every few seconds.
    Glance,
}

/// A run of training.
pub struct Run {
    pub name: String,
    pub folder: PathBuf,
    pub kind: Kind,
    /// The recipe as it stands in the folder.
    pub recipe: String,
    pub distillation: Option<Recipe>,
    /// Rounds of the whole run, where the recipe alone says so.
    pub rounds: Option<u64>,
    /// Whether the file that it makes is there.
    pub finished: bool,
    /// That file, where it was looked into.
    pub product: Option<Product>,
    pub ticks: Vec<Tick>,
    /// Round and file, the oldest first.
    pub previews: Vec<(u64, PathBuf)>,
    pub summary: Option<Summary>,
    /// The demo's picture.
    pub picture: Option<PathBuf>,
    pub evaluations: Vec<Evaluation>,
}

/// A file that a run has made.
pub struct Product {
    pub path: PathBuf,
    pub hash: String,
    pub bytes: u64,
    /// None of a feature network.
    pub card: Option<Card>,
}

/// A line of metrics.
pub struct Tick {
    pub round: u64,
    /// Images or trajectories.
    pub units: u64,
    pub seconds: f64,
    pub rate: f64,
    pub learning_rate: f64,
    /// The loss, or a distance for each step.
    pub values: Vec<f64>,
}

/// One row of what the demo measured.
pub struct Row {
    pub title: &'static str,
    pub evaluations: u64,
    pub frechet: f64,
    pub paired: f64,
    pub rate: f64,
    pub images: u64,
}

/// What the demo measured: teacher, undistilled, student.
pub struct Summary {
    pub rows: Vec<Row>,
    pub seconds: f64,
}

impl Run {
    /// Reads a run's folder.
    ///
    /// # Errors
    /// A file of it is broken.
    pub fn read(folder: &Path, depth: Depth) -> anyhow::Result<Self> {
        let path = folder.join(RECIPE);
        let recipe = fs_err::read_to_string(&path)?;
        let file = RecipeFile::read(&path)?;
        let distillation: Option<Recipe> = match file.kind {
            Kind::Distillation => Some(file.resolve(&[])?),
            _ => None,
        };
        let rounds = match file.kind {
            Kind::Teacher => Some(file.resolve::<TeacherRecipe>(&[])?.rounds()),
            Kind::Distillation => distillation.as_ref().map(Recipe::rounds),
            Kind::Features => None,
        };
        let made = made(folder, file.kind);
        let finished = made.is_file();
        let product = match depth {
            Depth::Whole if finished => Some(product(made, file.kind)?),
            _ => None,
        };
        let picture = Some(folder.join(PICTURE)).filter(|picture| picture.is_file());
        Ok(Self {
            name: name(folder),
            kind: file.kind,
            recipe,
            distillation,
            rounds,
            ticks: ticks(&folder.join(METRICS))?,
            previews: previews(folder)?,
            summary: Summary::read(&folder.join(SUMMARY))?,
            evaluations: evaluations(folder)?,
            picture,
            finished,
            product,
            folder: folder.to_path_buf(),
        })
    }

    /// Whether its product is the file of this hash.
    pub fn holds(&self, hash: Option<&str>) -> bool {
        let own = self.product.as_ref().map(|product| product.hash.as_str());
        own.is_some() && own == hash
    }

    /// What it counts.
    pub fn unit(&self) -> &'static str {
        match self.kind {
            Kind::Distillation => "trajectories",
            _ => "images",
        }
    }

    /// The card of what it has made.
    pub fn card(&self) -> Option<&Card> {
        self.product.as_ref()?.card.as_ref()
    }

    /// Hash of the model that it started from.
    pub fn parent(&self) -> Option<&str> {
        self.card()?.parent.as_deref()
    }

    /// Network forwards so far, a backward pass counted as two.
    pub fn forwards(&self) -> Option<u64> {
        let (recipe, card) = (self.distillation.as_ref()?, self.card()?);
        // Of a second stage it is the teacher's card that counts, which is not here.
        if recipe.second_stage {
            return None;
        }
        recipe.cost(card).ok().map(|cost| cost.forwards())
    }

    /// The Frechet distance of what it has made, with its error bar; that of the most images, if there are several.
    pub fn frechet(&self) -> Option<(f64, Option<f64>)> {
        // A measurement of an earlier file of the same name says nothing of this one.
        let own = self
            .evaluations
            .iter()
            .filter(|e| self.holds(e.hash.as_deref()));
        let measured = own.filter(|e| e.score("frechet").is_some());
        let best = measured.max_by_key(|found| found.images)?;
        let score = best.score("frechet")?;
        Some((score.value, score.error))
    }

    /// The same, or what the demo measured.
    pub fn quality(&self) -> Option<(f64, Option<f64>)> {
        let student = self
            .summary
            .as_ref()
            .and_then(|summary| summary.rows.last());
        self.frechet().or(student.map(|row| (row.frechet, None)))
    }
}

/// The file that a run makes.
fn made(folder: &Path, kind: Kind) -> PathBuf {
    folder.join(match kind {
        Kind::Teacher => ModelKind::Teacher.file_name(),
        Kind::Distillation => ModelKind::Student.file_name(),
        Kind::Features => FEATURES,
    })
}

fn product(path: PathBuf, kind: Kind) -> anyhow::Result<Product> {
    let (card, hash) = match kind {
        Kind::Features => (None, hash_file(&path)?),
        _ => {
            let (card, hash) = Checkpoint::read(&path)?.described()?;
            (Some(card), hash)
        }
    };
    Ok(Product {
        bytes: fs_err::metadata(&path)?.len(),
        path,
        hash,
        card,
    })
}

/// The lines of metrics; one that is being written is left out.
fn ticks(path: &Path) -> anyhow::Result<Vec<Tick>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs_err::read_to_string(path)?;
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    let read = |(at, line): (usize, &str)| {
        let values = serde_json::from_str(line).ok();
        values.as_ref().and_then(tick).ok_or_else(|| {
            let (path, line) = (path.display(), at + 1);
            wrong(format!(
                "{path}: line {line} is no line of metrics; take it out"
            ))
        })
    };
    whole.lines().enumerate().map(read).collect()
}

fn tick(line: &Value) -> Option<Tick> {
    let number = |key: &str| line[key].as_f64();
    let values = match line["distances"].as_array() {
        Some(all) => all.iter().filter_map(Value::as_f64).collect(),
        None => vec![number("loss")?],
    };
    Some(Tick {
        round: line["round"].as_u64()?,
        units: line["trajectories"].as_u64().or(line["images"].as_u64())?,
        seconds: number("seconds")?,
        rate: number("rate")?,
        learning_rate: number("learning-rate")?,
        values,
    })
}

/// Previews of rounds, in their order.
fn previews(folder: &Path) -> anyhow::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if let Some(round) = path.file_name().and_then(|n| preview_round(n.to_str()?)) {
            found.push((round, path));
        }
    }
    found.sort();
    Ok(found)
}

/// The round of `preview-0000100.png`; `None` for any other name.
pub fn preview_round(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("preview-")?.strip_suffix(".png")?;
    let plain = digits.len() >= 7 && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

/// Answers of `evaluate` that somebody has put into the folder.
fn evaluations(folder: &Path) -> anyhow::Result<Vec<Evaluation>> {
    let mut paths = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let json = path.extension().is_some_and(|ending| ending == "json");
        if json && path.is_file() && path.file_name().is_some_and(|name| name != SUMMARY) {
            paths.push(path);
        }
    }
    paths.sort();
    let found = paths.iter().map(|path| Evaluation::read(path));
    Ok(found
        .collect::<anyhow::Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect())
}

impl Summary {
    fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        if !path.is_file() {
            return Ok(None);
        }
        let text = fs_err::read_to_string(path)?;
        let broken = || {
            let path = path.display();
            wrong(format!(
                "{path} is no summary of `fewstep demo`; take it out of the folder"
            ))
        };
        let all: Value = serde_json::from_str(&text).map_err(|_| broken())?;
        let row = |title: &'static str| {
            let row = &all[title];
            Some(Row {
                title,
                evaluations: row["nfe"].as_u64()?,
                frechet: row["frechet"].as_f64()?,
                paired: row["paired"].as_f64()?,
                rate: row["images_per_second"].as_f64()?,
                images: row["images"].as_u64()?,
            })
        };
        let rows = ["teacher", "undistilled", "student"].map(row);
        let rows: Option<Vec<Row>> = rows.into_iter().collect();
        let (rows, seconds) = rows.zip(all["seconds"].as_f64()).ok_or_else(broken)?;
        Ok(Some(Self { rows, seconds }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_previews_are_previews() {
        assert_eq!(preview_round("preview-0000100.png"), Some(100));
        assert_eq!(preview_round("preview-12345678.png"), Some(12_345_678));
        for other in [
            "preview-1.png",
            "preview-../../x.png",
            "preview-+000001.png",
            "preview-0000001.jpg",
            "x",
        ] {
            assert_eq!(preview_round(other), None, "{other}");
        }
    }

    #[test]
    fn a_line_that_is_being_written_is_left_out_and_a_broken_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(METRICS);
        let line = r#"{"distances":[1.0,2.0],"learning-rate":0.1,"rate":3.0,"round":4,"seconds":5.0,"trajectories":6}"#;
        fs_err::write(&path, format!("{line}\n{{\"dist")).unwrap();
        let found = ticks(&path).unwrap();
        assert_eq!(
            (found.len(), found[0].units, found[0].values[1]),
            (1, 6, 2.0)
        );
        fs_err::write(&path, format!("{line}\n{{\"dist\n{line}\n")).unwrap();
        let said = ticks(&path).err().unwrap().to_string();
        assert!(said.contains("line 2"), "{said}");
    }
}
