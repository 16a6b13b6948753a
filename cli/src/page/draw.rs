//! Teacher, undistilled teacher and student, drawn for the same seeds.

use crate::bundle::asset::{Asset, TEACHER};
use crate::context::Context;
use crate::model::generate::Generator;
use crate::page::source::{Product, Run, Shown};
use crate::picture::sheet::PREVIEW_SEEDS;
use crate::screen::failure::wrong;
use anyhow::Context as _;
use fewstep::image::Picture;
use fewstep::import;
use fewstep::model::{Model, Sampling, hash_file};
use std::path::{Path, PathBuf};

/// What a page shows besides what is in the folders.
pub struct Wish<'a> {
    /// The teacher's file, if it is known.
    pub teacher: Option<&'a Path>,
    /// The seeds that teacher and student are drawn with.
    pub seeds: &'a [u64],
}

impl Default for Wish<'_> {
    fn default() -> Self {
        Self {
            teacher: None,
            seeds: &PREVIEW_SEEDS,
        }
    }
}

/// The pictures of one student.
pub struct Sheets {
    /// Which of the sources it is.
    pub source: usize,
    /// A seed, and perhaps a class, for each column.
    pub labels: Vec<String>,
    /// For each number of evaluations that the student can have.
    pub sheets: Vec<Sheet>,
}

/// Rows of pictures.
pub struct Sheet {
    pub evaluations: usize,
    pub rows: Vec<Row>,
}

/// One picture for each seed, beside each other.
pub struct Row {
    pub title: String,
    pub png: Vec<u8>,
}

/// Draws for every student whose teacher is known.
pub fn sheets(
    sources: &[Shown],
    wish: &Wish<'_>,
    context: &Context,
) -> anyhow::Result<Vec<Sheets>> {
    let bundled = Asset::find(None, TEACHER).ok();
    let teachers = teachers(sources, wish, bundled.as_ref().map(Asset::path))?;
    let mut found = Vec::new();
    for (source, run) in sources.iter().enumerate() {
        let Some((run, product)) = run.run().and_then(|run| Some((run, student(run)?))) else {
            continue;
        };
        let parent = run.parent();
        let teacher = teachers
            .iter()
            .find(|(_, hash)| Some(hash.as_str()) == parent);
        let Some((teacher, _)) = teacher else {
            continue;
        };
        let reporter = context.reporter;
        reporter.say(format!(
            "drawing {} and its teacher",
            product.path.display()
        ));
        let (labels, sheets) = draw(run, product, teacher, wish.seeds, context)
            .with_context(|| format!("cannot draw the student in {}", run.folder.display()))?;
        found.push(Sheets {
            source,
            labels,
            sheets,
        });
    }
    Ok(found)
}

/// The student that a run has made, if it can be drawn from its file alone.
fn student(run: &Run) -> Option<&Product> {
    run.distillation.as_ref()?;
    let product = run.product.as_ref()?;
    let card = product.card.as_ref()?;
    (!card.is_latent() && !card.takes_text()).then_some(product)
}

/// Files that may be a teacher, and their hashes: the one that was named, the bundled one, what the runs have made.
fn teachers(
    sources: &[Shown],
    wish: &Wish<'_>,
    bundled: Option<&Path>,
) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    let runs = || sources.iter().filter_map(Shown::run);
    if let Some(path) = wish.teacher {
        let hash = hash_file(path)?;
        if !runs().any(|run| run.parent() == Some(&hash)) {
            let wanted: Vec<_> = runs().filter_map(Run::parent).map(short).collect();
            let wanted = match wanted.is_empty() {
                true => "there is none among them that is finished".into(),
                false => format!("they are students of {}", wanted.join(", ")),
            };
            return Err(wrong(format!(
                "--teacher {}: no student of these runs was distilled from it (SHA-256 {}...); {wanted}",
                path.display(),
                short(&hash)
            )));
        }
        found.push((path.to_path_buf(), hash));
    }
    if let Some(path) = bundled {
        found.push((path.to_path_buf(), hash_file(path)?));
    }
    let products = runs().filter_map(|run| run.product.as_ref());
    found.extend(products.map(|product| (product.path.clone(), product.hash.clone())));
    Ok(found)
}

/// As much of a hash as tells it from others.
pub fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}

fn draw(
    run: &Run,
    product: &Product,
    teacher: &Path,
    seeds: &[u64],
    context: &Context,
) -> anyhow::Result<(Vec<String>, Vec<Sheet>)> {
    let device = &context.device;
    let (teacher, _) = import::open(teacher, device)?;
    let (student, _) = import::open(&product.path, device)?;
    let whole = Generator::of(&teacher, device)?;
    let labels = Generator::of(&student, device)?.labels(seeds)?;
    let of_teacher = strip(&whole, seeds)?;
    let second = run.distillation.as_ref().is_some_and(|r| r.second_stage);
    let told = second && teacher.card.sampling.step_condition;
    let mut sheets = Vec::new();
    for evaluations in student.card.sampling.allowed_evaluations()? {
        let sampling = student.card.sampling_with(evaluations)?;
        let plain = Sampling {
            step_condition: told,
            step_range: None,
            ..sampling.clone()
        };
        let row = |model: &Model, sampling| strip(&Generator::new(model, sampling, device)?, seeds);
        let rows = vec![
            Row {
                title: format!("Teacher, {}", calls(whole.evaluations())),
                png: of_teacher.clone(),
            },
            Row {
                title: format!("Teacher, {}, not distilled", calls(evaluations)),
                png: row(&teacher, plain)?,
            },
            Row {
                title: format!("Student, {}", calls(evaluations)),
                png: row(&student, sampling)?,
            },
        ];
        sheets.push(Sheet { evaluations, rows });
    }
    Ok((labels, sheets))
}

/// Network calls for people.
pub fn calls(evaluations: usize) -> String {
    match evaluations {
        1 => "1 network call".into(),
        n => format!("{n} network calls"),
    }
}

/// The pictures of all seeds beside each other, as they are: the page enlarges them.
fn strip(generator: &Generator<'_>, seeds: &[u64]) -> anyhow::Result<Vec<u8>> {
    let mut pictures = Vec::new();
    for seeds in seeds.chunks(generator.batch()) {
        pictures.extend(Picture::all(generator.images(seeds)?)?);
    }
    Ok(beside(&pictures)?.to_png(&[])?)
}

/// Pictures of one size in one row, without anything between them: on a page that is dark or light, that is for the page.
fn beside(pictures: &[Picture]) -> anyhow::Result<Picture> {
    let first = pictures.first().context("a row needs pictures")?;
    let line = first.width * first.channels;
    let mut pixels = Vec::with_capacity(pictures.len() * first.pixels.len());
    for y in 0..first.height {
        for picture in pictures {
            pixels.extend(
                picture
                    .pixels
                    .get(y * line..(y + 1) * line)
                    .unwrap_or_default(),
            );
        }
    }
    Ok(Picture {
        width: first.width * pictures.len(),
        height: first.height,
        channels: first.channels,
        pixels,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_stand_beside_each_other() {
        let picture = |pixels: [u8; 4]| Picture {
            width: 2,
            height: 2,
            channels: 1,
            pixels: pixels.into(),
        };
        let row = beside(&[picture([1, 2, 3, 4]), picture([5, 6, 7, 8])]).unwrap();
        assert_eq!((row.width, row.height), (4, 2));
        assert_eq!(row.pixels, [1, 2, 5, 6, 3, 4, 7, 8]);
    }
}
