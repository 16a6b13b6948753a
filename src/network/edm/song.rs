//! DDPM++ and NCSN++ ("SongUNet"), the U-Nets of the CIFAR-10, FFHQ and AFHQv2 models. [EDM App. F, Song et al. 2021]

use super::block::BlockStyle;
use super::body::UNetBody;
use super::plan::{Family, Plan};
use super::planned::Planned;
use super::variant::{Decoder, Embedding, Encoder, Variant};
use crate::graph::{Graph, Value};
use crate::layer::{Endpoint, Fourier, Linear, ResampleFilter, sinusoid, trace_sinusoid};
use crate::network::family::Parts;
use crate::network::inputs::{Inputs, Told};
use crate::network::step::StepEmbedding;
use crate::network::trace::{TracedInputs, TracedTold};
use crate::network::walk::Walk;
use crate::parameter::{Adapters, Draw, Key, Keys, Site, build_adapted, outline};
use crate::setting::{is_default, is_one, one};
use crate::{Error, Images};
use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, activation};
use serde::{Deserialize, Serialize};

/// Sizes of a [`SongUNet`]. DDPM++ (EDM's `vp` models) has the defaults; NCSN++ (its `ve` models) has
/// [`Embedding::Fourier`] of 2 times the model channels, [`Encoder::Residual`] and [`ResampleFilter::Binomial`].
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
    /// How the noise level is embedded.
    #[serde(default, skip_serializing_if = "is_default")]
    pub embedding: Embedding,
    /// Channels of that embedding, as a multiple of `model_channels`, 1 to 16.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub noise_multiplier: usize,
    /// How the images reach the lower levels.
    #[serde(default, skip_serializing_if = "is_default")]
    pub encoder: Encoder,
    /// Which levels contribute to the answer.
    #[serde(default, skip_serializing_if = "is_default")]
    pub decoder: Decoder,
    /// Filter of halving and doubling.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resample_filter: ResampleFilter,
}

const STYLE: BlockStyle = BlockStyle {
    epsilon: 1e-6,
    // Both branches are summed and scaled, which keeps the variance at 1.
    skip_scale: std::f64::consts::FRAC_1_SQRT_2,
    adaptive_scale: false,
};

impl Default for SongUNetConfig {
    /// EDM's network for CIFAR-10: unconditional DDPM++, without the step branch.
    fn default() -> Self {
        Self {
            resolution: 32,
            channels: 3,
            classes: 0,
            model_channels: 128,
            channel_multipliers: vec![2, 2, 2],
            blocks: 4,
            attention_resolutions: vec![16],
            augment_labels: 9,
            dropout: 0.13,
            step_branch: false,
            embedding: Embedding::default(),
            noise_multiplier: one(),
            encoder: Encoder::default(),
            decoder: Decoder::default(),
            resample_filter: ResampleFilter::default(),
        }
    }
}

impl SongUNetConfig {
    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the field.
    pub fn check(&self) -> Result<(), Error> {
        if !(1..=16).contains(&self.noise_multiplier) {
            let value = self.noise_multiplier;
            return Err(Error::invalid("noise_multiplier", value, "from 1 to 16"));
        }
        self.plan().check()
    }
}

impl Planned for SongUNetConfig {
    fn plan(&self) -> Plan<'_> {
        Plan {
            resolution: self.resolution,
            channels: self.channels,
            classes: self.classes,
            augment_labels: self.augment_labels,
            model_channels: self.model_channels,
            multipliers: &self.channel_multipliers,
            blocks: self.blocks,
            attention: &self.attention_resolutions,
            dropout: self.dropout,
            step_branch: self.step_branch,
            family: Family::Song(Variant {
                embedding: self.embedding,
                noise_multiplier: self.noise_multiplier,
                encoder: self.encoder,
                decoder: self.decoder,
                filter: self.resample_filter,
            }),
        }
    }

    fn fits(&self) -> Result<(), Error> {
        self.check()
    }

    fn listed(&self) -> Vec<Key> {
        outline(NAME, DRAW, |site| SongUNet::at(self, site))
    }

    fn switches(&mut self) -> (&mut bool, &mut f64) {
        (&mut self.step_branch, &mut self.dropout)
    }
}

/// Start of all official names.
const NAME: &str = "model";

const DRAW: Draw = Draw::Glorot;

/// The network. Parameter names are those of the official weight files, prefix `model.`.
#[derive(Module, Debug)]
pub struct SongUNet {
    map_noise: Option<Fourier>,
    map_label: Option<Linear>,
    map_augment: Option<Linear>,
    map_layer0: Linear,
    map_layer1: Linear,
    step: Option<StepEmbedding>,
    body: UNetBody,
    #[module(skip)]
    waves: usize,
    #[module(skip)]
    classes: usize,
    #[module(skip)]
    keys: Keys,
}

