//! DDPM++ ("SongUNet"), the U-Net of the CIFAR-10, FFHQ and AFHQv2 models. [EDM App. F, Song et al. 2021]

use super::Inputs;
use super::embedding::{Endpoint, sinusoid};
use super::layers::{Conv2d, Dropout, GroupNorm, Linear, Resample};
use super::unet_block::{BlockConfig, UNetBlock, official_block_path};
use crate::{Error, Images};
use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, activation};
use serde::{Deserialize, Serialize};

/// Sizes of a [`SongUNet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SongUNetConfig {
    /// Height and width of the images, in pixels; divisible by 2^(levels - 1).
    pub resolution: usize,
    /// Channels of the images.
    pub channels: usize,
    /// Number of classes; 0 for an unconditional network.
    #[serde(default)]
    pub classes: usize,
    /// Channels of the first level; a multiple of 4.
    pub model_channels: usize,
    /// Channels of each level, as multiples of `model_channels`.
    pub channel_multipliers: Vec<usize>,
    /// Residual blocks a level.
    pub blocks: usize,
    /// Image sizes at which blocks have attention.
    pub attention_resolutions: Vec<usize>,
    /// Length of the augmentation label; 0 for a network without that input.
    #[serde(default)]
    pub augment_labels: usize,
    /// Dropout rate inside the blocks, in [0, 1); active in training only.
    #[serde(default)]
    pub dropout: f64,
    /// Whether the step branch exists.
    #[serde(default)]
    pub step_branch: bool,
}

/// Epsilon of every group norm.
const EPSILON: f64 = 1e-6;

/// Embedding channels as a multiple of the model channels.
const EMBEDDING_MULTIPLIER: usize = 4;

/// A layer of the U-Net's outline, before it is built: the one place that knows the order of layers.
struct Outline {
    name: String,
    input: usize,
    output: usize,
    resolution: usize,
    part: Part,
}

enum Part {
    /// The first convolution.
    Stem,
    /// An encoder block; its output is kept for the decoder.
    Encoder(Resample, bool),
    /// A decoder block; `true` takes the newest kept output as additional input channels.
    Decoder(Resample, bool, bool),
}

