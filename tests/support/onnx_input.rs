//! What networks are told in cases of ONNX, and the same as inputs of a graph.

use super::onnx::random;
use burn::tensor::{Device, Tensor, TensorData};
use fewstep::Images;
use fewstep::denoiser::{Condition, Contexts, one_hot};
use fewstep::model::Model;
use fewstep::network::{NetworkConfig, PictureSizes, attach_whole};

/// Classes, where a network has them.
pub const CLASSES: usize = 3;

/// Tokens and width of texts.
pub const TEXT: [usize; 2] = [5, 12];

fn floats(values: &[f64]) -> TensorData {
    TensorData::new(
        values.iter().map(|v| *v as f32).collect::<Vec<_>>(),
        [values.len()],
    )
}

/// The sizes of two pictures that are alike.
fn rows(sizes: &PictureSizes) -> TensorData {
    let six = sizes.numbers().map(|n| n as f32);
    TensorData::new([six, six].concat(), [2, 6])
}

/// What a denoiser is told of two images, and the same as inputs of its graph.
fn told(network: &NetworkConfig) -> (Condition, Vec<(&'static str, TensorData)>) {
    let device = Device::flex();
    let mut condition = Condition::default();
    let mut inputs = Vec::new();
    if network.classes() > 0 {
        let labels = one_hot(&[2, 0], CLASSES, &device).unwrap();
        inputs.push(("labels", labels.to_data()));
        condition.labels = Some(labels);
    }
    if network.context_width().is_some() {
        let tokens = random([2, TEXT[0], TEXT[1]], 7);
        inputs.push(("context", tokens.to_data()));
        condition.context = Some(match network.added() {
            None => tokens,
            Some(added) => {
                let whole = random([2, added.text], 8);
                let sizes = PictureSizes {
                    original: [512, 384],
                    crop: [0, 16],
                    target: [64, 64],
                };
                inputs.push(("pooled", whole.to_data()));
                inputs.push(("sizes", rows(&sizes)));
                added.size(attach_whole(tokens, whole).unwrap(), &sizes)
            }
        });
    }
    if network.has_step_branch() {
        condition.steps = Some(5);
        inputs.push(("timestamps", floats(&[5.0, 5.0])));
    }
    (condition, inputs)
}

/// A case of the denoiser: two images, each at a level of its own.
pub fn denoiser_case(
    model: &Model,
    sigmas: [f64; 2],
) -> (Vec<(&'static str, TensorData)>, (&'static str, TensorData)) {
    let network = &model.card.network;
    let (condition, mut inputs) = told(network);
    let [channels, height, width] = network.image_shape();
    let level = floats(&sigmas);
    let column = Tensor::<1>::from_data(level.clone(), &Device::flex()).reshape([2, 1, 1, 1]);
    let noisy: Images = random([2, channels, height, width], 1) * column;
    // What f32 makes of the levels is what the graph is given.
    let sigmas: Vec<f64> = level.iter::<f64>().collect();
    let answer = model
        .denoiser()
        .denoise_each(noisy.clone(), &sigmas, &condition, None);
    inputs.extend([("noisy", noisy.into_data()), ("sigma", level)]);
    (inputs, ("denoised", answer.into_data()))
}

/// A text for each of seeds 4 and 9, and with guidance one to move away from; also as inputs of the graph.
pub fn texts(
    network: &NetworkConfig,
    guidance: f64,
    inputs: &mut Vec<(&'static str, TensorData)>,
) -> Option<Contexts> {
    network.context_width()?;
    let sizes = PictureSizes::whole(64, 64);
    if network.added().is_some() {
        inputs.push(("sizes", rows(&sizes)));
    }
    // Seed 4 shows the first of two, seed 9 the second; there is one negative text.
    let mut text = |names: [&'static str; 2], count: usize, index: u64| {
        let tokens: Tensor<3> = random([count, TEXT[0], TEXT[1]], index);
        let each = Tensor::cat(vec![tokens.clone(); 2 / count], 0);
        inputs.push((names[0], each.into_data()));
        match network.added() {
            None => tokens,
            Some(added) => {
                let whole: Tensor<2> = random([count, added.text], index + 1);
                let each = Tensor::cat(vec![whole.clone(); 2 / count], 0);
                inputs.push((names[1], each.into_data()));
                added.size(attach_whole(tokens, whole).unwrap(), &sizes)
            }
        }
    };
    let tokens = text(["context", "pooled"], 2, 20);
    let negative = (guidance != 1.0).then(|| text(["negative", "negative_pooled"], 1, 30));
    Some(Contexts::new(tokens, negative).unwrap())
}