impl SongUNet {
    /// Builds the network, with these adapters, with all weights zero and norms one; `config` must have passed
    /// [`SongUNetConfig::check`].
    pub(crate) fn new(config: &SongUNetConfig, adapters: &Adapters, device: &Device) -> Self {
        let parts = (adapters, device);
        let (network, keys) = build_adapted(NAME, DRAW, parts, |site| Self::at(config, site));
        Self { keys, ..network }
    }

    fn at(config: &SongUNetConfig, site: &Site<'_>) -> Self {
        let plan = config.plan();
        let (waves, embedding) = (plan.waves(), plan.embedding());
        let (classes, augment) = (config.classes, config.augment_labels);
        let fourier = config.embedding == Embedding::Fourier;
        Self {
            map_noise: fourier.then(|| Fourier::new(waves, &site.at("map_noise"))),
            map_label: (classes > 0).then(|| Linear::new(classes, waves, &site.at("map_label"))),
            map_augment: (augment > 0)
                .then(|| Linear::without_bias(augment, waves, &site.at("map_augment"))),
            map_layer0: Linear::new(waves, embedding, &site.at("map_layer0")),
            map_layer1: Linear::new(embedding, embedding, &site.at("map_layer1")),
            step: config.step_branch.then(|| {
                let layers = ["map_step_layer0", "map_step_layer1"];
                StepEmbedding::new(waves, embedding, layers.map(|layer| site.step().at(layer)))
            }),
            body: UNetBody::new(&plan, STYLE, site),
            waves,
            classes,
            keys: Keys::default(),
        }
    }

    /// The embedding of noise level, class and augmentation, `[1 or batch, embedding]`, through its last SiLU.
    fn embed(&self, inputs: Inputs<'_>, dtype: DType, device: &Device) -> Tensor<2> {
        let each = inputs.each();
        let mut embedding = match &self.map_noise {
            Some(fourier) => fourier.forward(inputs.noise, dtype, device),
            None => sinusoid(inputs.noise, self.waves, Endpoint::Included, dtype, device),
        };
        if let Some(layer) = &self.map_label {
            let labels = match inputs.labels {
                Some(labels) => labels.clone().cast(dtype),
                None => Tensor::zeros([1, self.classes], (device, dtype)),
            };
            let scale = (self.classes as f64).sqrt();
            embedding = embedding + layer.forward_rows(labels.mul_scalar(scale), each);
        }
        if let (Some(layer), Some(augment)) = (&self.map_augment, inputs.augment) {
            embedding = embedding + layer.forward_rows(augment.clone().cast(dtype), each);
        }
        let embedding = activation::silu(self.map_layer0.forward_rows(embedding, each));
        activation::silu(self.map_layer1.forward_rows(embedding, each))
    }

    /// [`embed`](Self::embed) in a graph, without augmentation.
    fn trace_embedding(&self, graph: &mut Graph, inputs: &TracedInputs) -> Value {
        let mut embedding = match &self.map_noise {
            Some(fourier) => fourier.trace(graph, &inputs.noise),
            None => trace_sinusoid(graph, &inputs.noise, self.waves, Endpoint::Included),
        };
        if let Some(layer) = &self.map_label {
            let labels = match &inputs.labels {
                Some(labels) => labels.clone(),
                None => graph.floats(&[1, self.classes], &vec![0.0; self.classes]),
            };
            let labels = graph.scale(&labels, (self.classes as f64).sqrt());
            let told = layer.trace(graph, &labels);
            embedding = graph.add(&embedding, &told);
        }
        let hidden = self.map_layer0.trace(graph, &embedding);
        let hidden = graph.silu(&hidden);
        let embedding = self.map_layer1.trace(graph, &hidden);
        graph.silu(&embedding)
    }
}

impl Parts for SongUNet {
    fn keys(&self) -> &Keys {
        &self.keys
    }

    /// [EDM App. F]
    fn tell<'a>(&self, images: &Images, inputs: Inputs<'a>) -> Told<'a> {
        let (dtype, device) = (images.dtype(), images.device());
        let time = self.embed(inputs, dtype, &device);
        Told::of(time, inputs, |n| self.step_embedding(n, dtype, &device))
    }

    fn trace(&self, graph: &mut Graph, inputs: &TracedInputs) -> TracedTold {
        let endpoint = Endpoint::Included;
        let steps = self.step.as_ref().zip(inputs.steps.as_ref());
        TracedTold {
            time: self.trace_embedding(graph, inputs),
            step: steps.map(|(layers, steps)| layers.trace(graph, steps, endpoint)),
            context: None,
        }
    }

    fn walk(&self) -> Walk<'_> {
        self.body.walk()
    }

    fn step_embedding(
        &self,
        timestamps: usize,
        dtype: DType,
        device: &Device,
    ) -> Option<Tensor<2>> {
        let layers = self.step.as_ref()?;
        Some(layers.forward(timestamps, Endpoint::Included, dtype, device))
    }
}
