//! The folder of the page.

use super::html::html;
use super::plan::{FILES, Loaded, Plan, check};
use super::runtime::Runtime;
use crate::screen::progress::bytes;
use fewstep::export::{Onnx, OnnxGraph};
use fewstep::import::Scalar;
use fewstep::model::{Kind, Model, write_atomically};
use std::path::Path;

const SCRIPT: &str = include_str!("sampler.js");

/// The folder of the runtime in that of the page.
const RUNTIME: &str = "onnxruntime-web";

/// What a page is made of.
pub struct Sampler<'a> {
    pub student: &'a Model,
    pub teacher: Option<&'a Model>,
    pub title: &'a str,
    pub runtime: Runtime,
    /// Type of the weights: f32 or f16.
    pub weights: Scalar,
}

/// Writes the page into a folder.
pub fn write(sampler: &Sampler<'_>, folder: &Path) -> anyhow::Result<()> {
    let Sampler {
        student, teacher, ..
    } = sampler;
    check(student, *teacher)?;
    let mut plan = Plan::new(student, *teacher)?;
    let how = Onnx {
        weights: sampler.weights,
        // A browser would not look for a file beside.
        largest: usize::MAX,
        ..Onnx::new(OnnxGraph::Denoiser)
    };
    for ((model, name), of) in FILES.into_iter().zip([Some(*student), *teacher]) {
        let Some(of) = of else { continue };
        let path = folder.join(name);
        how.write(of, &path)?;
        let size = bytes(fs_err::metadata(&path)?.len());
        plan.files.insert(model, Loaded { name, size });
    }
    for (name, content) in &sampler.runtime.files {
        write_atomically(&folder.join(RUNTIME).join(name), content)?;
    }
    let version = sampler.runtime.version.as_deref().unwrap_or("");
    let made = format!("{RUNTIME} {version}");
    let page = html(&plan, sampler.title, &lead(student, *teacher)?, made.trim())?;
    write_atomically(&folder.join("sampler.js"), SCRIPT.as_bytes())?;
    // Last: a page that is there is whole.
    write_atomically(&folder.join("index.html"), page.as_bytes())?;
    Ok(())
}

/// What the model is, in a sentence.
fn lead(student: &Model, teacher: Option<&Model>) -> anyhow::Result<String> {
    let network = &student.card.network;
    let [channels, height, width] = network.image_shape();
    let colour = match channels {
        1 => "grey",
        _ => "colour",
    };
    let classes = match network.classes() {
        0 => String::new(),
        count => format!(" of {count} classes"),
    };
    let kind = match student.card.kind {
        Kind::Teacher => "A teacher",
        _ => "A student",
    };
    let (least, most) = student.card.sampling.allowed_evaluations()?.into_inner();
    let calls = match (least, most) {
        (1, 1) => "one network call".to_string(),
        (one, same) if one == same => format!("{one} network calls"),
        (least, most) => format!("{least} to {most} network calls"),
    };
    let beside = match teacher {
        None => String::new(),
        Some(teacher) => {
            let calls = teacher.card.sampling.evaluations()?;
            format!(", beside its teacher, which takes {calls}")
        }
    };
    Ok(format!(
        "{kind} that makes {colour} pictures of {width} x {height}{classes} in {calls}{beside}."
    ))
}
