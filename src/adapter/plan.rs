//! Which layers of a student get adapters, and how large: the table `lora` of a recipe.

use super::layer::{Known, Layer, inside};
use crate::Error;
use crate::error::positive;
use crate::network::{Adapter, Adapters, NetworkConfig};
use serde::{Deserialize, Serialize};

/// A student that is a change of its teacher by low-rank adapters. [Hu et al. 2022]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Lora {
    /// Rank of every adapter, positive. A layer that is smaller than that has its own full rank.
    pub rank: usize,
    /// What an adapter's product is multiplied by, times the rank: a step of the optimizer changes a layer alpha / rank as much.
    /// The rank if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// The layers that get one.
    #[serde(default)]
    pub layers: Layers,
}

/// Layers of a network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layers {
    /// Every linear layer and convolution.
    #[default]
    All,
    /// The matrices of attention.
    Attention,
    /// Those that one of these patterns names: the end of a layer's name, from one of its dots on (`to_q`, `ff.net.0.proj`), or
    /// with `*` all of it (`down_blocks.*.conv1`). Names are the official ones, with or without what stands before all of them,
    /// or those of diffusers.
    #[serde(untagged)]
    Named(Vec<String>),
}

impl Lora {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the setting.
    pub fn check(&self) -> Result<(), Error> {
        positive("lora.rank", self.rank as f64)?;
        positive("lora.alpha", self.alpha())?;
        match &self.layers {
            Layers::Named(patterns) if patterns.is_empty() => {
                let expected = "\"attention\", \"all\" or a list of patterns such as \"to_q\"";
                Err(Error::invalid("lora.layers", "[]", expected))
            }
            _ => Ok(()),
        }
    }

    /// What the product is multiplied by, times the rank.
    pub fn alpha(&self) -> f64 {
        self.alpha.unwrap_or(self.rank as f64)
    }

    /// The adapters of a network. The step branch has none: where there is one, it is trained itself.
    ///
    /// # Errors
    /// Those of [`check`](Self::check), and [`Error::InvalidValue`] for a pattern that names no layer of this network.
    pub fn adapters(&self, network: &NetworkConfig) -> Result<Adapters, Error> {
        self.check()?;
        let known = Known::of(network);
        if let Layers::Named(patterns) = &self.layers {
            for pattern in patterns {
                if !known.all().iter().any(|layer| fits(pattern, layer)) {
                    let some = known.all().iter().rev().take(3);
                    let some: Vec<&str> = some.map(shown).collect();
                    let expected = format!(
                        "the name, or its end, of a layer that the network has, such as {}",
                        some.join(", ")
                    );
                    return Err(Error::invalid("lora.layers", pattern, expected));
                }
            }
        }
        let wanted = known.all().iter().filter(|layer| match &self.layers {
            Layers::All => true,
            Layers::Attention => layer.own.attention,
            Layers::Named(patterns) => patterns.iter().any(|pattern| fits(pattern, layer)),
        });
        let scale = self.alpha() / self.rank as f64;
        let adapters: Adapters = wanted
            .map(|layer| {
                let rank = self.rank.min(layer.own.full_rank());
                (layer.own.name.clone(), Adapter { rank, scale })
            })
            .collect();
        if adapters.is_empty() {
            let expected = "\"all\": this network has no attention";
            return Err(Error::invalid("lora.layers", "attention", expected));
        }
        Ok(adapters)
    }

    /// Numbers that such a student learns, without building it: the factors, and the step branch of its network.
    ///
    /// # Errors
    /// As [`adapters`](Self::adapters).
    pub fn parameter_count(&self, network: &NetworkConfig) -> Result<u64, Error> {
        let adapters = self.adapters(network)?;
        let layers = network.adapted_layers().into_iter();
        let factors =
            layers.filter_map(|layer| Some(layer.numbers(adapters.of(&layer.name)?.rank)));
        let branch = network.keys().into_iter();
        let branch = branch.filter(|key| key.step && !key.buffer);
        let branch = branch.map(|key| key.shape.iter().map(|n| *n as u64).product::<u64>());
        Ok(factors.sum::<u64>() + branch.sum::<u64>())
    }
}

/// The name that people know a layer by.
fn shown(layer: &Layer) -> &str {
    let own = || inside(&layer.own.name);
    layer.diffusers.as_deref().unwrap_or_else(own)
}

fn fits(pattern: &str, layer: &Layer) -> bool {
    let official = layer.own.name.as_str();
    let names = [
        Some(official),
        Some(inside(official)),
        layer.diffusers.as_deref(),
    ];
    names
        .into_iter()
        .flatten()
        .any(|name| match pattern.contains('*') {
            true => matches(pattern, name),
            false => {
                let before = name.strip_suffix(pattern);
                before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
            }
        })
}

