//! The folder of a search for a recipe (`fewstep tune`).

use super::place::name;
use crate::screen::failure::wrong;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The file that makes a folder one of a search.
pub const FILE: &str = "tune.jsonl";

/// A search.
pub struct Search {
    pub name: String,
    pub folder: PathBuf,
    /// Network calls of the student.
    pub evaluations: u64,
    /// Hash of the teacher's file.
    pub teacher: String,
    /// What the search might cost, in trajectories.
    pub budget: u64,
    /// Images behind each distance.
    pub images: u64,
    /// Whether it is the Frechet distance that is made small.
    pub frechet: bool,
    pub entries: Vec<Entry>,
    /// The recipe that it found, with how.
    pub recipe: Option<String>,
}

/// A candidate after some training.
pub struct Entry {
    pub bracket: u64,
    pub place: u64,
    pub rung: u64,
    pub substeps: u64,
    pub free_first_step: bool,
    pub learning_rate: f64,
    /// Where the levels lie, if not where the first recipe has them.
    pub curve: Option<[f64; 2]>,
    pub growth: f64,
    pub trajectories: u64,
    pub forwards: u64,
    /// Nothing if it ran away.
    pub distance: Option<f64>,
    pub seconds: f64,
}

impl Search {
    /// Reads a search's folder.
    ///
    /// # Errors
    /// One of its lines is none.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        let text = fs_err::read_to_string(&path)?;
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let broken = |at: usize| {
            let path = path.display();
            wrong(format!(
                "{path}: line {} is none of a search; the command of the search with --overwrite begins anew",
                at + 1
            ))
        };
        let mut lines = whole.lines().enumerate().map(|(at, line)| {
            let value = serde_json::from_str::<Value>(line);
            value.map(|value| (at, value)).map_err(|_| broken(at))
        });
        let (_, first) = lines.next().transpose()?.ok_or_else(|| broken(0))?;
        let settings = || {
            Some((
                first["nfe"].as_u64()?,
                first["teacher"].as_str()?.to_string(),
                first["budget"].as_u64()?,
                first["images"].as_u64()?,
            ))
        };
        let (evaluations, teacher, budget, images) = settings().ok_or_else(|| broken(0))?;
        let mut entries = Vec::new();
        for line in lines {
            let (at, value) = line?;
            entries.push(entry(&value).ok_or_else(|| broken(at))?);
        }
        Ok(Self {
            name: name(folder),
            folder: folder.to_path_buf(),
            evaluations,
            teacher,
            budget,
            images,
            frechet: first["reference"].is_string(),
            entries,
            recipe: fs_err::read_to_string(folder.join("recipe.toml")).ok(),
        })
    }

    /// The best of those that were trained the longest.
    pub fn best(&self) -> Option<&Entry> {
        let last = self.entries.iter().map(|e| (e.bracket, e.rung)).max()?;
        let last = self.entries.iter().filter(|e| (e.bracket, e.rung) == last);
        last.filter(|e| e.distance.is_some()).min_by(|a, b| {
            a.distance
                .unwrap_or(f64::INFINITY)
                .total_cmp(&b.distance.unwrap_or(f64::INFINITY))
        })
    }

    /// What is made small.
    pub fn target(&self) -> &'static str {
        match self.frechet {
            true => "Frechet distance",
            false => "distance to the teacher (rms)",
        }
    }
}

fn entry(line: &Value) -> Option<Entry> {
    let candidate = &line["candidate"];
    let curve = &candidate["curve"];
    let curve = curve["slope"].as_f64().zip(curve["shift"].as_f64());
    Some(Entry {
        bracket: line["bracket"].as_u64()?,
        place: line["place"].as_u64()?,
        rung: line["rung"].as_u64()?,
        substeps: candidate["substeps"].as_u64()?,
        free_first_step: candidate["analytic-first-step"].as_bool()?,
        learning_rate: candidate["learning-rate"].as_f64()?,
        curve: curve.map(|(slope, shift)| [slope, shift]),
        growth: candidate["growth"].as_f64()?,
        trajectories: line["trajectories"].as_u64()?,
        forwards: line["forwards"].as_u64()?,
        distance: line["distance"].as_f64(),
        seconds: line["seconds"].as_f64()?,
    })
}
