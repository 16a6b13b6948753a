//! What the page's script is told: which pictures there are, and how each is computed.

use crate::screen::failure::wrong;
use fewstep::export::Calls;
use fewstep::model::Model;
use serde::Serialize;
use std::collections::BTreeMap;

/// The file of the model, and that of its teacher.
pub const FILES: [(&str, &str); 2] = [("student", "student.onnx"), ("teacher", "teacher.onnx")];

/// The most numbers of calls to choose from.
const MOST: usize = 12;

/// All that the script is told.
#[derive(Serialize)]
pub struct Plan {
    /// Channels, height and width.
    pub shape: [usize; 3],
    pub classes: usize,
    /// Names of the classes, or nothing.
    pub names: Vec<String>,
    /// Numbers of network calls to choose from, and the one that is shown first.
    pub calls: Vec<usize>,
    pub chosen: usize,
    pub files: BTreeMap<&'static str, Loaded>,
    /// The model's own first.
    pub pictures: Vec<Picture>,
}

/// A file that the script loads.
#[derive(Serialize)]
pub struct Loaded {
    pub name: &'static str,
    /// In words.
    pub size: String,
}

/// One of the pictures of a seed.
#[derive(Serialize)]
pub struct Picture {
    pub model: &'static str,
    pub title: &'static str,
    /// By the number of calls that was chosen; under `own`, for any other.
    pub plans: BTreeMap<String, Calls>,
}

impl Plan {
    /// Of a model, and of its teacher beside it.
    pub fn new(student: &Model, teacher: Option<&Model>) -> anyhow::Result<Self> {
        let card = &student.card;
        let range = card.sampling.allowed_evaluations()?;
        let mut calls = Vec::new();
        let mut plans = BTreeMap::new();
        for count in range.take(MOST) {
            if let Ok(sampling) = card.sampling_with(count) {
                calls.push(count);
                plans.insert(count.to_string(), Calls::of(&sampling)?);
            }
        }
        let chosen = card.sampling.evaluations()?;
        if !calls.contains(&chosen) {
            calls.push(chosen);
            plans.insert(chosen.to_string(), Calls::of(&card.sampling)?);
        }
        let title = match card.kind {
            fewstep::model::Kind::Teacher => "Teacher",
            _ => "Student",
        };
        let [(model, _), (beside, _)] = FILES;
        let mut pictures = vec![Picture {
            model,
            title,
            plans,
        }];
        if let Some(teacher) = teacher {
            let sampling = &teacher.card.sampling;
            let same = calls.iter().filter_map(|count| {
                // Some solvers have no such number.
                let sampling = sampling.with_calls(*count).ok()?;
                Some((count.to_string(), Calls::of(&sampling).ok()?))
            });
            let same: BTreeMap<_, _> = same.collect();
            let own = BTreeMap::from([("own".to_string(), Calls::of(sampling)?)]);
            for (title, plans) in [("Teacher, not distilled", same), ("Teacher", own)] {
                pictures.push(Picture {
                    model: beside,
                    title,
                    plans,
                });
            }
        }
        Ok(Self {
            shape: card.network.image_shape(),
            classes: card.network.classes(),
            names: card.class_names.clone(),
            calls,
            chosen,
            files: BTreeMap::new(),
            pictures,
        })
    }
}

/// Refuses models whose answers are no pictures that a page could show.
pub fn check(student: &Model, teacher: Option<&Model>) -> anyhow::Result<()> {
    for model in [Some(student), teacher].into_iter().flatten() {
        let shape = model.card.network.image_shape();
        if model.card.is_latent() {
            return Err(wrong(
                "a page samples from models of pixels: what this one makes are latents, whose autoencoder is too much for a page; \
                 `fewstep convert --to onnx` writes its network",
            ));
        }
        if ![1, 3].contains(&shape[0]) {
            let channels = shape[0];
            return Err(wrong(format!(
                "a page shows pictures of 1 or 3 channels, and this model makes {channels}"
            )));
        }
    }
    let Some(teacher) = teacher else {
        return Ok(());
    };
    let [own, other] = [student, teacher].map(|model| {
        let network = &model.card.network;
        (network.image_shape(), network.classes())
    });
    if own == other {
        return Ok(());
    }
    let said = |([channels, height, width], classes): ([usize; 3], usize)| {
        format!("{channels} x {height} x {width} with {classes} classes")
    };
    Err(wrong(format!(
        "--teacher: it makes pictures of {}, the student of {}; name its own teacher",
        said(other),
        said(own)
    )))
}
