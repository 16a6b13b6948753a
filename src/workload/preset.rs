//! Networks that figures are reported for.

use super::SEED;
use crate::Error;
use crate::denoiser::Preconditioning;
use crate::grid::{LogAlphaTable, Spacing};
use crate::model::{Card, Kind, Model, Sampling};
use crate::network::{LatentUNetConfig, NetworkConfig, SongUNetConfig, replace};
use crate::noise::{Domain, Stream};
use crate::solver::SolverConfig;
use burn::tensor::{Device, Tensor, TensorData};

/// A network that figures are reported for, with random weights: time does not depend on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// The network of the bundled teacher: 1 x 32 x 32, ten classes, 16 channels.
    FashionMnist,
    /// 3 x 32 x 32, 64 channels with multipliers 1, 2, 2, two blocks a level, attention at 16.
    Bench64,
    /// EDM's CIFAR-10 network at full size: 3 x 32 x 32, 128 channels with multipliers 2, 2, 2, four blocks a level.
    Cifar10,
    /// The network of LSUN-Bedroom and FFHQ in latent space, 274 million parameters: 3 x 64 x 64 latents.
    LsunBedroom,
    /// Stable Diffusion v1's, 860 million parameters: 4 x 64 x 64 latents, 77 tokens of a text.
    StableDiffusion,
    /// Stable Diffusion XL's, 2.57 billion parameters, with a quarter of its pixels: 4 x 64 x 64 latents, 77 tokens of a text.
    StableDiffusionXl,
}

impl Preset {
    /// Every preset, the smallest first.
    pub const ALL: [Self; 6] = [
        Self::FashionMnist,
        Self::Bench64,
        Self::Cifar10,
        Self::LsunBedroom,
        Self::StableDiffusion,
        Self::StableDiffusionXl,
    ];

    /// Its name, as typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::FashionMnist => "fashion-mnist",
            Self::Bench64 => "bench64",
            Self::Cifar10 => "cifar10",
            Self::LsunBedroom => "lsun-bedroom",
            Self::StableDiffusion => "stable-diffusion",
            Self::StableDiffusionXl => "stable-diffusion-xl",
        }
    }

    /// The batch that figures are reported for.
    pub fn batch(self) -> usize {
        match self {
            Self::FashionMnist | Self::Bench64 => 8,
            Self::Cifar10 | Self::LsunBedroom | Self::StableDiffusion => 2,
            Self::StableDiffusionXl => 1,
        }
    }

    /// The network and its sizes.
    pub fn network(self) -> NetworkConfig {
        let small = |channels, classes, model_channels, attention| SongUNetConfig {
            channels,
            classes,
            model_channels,
            channel_multipliers: vec![1, 2, 2],
            blocks: 2,
            attention_resolutions: vec![attention],
            augment_labels: 0,
            dropout: 0.0,
            ..SongUNetConfig::default()
        };
        NetworkConfig::SongUnet(match self {
            Self::FashionMnist => small(1, 10, 16, 8),
            Self::Bench64 => small(3, 0, 64, 16),
            Self::Cifar10 => SongUNetConfig::default(),
            Self::LsunBedroom => return NetworkConfig::LatentUnet(LatentUNetConfig::default()),
            Self::StableDiffusion => {
                return NetworkConfig::LatentUnet(LatentUNetConfig::stable_diffusion());
            }
            Self::StableDiffusionXl => {
                return NetworkConfig::LatentUnet(LatentUNetConfig {
                    resolution: 64,
                    ..LatentUNetConfig::stable_diffusion_xl()
                });
            }
        })
    }

    /// How the network's output relates to the clean images, as published.
    fn preconditioning(self) -> Result<Preconditioning, Error> {
        let table = |start, end| Ok(LogAlphaTable::scaled_linear(start, end, 1000)?.into());
        match self {
            Self::FashionMnist | Self::Bench64 | Self::Cifar10 => Ok(0.5.into()),
            Self::LsunBedroom => table(0.0015, 0.0195),
            Self::StableDiffusion | Self::StableDiffusionXl => table(0.00085, 0.012),
        }
    }

    /// A teacher with random weights, none of them zero: fresh networks of ours begin with branches that are.
    ///
    /// # Errors
    /// None: the sizes fit together.
    pub fn model(self, device: &Device) -> Result<Model, Error> {
        let network = self.network();
        let weights = replace(network.blank(device)?, &mut |position, name, shape| {
            let count: usize = shape.iter().product();
            let mut values = Stream::new(SEED, Domain::Test, position as u64).uniforms(count);
            let (middle, deviation) = match shape {
                [_] if name.ends_with(".weight") => (1.0, 0.1),
                [_] => (0.0, 0.1),
                // Keeps the variance.
                [rows, ..] => (0.0, (*rows as f64 / count as f64).sqrt()),
                [] => (0.0, 0.0),
            };
            let half_width = 3f64.sqrt() * deviation;
            for value in &mut values {
                *value = (middle + (2.0 * f64::from(*value) - 1.0) * half_width) as f32;
            }
            Some(Tensor::from_data(TensorData::new(values, [count]), device))
        });
        let card = Card {
            format: 1,
            kind: Kind::Teacher,
            network,
            answer: self.preconditioning()?.into(),
            sampling: Sampling {
                solver: SolverConfig::default(),
                steps: 12,
                spacing: Spacing::default(),
                sigma_max: 80.0,
                sigma_min: 0.006,
                analytic_first_step: false,
                step_condition: false,
                step_range: None,
                guidance: 1.0,
            },
            recipe: serde_json::json!({ "random-weights": self.name() }),
            trained_on: 0,
            class_names: Vec::new(),
            adapter: None,
            parent: None,
            version: env!("CARGO_PKG_VERSION").into(),
        };
        Ok(Model::new(card, weights))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::parameters;
    use crate::workload::Workload;
    use std::path::Path;

    #[test]
    fn the_first_preset_is_the_bundled_teachers_network() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = root.join("assets/fashion-mnist-teacher.safetensors");
        let (model, _) = Model::read(&path, &Device::flex()).unwrap();
        assert_eq!(Preset::FashionMnist.network(), model.card.network);
        for preset in Preset::ALL {
            preset.network().check().unwrap();
        }
        // As published.
        let count = |preset: Preset| preset.network().parameter_count();
        assert_eq!(count(Preset::Cifar10), 55_733_891);
        assert_eq!(count(Preset::LsunBedroom), 274_056_163);
        assert_eq!(count(Preset::StableDiffusion), 859_520_964);
        assert_eq!(count(Preset::StableDiffusionXl), 2_567_463_684);
    }

    #[test]
    fn no_weight_of_a_preset_is_zero_and_its_answer_has_the_datas_size() {
        let device = Device::flex();
        let model = Preset::FashionMnist.model(&device).unwrap();
        for parameter in parameters(&model.network) {
            let zeros = parameter.data.iter::<f32>().filter(|v| *v == 0.0).count();
            assert!(
                zeros * 1000 < parameter.data.num_elements().max(1001),
                "{}",
                parameter.name
            );
        }
        let workload = Workload::new(&model, 2, &device).unwrap();
        let values = workload.forward().into_data();
        let square = values.iter::<f64>().map(|v| v * v).sum::<f64>() / 2048.0;
        assert!((0.01..10.0).contains(&square), "{square}");
    }
}
