//! Low-rank adapters beside a U-Net: what it answers, multiplied out or not, and the gradients of the factors.

use crate::adapter::{AdapterFile, Factors};
use crate::container::Checkpoint;
use crate::golden::case::Case;
use crate::golden::gradient::Gradients;
use crate::golden::measure::{Measure, Named, Problem, Report, normalised, normalised_each};
use crate::golden::model::{numbers, trainable, with_whole};
use crate::model::Model;
use crate::network::{Inputs, NetworkConfig};
use crate::{Error, Images};
use burn::tensor::{DType, Device, Tensor};
use std::collections::BTreeSet;

/// Files that hold the same adapters, and the key of their name in the case.
const FILES: [&str; 2] = ["diffusers", "kohya"];

/// Names that the text as a whole may have.
const WHOLE: [&str; 3] = ["in/pooled", "in/text_embeds", "out/pooled"];

/// The images and all that the network is told.
struct Batch {
    images: Images,
    times: Vec<f64>,
    context: Option<Tensor<3>>,
}

impl Batch {
    fn read(case: &Case, net: &NetworkConfig, device: &Device) -> Result<Self, Problem> {
        let images = case.images("in/x", net, device)?;
        let batch = images.dims()[0];
        let times = case.values("in/t")?;
        if times.len() != batch || !times.iter().all(|t| t.is_finite()) {
            let reason = format!("in/t is not one time for each of {batch} images");
            return Err(case.malformed(reason));
        }
        let context = match net.context_width() {
            None => None,
            Some(width) => {
                let context = case.tensor::<3>("in/context", device, DType::F32)?;
                let [rows, _, found] = context.dims();
                if rows != batch || found != width {
                    let reason =
                        format!("in/context is not one text, {width} wide, for each image");
                    return Err(case.malformed(reason));
                }
                Some(match net.added() {
                    Some(added) => {
                        let found = WHOLE.iter().find(|name| case.data(name).is_ok());
                        let whole = found.copied().unwrap_or(WHOLE[0]);
                        with_whole(case, context, whole, added, device)?
                    }
                    None => context,
                })
            }
        };
        Ok(Self {
            images,
            times,
            context,
        })
    }

    fn answer(&self, model: &Model) -> Images {
        let inputs = Inputs {
            noise: &self.times,
            context: self.context.as_ref(),
            ..Inputs::default()
        };
        model.network.forward(self.images.clone(), inputs)
    }
}

/// For each file a row for its names, for each scale, for the weights multiplied out, and for the gradients.
pub(crate) fn run(case: &Case, device: &Device, report: Report<'_>) -> Result<(), Problem> {
    let config = case.config();
    let folder = Checkpoint::read(&case.near(case.text(config, "folder")?)?)?;
    let base = folder.model(folder.card()?, device)?;
    let net = &base.card.network;
    let batch = Batch::read(case, net, device)?;
    let given = FILES.into_iter().filter(|kind| !config[*kind].is_null());
    for kind in given {
        // The tensors of diffusers' file do not say it.
        let alpha = config["alpha"].as_f64().filter(|_| kind == "diffusers");
        let path = case.near(case.text(config, kind)?)?;
        let factors = AdapterFile::open(&path).and_then(|file| file.factors(net, alpha));
        let factors = match factors {
            Ok(factors) => factors,
            Err(error) => {
                report(kind, Err(Problem::Error(error)));
                continue;
            }
        };
        if !config["names"].is_null() {
            report(&format!("{kind} names"), names(case, net, &factors));
        }
        for eval in case.list(config, "evals")? {
            let scale = case.number(eval, "scale")?;
            let scaled = factors.clone().scaled(scale);
            let attached = with(&base, |network| scaled.attach(network, net));
            let merged = with(&base, |network| Ok(scaled.merge(network)));
            for (form, model) in [("", attached), (" merged", merged)] {
                let own = || -> Result<Measure, Problem> {
                    let got = numbers(&batch.answer(&model?));
                    let want = case.values(case.text(eval, "out")?)?;
                    let error = normalised_each(&got, &want, batch.times.len());
                    Ok(Measure::new(error, case.tolerance_of_all()?))
                };
                report(&format!("{kind} scale {scale}{form}"), own());
            }
        }
        if case.tensors("grad/").next().is_some() {
            gradients(case, &base, &factors, (kind, device), report)?;
        }
    }
    Ok(())
}

