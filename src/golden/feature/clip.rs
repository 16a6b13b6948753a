//! Both halves of CLIP, and how pictures are made ready for it.

use crate::feature::clip::{Clip, Told, assemble, from_names};
use crate::golden::case::Case;
use crate::golden::measure::{Measure, Problem, normalised_each};
use crate::text::Activation;
use burn::tensor::{DType, Device, Tensor};
use serde_json::Value;

type Report<'a> = &'a mut dyn FnMut(&str, Result<Measure, Problem>);

/// A row for each half, their products, and each picture that is made ready.
pub(in crate::golden) fn run(
    case: &Case,
    device: &Device,
    report: Report<'_>,
) -> Result<(), Problem> {
    let config = case.config();
    let tolerance = case.tolerance_of_all()?;
    let clip = read(case, device)?;
    let pictures = case.tensor::<4>("in/pixel_values", device, DType::F32)?;
    let seen = clip.see(pictures)?;
    let rows = crate::golden::part::text_encoder::rows(case, "in/input_ids")?;
    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    let read = clip.read_texts(&rows)?;
    for (name, got) in [("image_embeds", &seen), ("text_embeds", &read)] {
        let want = case.values(&format!("out/{name}"))?;
        let error = normalised_each(&numbers(got), &want, got.dims()[0]);
        report(name, Ok(Measure::new(error, tolerance)));
    }
    // A case of transformers has its logits divided by 100, which the scale in its file, of half precision, nearly is.
    let scale = match config["naming"].is_null() {
        true => logit_scale(case)? / 100.0,
        false => 1.0,
    };
    let cosine = numbers(&(seen * read).sum_dim(1)).into_iter();
    let cosine: Vec<f64> = cosine.map(|cosine| cosine * scale).collect();
    let want = case.values("out/cosine")?;
    let error = normalised_each(&cosine, &want, 1);
    report("cosine", Ok(Measure::new(error, tolerance)));
    for of in case.list(config, "preprocess")? {
        let name = case.text(of, "input")?;
        report(&name.replace("in/", ""), prepare(case, of, &clip));
    }
    Ok(())
}

fn numbers(rows: &Tensor<2>) -> Vec<f64> {
    rows.to_data().iter::<f64>().collect()
}

/// What the model multiplies cosines with.
fn logit_scale(case: &Case) -> Result<f64, Problem> {
    let file = case.companion(case.text(case.config(), "weights")?)?;
    let logarithm = file.values("logit_scale")?.first().copied();
    let logarithm = logarithm.filter(|value| value.is_finite());
    let missing = || case.malformed("its weights have no `logit_scale`");
    Ok(logarithm.ok_or_else(missing)?.exp())
}

/// The model of the companion file.
fn read(case: &Case, device: &Device) -> Result<Clip, Problem> {
    let config = case.config();
    let file = case.companion(case.text(config, "weights")?)?;
    let weights: Vec<_> = file.tensors("").collect();
    let shapes: Vec<_> = weights
        .iter()
        .map(|(name, data)| (*name, data.shape().to_vec()))
        .collect();
    let (naming, origins) = from_names(shapes.iter().map(|(name, shape)| (*name, &shape[..])));
    let (text, vision) = (&config["text"], &config["vision"]);
    let heads = if text["heads"].is_null() {
        "num_attention_heads"
    } else {
        "heads"
    };
    let activation = |half: &Value| match case.text(half, "hidden_act")? {
        "quick_gelu" => Ok(Some(Activation::QuickGelu)),
        "gelu" => Ok(Some(Activation::Gelu)),
        other => Err(Problem::unsupported(format!("the function {other:?}"))),
    };
    let told = Told {
        text_heads: Some(case.count(text, heads)?),
        vision_heads: Some(case.count(vision, "num_attention_heads")?),
        text_activation: activation(text)?,
        vision_activation: activation(vision)?,
    };
    let mut read = |name: &str| {
        let found = weights.iter().find(|(theirs, _)| *theirs == name);
        let values = found.map(|(_, data)| data.iter::<f32>().collect());
        Ok(values.unwrap_or_default())
    };
    Ok(assemble(
        naming,
        &origins,
        &told,
        case.path(),
        device,
        &mut read,
    )?)
}

/// The largest error of a picture that is made ready, in levels of a byte: none may be off by one.
fn prepare(case: &Case, of: &Value, clip: &Clip) -> Result<Measure, Problem> {
    let name = case.text(of, "input")?;
    let data = case.data(name)?;
    let &[height, width, 3] = data.shape().as_slice() else {
        return Err(case.malformed(format!("{name} is not a picture of three channels")));
    };
    if height * width == 0 {
        return Err(case.malformed(format!("{name} is empty")));
    }
    let bytes: Vec<u8> = data.iter::<f64>().map(|value| value as u8).collect();
    let got = clip.preparation().apply(&bytes, height, width);
    let got: Vec<f64> = got.into_iter().map(f64::from).collect();
    let want = case.values(case.text(of, "out")?)?;
    Ok(Measure::new(
        normalised_each(&got, &want, 3),
        case.tolerance_of_all()?,
    ))
}
