//! The Inception network of Frechet distances, with weights that are made up by a formula.

use crate::feature::inception::{Inception, Resize, layers};
use crate::golden::case::Case;
use crate::golden::measure::{Measure, Problem, normalised};
use burn::tensor::Device;
use serde_json::Value;

/// A row for the names, and one for each result of each evaluation.
pub(in crate::golden) fn run(
    case: &Case,
    device: &Device,
    report: &mut dyn FnMut(&str, Result<Measure, Problem>),
) -> Result<(), Problem> {
    let config = case.config();
    report("names", names(case));
    let network = |resize| Inception::made_up(resize, device);
    let (tensorflow, bilinear) = (network(Resize::Tensorflow)?, network(Resize::Bilinear)?);
    for (i, eval) in case.list(config, "evals")?.iter().enumerate() {
        let tolerance = case.number(eval, "tolerance")?;
        let row = |key: &str, got: &[f32]| -> Result<Measure, Problem> {
            let got: Vec<f64> = got.iter().map(|v| f64::from(*v)).collect();
            let want = case.values(case.text(eval, key)?)?;
            Ok(Measure::new(normalised(&got, &want), tolerance))
        };
        let (bytes, shape) = pictures(case, eval)?;
        let found = tensorflow.stages(&bytes, shape)?;
        report(&format!("{i} pool"), row("pool", &found.pool));
        report(
            &format!("{i} logits"),
            row("logits", &tensorflow.logits(&found.pool)),
        );
        for (key, got) in [("block0", &found.first), ("block2", &found.middle)] {
            if !eval[key].is_null() {
                report(&format!("{i} {key}"), row(key, got));
            }
        }
        let found = bilinear.features_of_bytes(&bytes, shape)?;
        report(&format!("{i} pool_bilinear"), row("pool_bilinear", &found));
    }
    Ok(())
}

/// How many names of tensors are others.
fn names(case: &Case) -> Result<Measure, Problem> {
    let wanted = case.texts(case.config(), "names")?;
    let ours = layers().into_iter().flat_map(|layer| {
        let parts = [
            "conv.weight",
            "bn.weight",
            "bn.bias",
            "bn.running_mean",
            "bn.running_var",
        ];
        parts.map(|part| format!("{}.{part}", layer.name))
    });
    let ours = ours.chain(["fc.weight", "fc.bias"].map(String::from));
    let ours: Vec<String> = ours.collect();
    let wrong = wanted
        .iter()
        .filter(|name| !ours.iter().any(|ours| ours == *name));
    let wrong = wrong.count() + wanted.len().abs_diff(ours.len());
    Ok(Measure::new(wrong as f64, 0.0))
}

/// The bytes of an evaluation's pictures, and their channels, height and width.
fn pictures(case: &Case, eval: &Value) -> Result<(Vec<u8>, [usize; 3]), Problem> {
    let name = case.text(eval, "input")?;
    let data = case.data(name)?;
    let shape = data.shape();
    match shape.as_slice() {
        &[batch, channels, height, width] if batch * channels * height * width > 0 => {
            let bytes = data.iter::<f64>().map(|value| value as u8).collect();
            Ok((bytes, [channels, height, width]))
        }
        other => Err(case.malformed(format!("{name} has shape {other:?}, not 4 dimensions"))),
    }
}