/// The base with another network.
fn with(
    base: &Model,
    change: impl FnOnce(crate::network::Network) -> Result<crate::network::Network, Error>,
) -> Result<Model, Error> {
    let mut model = base.clone();
    model.network = change(model.network)?;
    Ok(model)
}

/// Factors that only one side has.
fn names(case: &Case, net: &NetworkConfig, factors: &Factors) -> Result<Measure, Problem> {
    let mut want = case.texts(case.config(), "names")?;
    // Those whose gradient is zero stand in a list of their own.
    if !case.config()["zero_gradient"].is_null() {
        want.extend(case.texts(case.config(), "zero_gradient")?);
    }
    let want: BTreeSet<String> = want.into_iter().map(str::to_string).collect();
    let ours = factors.iter().flat_map(|(layer, _)| {
        let name = theirs(net, layer);
        ["A", "B"].map(|factor| format!("{name}.lora_{factor}.weight"))
    });
    let ours: BTreeSet<String> = ours.collect();
    Ok(Measure::new(
        want.symmetric_difference(&ours).count() as f64,
        0.0,
    ))
}

/// Diffusers' name of a layer.
fn theirs(net: &NetworkConfig, layer: &str) -> String {
    crate::adapter::diffusers_name(net, layer).unwrap_or_else(|| layer.to_string())
}

/// The gradients of sum |answer - target| / 2 in the factors: those that are stored, and those that are zero in theory.
fn gradients(
    case: &Case,
    base: &Model,
    factors: &Factors,
    (kind, device): (&str, &Device),
    report: Report<'_>,
) -> Result<(), Problem> {
    let net = &base.card.network;
    let device = device.clone().autodiff();
    let batch = Batch::read(case, net, &device)?;
    let target = case.images("in/target", net, &device)?;
    let attached = with(base, |network| {
        Ok(factors.attach(network, net)?.with_frozen_base())
    })?;
    let model = Model {
        network: trainable(&attached.denoiser(), &device).network,
        ..attached
    };
    if target.dims() != batch.images.dims() {
        return Err(case.malformed("in/target and in/x have different shapes"));
    }
    let loss = (batch.answer(&model) - target).abs().sum().div_scalar(2.0);
    let found = Gradients::read(&model.network, &loss.backward());
    let zero: BTreeSet<&str> = match case.config()["zero_gradient"].is_null() {
        true => BTreeSet::new(),
        false => case
            .texts(case.config(), "zero_gradient")?
            .into_iter()
            .collect(),
    };
    let tolerance = case.tolerance_of_gradients()?;
    let (mut worst, mut nothing, mut largest) = (Named::default(), Named::default(), 0f64);
    let size = |values: &[f64]| values.iter().fold(0f64, |most, v| most.max(v.abs()));
    let mut zeros = Vec::new();
    let mut compared = 0;
    for (layer, _) in factors.iter() {
        let name = theirs(net, layer);
        for factor in ["lora_A.weight", "lora_B.weight"] {
            let (ours, theirs) = (format!("{layer}.{factor}"), format!("{name}.{factor}"));
            let got = found.of(&ours);
            largest = largest.max(size(got));
            if zero.contains(theirs.as_str()) {
                zeros.push((theirs, size(got)));
                continue;
            }
            let Ok(want) = case.values(&format!("grad/{theirs}")) else {
                continue;
            };
            compared += 1;
            // Of long ones the first are stored.
            let head = got.get(..want.len()).unwrap_or_default();
            worst.keep(&theirs, normalised(head, &want));
        }
    }
    let stored = case
        .tensors("grad/")
        .filter(|(name, _)| !zero.contains(name));
    let missing = stored.count() - compared;
    if missing > 0 {
        worst.keep(
            "gradients of factors that the file does not have",
            f64::INFINITY,
        );
    }
    let measure = Measure::new(worst.error, tolerance).of_tensor(worst.tensor);
    report(&format!("{kind} gradients"), Ok(measure));
    if !zeros.is_empty() {
        for (name, size) in zeros {
            nothing.keep(&name, size / largest);
        }
        let measure = Measure::new(nothing.error, tolerance).of_tensor(nothing.tensor);
        report(&format!("{kind} zero gradients"), Ok(measure));
    }
    Ok(())
}
