//! ADM ("DhariwalUNet"), the U-Net of the class-conditional ImageNet-64 model. [EDM Tab. 7, Dhariwal & Nichol 2021]

use super::block::BlockStyle;
use super::body::UNetBody;
use super::plan::{Family, Plan};
use super::planned::Planned;
use crate::graph::Graph;
use crate::layer::{Endpoint, Linear, sinusoid, trace_sinusoid};
use crate::network::family::Parts;
use crate::network::inputs::{Inputs, Told};
use crate::network::step::StepEmbedding;
use crate::network::trace::{TracedInputs, TracedTold};
use crate::network::walk::Walk;
use crate::parameter::{Adapters, Draw, Key, Keys, Site, Start, build_adapted, outline};
use crate::{Error, Images};
use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, activation};
use serde::{Deserialize, Serialize};

/// Sizes of a [`DhariwalUNet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DhariwalUNetConfig {
    /// Height and width of the images, in pixels; divisible by 2^(levels - 1).
    pub resolution: usize,
    /// Channels of the images.
    pub channels: usize,
    /// Number of classes; 0 for an unconditional network.
    #[serde(default)]
    pub classes: usize,
    /// What the channels of the levels are multiples of; a multiple of 4.
    pub model_channels: usize,
    /// Channels of each level, as multiples of `model_channels`.
    pub channel_multipliers: Vec<usize>,
    /// Residual blocks a level.
    pub blocks: usize,
    /// Image sizes at which blocks have attention, with one head for each 64 channels; blocks narrower than that have
    /// none.
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

const STYLE: BlockStyle = BlockStyle {
    epsilon: 1e-5,
    skip_scale: 1.0,
    adaptive_scale: true,
};

impl Default for DhariwalUNetConfig {
    /// EDM's network for ImageNet-64, without the step branch.
    fn default() -> Self {
        Self {
            resolution: 64,
            channels: 3,
            classes: 1000,
            model_channels: 192,
            channel_multipliers: vec![1, 2, 3, 4],
            blocks: 3,
            attention_resolutions: vec![32, 16, 8],
            augment_labels: 0,
            dropout: 0.1,
            step_branch: false,
        }
    }
}

impl DhariwalUNetConfig {
    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the field.
    pub fn check(&self) -> Result<(), Error> {
        self.plan().check()
    }
}

impl Planned for DhariwalUNetConfig {
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
            family: Family::Dhariwal,
        }
    }

    fn fits(&self) -> Result<(), Error> {
        self.check()
    }

    fn listed(&self) -> Vec<Key> {
        outline(NAME, DRAW, |site| DhariwalUNet::at(self, site))
    }

    fn switches(&mut self) -> (&mut bool, &mut f64) {
        (&mut self.step_branch, &mut self.dropout)
    }
}

/// Start of all official names.
const NAME: &str = "model";

const DRAW: Draw = Draw::FanIn;

/// The network. Parameter names are those of the official weight files, prefix `model.`.
#[derive(Module, Debug)]
pub struct DhariwalUNet {
    map_augment: Option<Linear>,
    map_layer0: Linear,
    map_layer1: Linear,
    map_label: Option<Linear>,
    step: Option<StepEmbedding>,
    body: UNetBody,
    #[module(skip)]
    waves: usize,
    #[module(skip)]
    keys: Keys,
}

impl DhariwalUNet {
    /// Builds the network, with these adapters, with all weights zero and norms one; `config` must have passed
    /// [`DhariwalUNetConfig::check`].
    pub(crate) fn new(config: &DhariwalUNetConfig, adapters: &Adapters, device: &Device) -> Self {
        let parts = (adapters, device);
        let (network, keys) = build_adapted(NAME, DRAW, parts, |site| Self::at(config, site));
        Self { keys, ..network }
    }

    fn at(config: &DhariwalUNetConfig, site: &Site<'_>) -> Self {
        let plan = config.plan();
        let (waves, embedding) = (plan.waves(), plan.embedding());
        let (classes, augment) = (config.classes, config.augment_labels);
        Self {
            // In the order of official files, which is not that of the fields.
            map_label: (classes > 0).then(|| {
                let start = Start::Normal { thousandths: 1000 };
                let site = site.at("map_label").drawn(start);
                Linear::without_bias(classes, embedding, &site)
            }),
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
            keys: Keys::default(),
        }
    }

    /// The embedding of noise level, class and augmentation, `[1 or batch, embedding]`, through its last SiLU.
    fn embed(&self, inputs: Inputs<'_>, dtype: DType, device: &Device) -> Tensor<2> {
        let each = inputs.each();
        let mut embedding = sinusoid(inputs.noise, self.waves, Endpoint::Excluded, dtype, device);
        if let (Some(layer), Some(augment)) = (&self.map_augment, inputs.augment) {
            embedding = embedding + layer.forward_rows(augment.clone().cast(dtype), each);
        }
        let embedding = activation::silu(self.map_layer0.forward_rows(embedding, each));
        let mut embedding = self.map_layer1.forward_rows(embedding, each);
        // Without labels there is nothing to add: the layer has no bias.
        if let (Some(layer), Some(labels)) = (&self.map_label, inputs.labels) {
            embedding = embedding + layer.forward_rows(labels.clone().cast(dtype), each);
        }
        activation::silu(embedding)
    }
}

impl Parts for DhariwalUNet {
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
        let endpoint = Endpoint::Excluded;
        let waves = trace_sinusoid(graph, &inputs.noise, self.waves, endpoint);
        let hidden = self.map_layer0.trace(graph, &waves);
        let hidden = graph.silu(&hidden);
        let mut time = self.map_layer1.trace(graph, &hidden);
        if let (Some(layer), Some(labels)) = (&self.map_label, &inputs.labels) {
            let told = layer.trace(graph, labels);
            time = graph.add(&time, &told);
        }
        let steps = self.step.as_ref().zip(inputs.steps.as_ref());
        TracedTold {
            time: graph.silu(&time),
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
        Some(layers.forward(timestamps, Endpoint::Excluded, dtype, device))
    }
}
