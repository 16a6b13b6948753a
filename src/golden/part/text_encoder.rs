//! CLIP text encoders.

use crate::golden::case::Case;
use crate::golden::measure::Report;
use crate::golden::measure::{Measure, Problem, normalised_each};
use crate::golden::part::autoencoder::weights;
use crate::parameter::load;
use crate::text::{TextEncoder, TextEncoderConfig};
use burn::tensor::{Device, Tensor};
use serde_json::Value;

/// A row for each evaluation.
pub(crate) fn run(case: &Case, device: &Device, report: Report<'_>) -> Result<(), Problem> {
    let config = case.config();
    let blank = configuration(case, &config["net"])?.blank(device)?;
    let weights = weights(case, &config["net"])?;
    let encoder = load(blank, &weights, &|_| false, case.path())?;
    for eval in case.list(config, "evals")? {
        report(case.text(eval, "id")?, evaluate(case, eval, &encoder));
    }
    Ok(())
}

/// A file must not be able to ask for all memory.
const MOST_WEIGHTS: u64 = 200_000_000;

/// The sizes that a case describes in the words of the transformers library.
pub(crate) fn configuration(case: &Case, net: &Value) -> Result<TextEncoderConfig, Problem> {
    let usual = net["hidden_act"] == "quick_gelu" && net["layer_norm_eps"] == 1e-5;
    if case.text(net, "arch")? != "clip_text" || !usual {
        return Err(Problem::unsupported("text encoders that are not CLIP's"));
    }
    let config = TextEncoderConfig {
        vocabulary: case.count(net, "vocab_size")?,
        width: case.count(net, "hidden_size")?,
        inner_width: case.count(net, "intermediate_size")?,
        layers: case.count(net, "num_hidden_layers")?,
        heads: case.count(net, "num_attention_heads")?,
        positions: case.count(net, "max_position_embeddings")?,
    };
    config.check()?;
    if config.parameter_count() > MOST_WEIGHTS {
        return Err(case.malformed("`net` describes a network too large to be a test"));
    }
    Ok(config)
}

/// Rows of ids.
pub(crate) fn rows(case: &Case, name: &str) -> Result<Vec<Vec<u32>>, Problem> {
    let shape = case.data(name)?.shape();
    let &[rows, tokens] = shape.as_slice() else {
        return Err(case.malformed(format!("{name} has not 2 dimensions")));
    };
    if rows * tokens == 0 || rows * tokens > 1 << 20 {
        return Err(case.malformed(format!("{name} is empty or too large")));
    }
    // What is no id becomes one that no vocabulary has.
    let ids = case.values(name)?.into_iter();
    let ids: Vec<u32> = ids
        .map(|id| if id >= 0.0 { id as u32 } else { u32::MAX })
        .collect();
    Ok(ids.chunks(tokens).map(<[u32]>::to_vec).collect())
}

/// The last hidden state, and the tokens before the first layer and after each.
pub(crate) fn embed(
    encoder: &TextEncoder,
    rows: &[Vec<u32>],
) -> Result<(Tensor<3>, Vec<Tensor<3>>), Problem> {
    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    let mut states = Vec::new();
    let last = encoder.embed_with(&rows, &mut |state| states.push(state.clone()))?;
    Ok((last, states))
}

/// The error of the worst row.
pub(crate) fn error(case: &Case, want: &str, got: Tensor<3>) -> Result<f64, Problem> {
    let rows = got.dims()[0];
    let got: Vec<f64> = got.into_data().iter::<f64>().collect();
    Ok(normalised_each(&got, &case.values(want)?, rows))
}

fn evaluate(case: &Case, eval: &Value, encoder: &TextEncoder) -> Result<Measure, Problem> {
    let tolerance = case.tolerance("last_hidden_state")?;
    let rows = rows(case, case.text(eval, "input_ids")?)?;
    let (last, states) = embed(encoder, &rows)?;
    let mut worst = Measure::new(error(case, case.text(eval, "out")?, last)?, tolerance);
    if eval["hidden_states"].is_null() {
        return Ok(worst);
    }
    let names = case.texts(eval, "hidden_states")?;
    if names.len() != states.len() {
        return Err(case.malformed("`hidden_states` is not one for each layer and one before"));
    }
    for (name, state) in names.into_iter().zip(states) {
        worst = worst.or_worse(Measure::new(error(case, name, state)?, tolerance));
    }
    Ok(worst)
}
