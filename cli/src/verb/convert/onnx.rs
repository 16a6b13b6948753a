//! Models as ONNX, for runtimes of others.

use crate::screen::failure::wrong;
use crate::screen::say::say;
use burn::tensor::Device;
use fewstep::export::Onnx;
use fewstep::import::Checkpoint;
use fewstep::model::Model;
use std::path::Path;

/// Refuses a name that no runtime would look at, and one whose weights would take the place of others.
pub(super) fn check(output: &Path, overwrite: bool) -> anyhow::Result<()> {
    if output.extension().is_none_or(|ending| ending != "onnx") {
        let path = output.display();
        return Err(wrong(format!(
            "{path}: runtimes know ONNX by its name; name it .onnx"
        )));
    }
    let beside = Onnx::beside(output);
    if beside.exists() && !overwrite {
        let path = beside.display();
        return Err(wrong(format!(
            "{path} exists already, where the weights of a large model go; name another file, or add --overwrite"
        )));
    }
    Ok(())
}

/// Writes the model of a file, for so many network calls or for as many as its card says.
pub(super) fn write(
    checkpoint: &Checkpoint,
    nfe: Option<usize>,
    how: Onnx,
    (output, device): (&Path, &Device),
) -> anyhow::Result<()> {
    let (card, hash) = checkpoint.described()?;
    let mut model = checkpoint.model(card, device)?;
    if let Some(nfe) = nfe {
        model = with_calls(model, nfe, hash)?;
    }
    for file in how.write(&model, output)? {
        say!("{}", file.display());
    }
    Ok(())
}

/// The model for so many network calls: folded, if the network is told their number.
fn with_calls(mut model: Model, nfe: usize, hash: String) -> anyhow::Result<Model> {
    if model.card.sampling.told_steps().is_some() {
        return Ok(model.fold(nfe, hash)?);
    }
    model.card.sampling = model.card.sampling_with(nfe)?;
    Ok(model)
}