/// Whether a name is the pattern, in which each `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{LatentUNetConfig, SongUNetConfig, TransformerConfig};

    fn lora(layers: &str) -> Lora {
        serde_json::from_str(&format!(
            r#"{{"rank": 64, "alpha": 32, "layers": {layers}}}"#
        ))
        .unwrap()
    }

    fn names(layers: &str, network: &NetworkConfig) -> Vec<String> {
        let adapters = lora(layers).adapters(network).unwrap();
        adapters.iter().map(|(name, _)| name.to_string()).collect()
    }

    fn stable_diffusion() -> NetworkConfig {
        NetworkConfig::LatentUnet(LatentUNetConfig::stable_diffusion())
    }

    #[test]
    fn attention_is_what_the_layers_say_it_is() {
        // 16 transformer blocks, two attentions of four matrices each.
        assert_eq!(names("\"attention\"", &stable_diffusion()).len(), 16 * 8);
        let small = NetworkConfig::SongUnet(SongUNetConfig::default());
        let all = names("\"attention\"", &small);
        assert!(
            all.iter()
                .all(|n| n.ends_with(".qkv") || n.ends_with(".proj"))
        );
        assert!(!all.is_empty());
        let dit = NetworkConfig::Transformer(TransformerConfig {
            resolution: 8,
            channels: 2,
            classes: 3,
            patch: 2,
            width: 16,
            depth: 2,
            heads: 4,
            dropout: 0.0,
            step_branch: true,
        });
        let all = names("\"attention\"", &dit);
        assert_eq!(
            all,
            [
                "blocks.0.attn.proj",
                "blocks.0.attn.qkv",
                "blocks.1.attn.proj",
                "blocks.1.attn.qkv"
            ]
        );
        let all = names("\"all\"", &dit);
        assert!(
            all.iter()
                .all(|n| !n.contains("step") && !n.contains("embedding_table"))
        );
        assert!(all.contains(&"x_embedder.proj".to_string()));
    }

    #[test]
    fn patterns_are_ends_of_names_or_the_whole() {
        let network = stable_diffusion();
        let count = |layers: &str| names(layers, &network).len();
        assert_eq!(count(r#"["to_q"]"#), 32);
        assert_eq!(count(r#"["attn2.to_q", "attn2.to_k"]"#), 32);
        // In names of diffusers, and in those of the official files.
        assert_eq!(count(r#"["conv1", "conv2"]"#), 44);
        assert_eq!(count(r#"["in_layers.2", "out_layers.3"]"#), 44);
        assert_eq!(count(r#"["down_blocks.0.*.to_q"]"#), 4);
        assert_eq!(count(r#"["input_blocks.1.*attn1*"]"#), 4);
        assert_eq!(count(r#"["time_embedding.linear_1"]"#), 1);
        for wrong in ["o_q", "to_x", "*.to_x", "nfe_embed.0"] {
            let error = lora(&format!("[\"{wrong}\"]"))
                .adapters(&network)
                .unwrap_err();
            let text = error.to_string();
            assert!(text.contains(wrong) && text.contains("such as"), "{text}");
        }
    }

    #[test]
    fn ranks_end_where_a_layer_ends() {
        let network = stable_diffusion();
        let adapters = lora("\"all\"").adapters(&network).unwrap();
        let of = |name: &str| {
            adapters
                .of(&format!("model.diffusion_model.{name}"))
                .unwrap()
        };
        // 4 channels in, 9 taps; 4 channels out.
        assert_eq!((of("input_blocks.0.0").rank, of("out.2").rank), (36, 4));
        assert_eq!(of("middle_block.1.proj_in").rank, 64);
        assert!(adapters.iter().all(|(_, adapter)| adapter.scale == 0.5));
        // Rank times inputs and outputs.
        let one = lora(r#"["middle_block.1.proj_in"]"#);
        assert_eq!(one.parameter_count(&network).unwrap(), 64 * 2 * 1280);
        let branch = network.with_step_branch(true);
        let more = branch.parameter_count() - network.parameter_count();
        assert_eq!(one.parameter_count(&branch).unwrap(), 64 * 2 * 1280 + more);
    }

    #[test]
    fn settings_are_checked() {
        for (text, name) in [
            (r#"{"rank": 0}"#, "lora.rank"),
            (r#"{"rank": 4, "alpha": 0}"#, "lora.alpha"),
            (r#"{"rank": 4, "layers": []}"#, "lora.layers"),
        ] {
            let lora: Lora = serde_json::from_str(text).unwrap();
            let error = lora.check().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        for text in [
            r#"{"rank": 4, "layers": "none"}"#,
            r#"{"rank": 4, "beta": 1}"#,
            "{}",
        ] {
            assert!(serde_json::from_str::<Lora>(text).is_err(), "{text}");
        }
        let plain: Lora = serde_json::from_str(r#"{"rank": 4}"#).unwrap();
        assert_eq!((plain.alpha(), &plain.layers), (4.0, &Layers::All));
        let text = serde_json::to_string(&lora("[\"to_q\"]")).unwrap();
        assert_eq!(text, r#"{"rank":64,"alpha":32.0,"layers":["to_q"]}"#);
    }
}