impl SongUNetConfig {
    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the field.
    pub fn check(&self) -> Result<(), Error> {
        let levels = self.channel_multipliers.len();
        if levels == 0 || self.channel_multipliers.contains(&0) {
            return Err(Error::invalid(
                "channel_multipliers",
                format!("{:?}", self.channel_multipliers),
                "one or more positive whole numbers",
            ));
        }
        if self.resolution == 0 || levels > 16 || !self.resolution.is_multiple_of(1 << (levels - 1))
        {
            return Err(Error::invalid(
                "resolution",
                self.resolution,
                format!(
                    "a positive multiple of 2^{} for {levels} levels",
                    levels - 1
                ),
            ));
        }
        let channels = self.model_channels;
        let divides = |c: usize| c.is_multiple_of((c / 4).clamp(1, 32));
        let fits = channels >= 4
            && channels.is_multiple_of(4)
            && self.outline().iter().all(|l| divides(l.output));
        if !fits {
            return Err(Error::invalid(
                "model_channels",
                channels,
                "a multiple of 4, and of 32 above 128 channels",
            ));
        }
        if self.channels == 0 {
            return Err(Error::invalid("channels", 0, "at least 1"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::invalid("dropout", self.dropout, "in [0, 1)"));
        }
        Ok(())
    }

    fn outline(&self) -> Vec<Outline> {
        let levels = self.channel_multipliers.len();
        let attends = |r: usize| self.attention_resolutions.contains(&r);
        let mut layers = Vec::new();
        let mut kept = Vec::new();
        let mut width = self.model_channels;
        for (level, multiplier) in self.channel_multipliers.iter().enumerate() {
            let r = self.resolution >> level;
            let mut push = |name: String, input, output, part| {
                kept.push(output);
                layers.push(Outline {
                    name,
                    input,
                    output,
                    resolution: r,
                    part,
                });
            };
            if level == 0 {
                push(format!("{r}x{r}_conv"), self.channels, width, Part::Stem);
            } else {
                let part = Part::Encoder(Resample::Down, false);
                push(format!("{r}x{r}_down"), width, width, part);
            }
            let output = self.model_channels * multiplier;
            for block in 0..self.blocks {
                let part = Part::Encoder(Resample::Keep, attends(r));
                push(format!("{r}x{r}_block{block}"), width, output, part);
                width = output;
            }
        }
        for (level, multiplier) in self.channel_multipliers.iter().enumerate().rev() {
            let r = self.resolution >> level;
            let mut push = |name: String, input, output, part| {
                layers.push(Outline {
                    name,
                    input,
                    output,
                    resolution: r,
                    part,
                });
            };
            let plain = |resample, attention| Part::Decoder(resample, attention, false);
            if level == levels - 1 {
                let keep = Resample::Keep;
                push(format!("{r}x{r}_in0"), width, width, plain(keep, true));
                push(format!("{r}x{r}_in1"), width, width, plain(keep, false));
            } else {
                let up = plain(Resample::Up, false);
                push(format!("{r}x{r}_up"), width, width, up);
            }
            let output = self.model_channels * multiplier;
            for block in 0..=self.blocks {
                let input = width + kept.pop().unwrap_or(0);
                let attention = block == self.blocks && attends(r);
                let part = Part::Decoder(Resample::Keep, attention, true);
                push(format!("{r}x{r}_block{block}"), input, output, part);
                width = output;
            }
        }
        layers
    }

    /// Multiply-adds of one forward pass of one image.
    pub fn multiply_adds(&self) -> u64 {
        let mut sum = 0;
        let mut last = 0;
        for layer in self.outline() {
            let pixels = (layer.resolution * layer.resolution) as u64;
            let (i, o) = (layer.input as u64, layer.output as u64);
            let (resample, attention) = match layer.part {
                Part::Stem => {
                    sum += 9 * i * o * pixels;
                    continue;
                }
                Part::Encoder(r, a) | Part::Decoder(r, a, _) => (r, a),
            };
            let skip = i != o || resample != Resample::Keep;
            sum += pixels * (9 * i * o + 9 * o * o + if skip { i * o } else { 0 });
            if attention {
                sum += pixels * (4 * o * o + 2 * pixels * o);
            }
            last = o;
        }
        sum + (self.resolution * self.resolution) as u64 * 9 * last * self.channels as u64
    }
}

/// The network. Parameter names are those of the official weight files, prefix `model.`.
#[derive(Module, Debug)]
pub struct SongUNet {
    map_label: Option<Linear>,
    map_augment: Option<Linear>,
    map_layer0: Linear,
    map_layer1: Linear,
    map_step_layer0: Option<Linear>,
    map_step_layer1: Option<Linear>,
    stem: Conv2d,
    encoder: Vec<UNetBlock>,
    decoder: Vec<UNetBlock>,
    aux_norm: GroupNorm,
    aux_conv: Conv2d,
    #[module(skip)]
    names: Names,
    #[module(skip)]
    model_channels: usize,
    #[module(skip)]
    classes: usize,
}

/// Official names of the layers, in order, and whether a decoder block takes a kept output.
#[derive(Clone, Debug, Default)]
struct Names {
    resolution: usize,
    encoder: Vec<String>,
    decoder: Vec<String>,
    joins: Vec<bool>,
}

impl SongUNet {
    /// Builds the network with all weights zero and norms one; `config` must have passed
    /// [`SongUNetConfig::check`].
    pub(crate) fn new(config: &SongUNetConfig, device: &Device) -> Self {
        let channels = config.model_channels;
        let embedding = channels * EMBEDDING_MULTIPLIER;
        let linear = |i, o, bias| Linear::new(i, o, bias, device);
        let mut names = Names {
            resolution: config.resolution,
            ..Names::default()
        };
        let (mut encoder, mut decoder) = (Vec::new(), Vec::new());
        let mut width = channels;
        for layer in config.outline() {
            let block = |resample, attention| {
                let config = BlockConfig {
                    input: layer.input,
                    output: layer.output,
                    embedding,
                    resample,
                    attention,
                    step_branch: config.step_branch,
                    dropout: config.dropout,
                    epsilon: EPSILON,
                };
                UNetBlock::new(config, device)
            };
            match layer.part {
                Part::Stem => {}
                Part::Encoder(resample, attention) => {
                    encoder.push(block(resample, attention));
                    names.encoder.push(layer.name);
                }
                Part::Decoder(resample, attention, joins) => {
                    decoder.push(block(resample, attention));
                    names.decoder.push(layer.name);
                    names.joins.push(joins);
                }
            }
            width = layer.output;
        }
        let (classes, augment) = (config.classes, config.augment_labels);
        Self {
            map_label: (classes > 0).then(|| linear(classes, channels, true)),
            map_augment: (augment > 0).then(|| linear(augment, channels, false)),
            map_layer0: linear(channels, embedding, true),
            map_layer1: linear(embedding, embedding, true),
            map_step_layer0: config
                .step_branch
                .then(|| linear(channels, embedding, true)),
            map_step_layer1: config
                .step_branch
                .then(|| linear(embedding, embedding, true)),
            stem: Conv2d::new(config.channels, channels, 3, Resample::Keep, device),
            encoder,
            decoder,
            aux_norm: GroupNorm::new(width, EPSILON, device),
            aux_conv: Conv2d::new(width, config.channels, 3, Resample::Keep, device),
            names,
            model_channels: channels,
            classes,
        }
    }

