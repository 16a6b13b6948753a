//! What of a model goes into its graph.

use super::calls::Calls;
use crate::denoiser::{Level, Preconditioned, TracedCondition};
use crate::graph::schema::DataType;
use crate::graph::{Graph, Value};
use crate::model::Model;
use crate::network::{NetworkConfig, TracedText};

/// Which graph of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnnxGraph {
    /// The denoiser D(x; sigma): noisy images and a noise level for each in, clean images out, with the preconditioning
    /// inside, for samplers of others. [EDM Eq. 7]
    Denoiser,
    /// All of sampling as the card says: noise in, images or latents out, with the levels, the solver and a free first step
    /// inside.
    Whole,
}

/// The graph of a model that has no adapters.
pub(super) fn graph(model: &Model, kind: OnnxGraph, calls: &Calls, weights: DataType) -> Graph {
    let mut graph = Graph::new(&model.network, weights);
    let network = &model.card.network;
    let shape = dimensions(network);
    let shape: Vec<&str> = shape.iter().map(String::as_str).collect();
    let denoiser = model.denoiser();
    match kind {
        OnnxGraph::Denoiser => {
            let about = "images plus noise of standard deviation sigma";
            let noisy = graph.input("noisy", &shape, about);
            let about = "the noise level of each image";
            let sigma = graph.input("sigma", &["batch"], about);
            let mut told = condition(&mut graph, network);
            if calls.timestamps.is_some() {
                let about = "the number of timestamps that sampling has, steps + 1, for each image";
                let steps = graph.input("timestamps", &["batch"], about);
                told.steps = Some(graph.cast(&steps, DataType::Double));
            }
            let answer = denoiser.trace(&mut graph, &noisy, &Level::Given(sigma), &told);
            graph.output("denoised", &answer, &shape, "the expected clean images");
        }
        OnnxGraph::Whole => {
            let noise = graph.input("noise", &shape, "standard normal noise");
            let mut told = condition(&mut graph, network);
            let timestamps = calls.timestamps;
            told.steps = timestamps.map(|count| graph.doubles(&[1], &[count as f64]));
            let away = away(&mut graph, network, &told, calls.guidance);
            let answer = sample(&mut graph, &denoiser, noise, (&told, away.as_ref()), calls);
            let (name, about) = match model.card.is_latent() {
                true => ("latents", "what the autoencoder makes pictures of"),
                false => ("images", "pixels, black -1 and white 1"),
            };
            graph.output(name, &answer, &shape, about);
        }
    }
    graph
}

/// Dimensions of images: a network of latents takes any that it can halve.
fn dimensions(network: &NetworkConfig) -> [String; 4] {
    let [channels, height, width] = network.image_shape();
    let any = matches!(network, NetworkConfig::LatentUnet(_));
    let side = |name: &str, length: usize| match any {
        true => name.to_string(),
        false => length.to_string(),
    };
    [
        "batch".into(),
        channels.to_string(),
        side("height", height),
        side("width", width),
    ]
}

/// What the network is told besides levels and steps.
fn condition(graph: &mut Graph, network: &NetworkConfig) -> TracedCondition {
    let classes = network.classes();
    TracedCondition {
        labels: (classes > 0).then(|| {
            let about = "1 for the class of each image, 0 for all others; zeros only for none";
            graph.input("labels", &["batch", &classes.to_string()], about)
        }),
        text: text(graph, network, ["context", "pooled"]),
        steps: None,
    }
}

/// A text, if the network takes one; `names` are those of its tokens and of the text as a whole.
fn text(graph: &mut Graph, network: &NetworkConfig, names: [&str; 2]) -> Option<TracedText> {
    let width = network.context_width()?.to_string();
    let about = "the tokens of a text for each image, as its encoder gives them";
    let tokens = graph.input(names[0], &["batch", "tokens", &width], about);
    let whole = network.added().map(|added| {
        let about = "each text as a whole";
        let whole = graph.input(names[1], &["batch", &added.text.to_string()], about);
        let about = "original height and width, rows and columns that were cut off, height and width, in pixels";
        // Both texts are about one picture.
        let sizes = match names[0] {
            "context" => graph.input("sizes", &["batch", "6"], about),
            _ => graph.known("sizes"),
        };
        [whole, sizes]
    });
    Some(TracedText { tokens, whole })
}

/// What guidance moves away from: no class, or the text of further inputs.
fn away(
    graph: &mut Graph,
    network: &NetworkConfig,
    told: &TracedCondition,
    guidance: f64,
) -> Option<TracedCondition> {
    if guidance == 1.0 || told.labels.is_none() && told.text.is_none() {
        return None;
    }
    Some(TracedCondition {
        labels: told.labels.as_ref().map(|labels| graph.scale(labels, 0.0)),
        text: text(graph, network, ["negative", "negative_pooled"]),
        steps: told.steps.clone(),
    })
}

/// All calls, and what follows from them.
fn sample(
    graph: &mut Graph,
    denoiser: &Preconditioned,
    noise: Value,
    (told, away): (&TracedCondition, Option<&TracedCondition>),
    calls: &Calls,
) -> Value {
    let mut known = vec![noise];
    for call in &calls.calls {
        let noisy = sum(graph, &known, &call.weights);
        let level = Level::Fixed(call.sigma);
        let followed = denoiser.trace(graph, &noisy, &level, told);
        known.push(match away {
            None => followed,
            Some(away) => {
                let plain = denoiser.trace(graph, &noisy, &level, away);
                let weights = [1.0 - calls.guidance, calls.guidance];
                sum(graph, &[plain, followed], &weights)
            }
        });
    }
    sum(graph, &known, &calls.images)
}

/// Values times their weights, added up.
fn sum(graph: &mut Graph, values: &[Value], weights: &[f64]) -> Value {
    let mut sum = None;
    for (value, weight) in values.iter().zip(weights) {
        if *weight == 0.0 {
            continue;
        }
        let term = graph.scale(value, *weight);
        sum = Some(match sum {
            None => term,
            Some(sum) => graph.add(&sum, &term),
        });
    }
    sum.unwrap_or_else(|| graph.scale(&values[0], 0.0))
}