    /// The raw output F. [EDM App. F]
    pub(crate) fn forward(&self, images: Images, inputs: Inputs<'_>) -> Images {
        let embedding = self.embed(&images, inputs);
        let step = inputs
            .steps
            .and_then(|steps| self.embed_steps(steps, images.dtype(), &images.device()));
        let run = |block: &UNetBlock, x: Images, dropout: Option<&Dropout>| {
            block.forward(x, &embedding, step.as_ref(), dropout)
        };
        let mut x = self.stem.forward(images);
        let mut kept = vec![x.clone()];
        for block in &self.encoder {
            x = run(block, x, inputs.dropout);
            kept.push(x.clone());
        }
        for (block, joins) in self.decoder.iter().zip(&self.names.joins) {
            if *joins && let Some(skip) = kept.pop() {
                x = Tensor::cat(vec![x, skip], 1);
            }
            x = run(block, x, inputs.dropout);
        }
        self.aux_conv.forward(self.aux_norm.forward(x, None, true))
    }

    /// The embedding of noise level, class and augmentation, `[1 or batch, embedding]`, through its last SiLU.
    fn embed(&self, images: &Images, inputs: Inputs<'_>) -> Tensor<2> {
        let dtype = images.dtype();
        let device = images.device();
        let mut embedding = sinusoid(
            inputs.noise,
            self.model_channels,
            Endpoint::Included,
            dtype,
            &device,
        );
        if let Some(layer) = &self.map_label {
            let labels = match inputs.labels {
                Some(labels) => labels.clone().cast(dtype),
                None => Tensor::zeros([1, self.classes], (&device, dtype)),
            };
            let scale = (self.classes as f64).sqrt();
            embedding = embedding + layer.forward(labels.mul_scalar(scale));
        }
        if let (Some(layer), Some(augment)) = (&self.map_augment, inputs.augment) {
            embedding = embedding + layer.forward(augment.clone().cast(dtype));
        }
        let embedding = activation::silu(self.map_layer0.forward(embedding));
        activation::silu(self.map_layer1.forward(embedding))
    }

    /// The embedding of the number of timestamps, `[1, embedding]`. [SFD Sec. 3.3]
    pub(crate) fn embed_steps(
        &self,
        timestamps: usize,
        dtype: DType,
        device: &Device,
    ) -> Option<Tensor<2>> {
        let (first, second) = (
            self.map_step_layer0.as_ref()?,
            self.map_step_layer1.as_ref()?,
        );
        let steps = sinusoid(
            &[timestamps as f64],
            self.model_channels,
            Endpoint::Included,
            dtype,
            device,
        );
        let steps = activation::silu(first.forward(steps));
        Some(activation::silu(second.forward(steps)))
    }

    /// `encoder.3.conv0.weight` to `model.enc.16x16_block0.conv0.weight`, and so on.
    pub(crate) fn official_name(&self, path: &str) -> String {
        let r = self.names.resolution;
        let (head, rest) = path.split_once('.').unwrap_or((path, ""));
        let indexed = |side: &str, names: &[String]| {
            let (index, rest) = rest.split_once('.').unwrap_or((rest, ""));
            let name = index.parse().ok().and_then(|i: usize| names.get(i));
            let name = name.map_or("?", String::as_str);
            format!("model.{side}.{name}.{}", official_block_path(rest))
        };
        match head {
            "stem" => format!("model.enc.{r}x{r}_conv.{rest}"),
            "encoder" => indexed("enc", &self.names.encoder),
            "decoder" => indexed("dec", &self.names.decoder),
            "aux_norm" => format!("model.dec.{r}x{r}_aux_norm.{rest}"),
            "aux_conv" => format!("model.dec.{r}x{r}_aux_conv.{rest}"),
            _ => format!("model.{path}"),
        }
    }
}
