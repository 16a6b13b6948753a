//! The names that others give the tensors of an adapter: for which layer of which network, and what they are of it.

/// A network of a model that adapters are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Part {
    /// The denoising network.
    Network,
    /// A text encoder, counted from 0.
    TextEncoder(usize),
}

/// What a tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A, from the layer's inputs to the rank.
    Down,
    /// B, from there to its outputs.
    Up,
    /// The number that is divided by the rank.
    Alpha,
}

/// What a name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) part: Part,
    /// The layer, without what stands before its name.
    pub(super) layer: String,
    pub(super) role: Role,
}

/// Why a name says nothing of the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Other {
    /// An adapter of another kind, by its name.
    Kind(&'static str),
    /// No adapter.
    Unknown,
}

/// What is in names that only other kinds of adapters have, and the kind.
const MARKS: [(&str, &str); 10] = [
    (".hada_", "LoHa"),
    (".lokr_", "LoKr"),
    (".dora_scale", "DoRA"),
    (".lora_magnitude_vector", "DoRA"),
    (
        ".lora_mid.",
        "LoRA with a third factor (Tucker decomposition)",
    ),
    (".oft_", "OFT"),
    (".boft_", "BOFT"),
    (".lora_B.bias", "LoRA with biases"),
    (".lora_up.bias", "LoRA with biases"),
    (".lora_embedding_", "LoRA of embeddings"),
];

/// Ends of names of other kinds that names of anything may have, but not with [`KOHYA`] before them.
const OTHERS: [(&str, &str); 9] = [
    (".a1.weight", "GLoRA"),
    (".a2.weight", "GLoRA"),
    (".b1.weight", "GLoRA"),
    (".b2.weight", "GLoRA"),
    (".on_input", "IA3"),
    (".diff", "full difference"),
    (".diff_b", "full difference"),
    (".w_norm", "full difference"),
    (".b_norm", "full difference"),
];

/// What kohya's scripts put before all of them.
const KOHYA: &str = "lora_";

/// Ends of the names of the two factors, and whether they may stand right after the layer's last word: `to_q_lora.down.weight`.
const ENDS: [(&str, Role); 12] = [
    (".lora_down.weight", Role::Down),
    (".lora_up.weight", Role::Up),
    (".lora.down.weight", Role::Down),
    (".lora.up.weight", Role::Up),
    ("_lora.down.weight", Role::Down),
    ("_lora.up.weight", Role::Up),
    (".lora_linear_layer.down.weight", Role::Down),
    (".lora_linear_layer.up.weight", Role::Up),
    (".lora_A.weight", Role::Down),
    (".lora_B.weight", Role::Up),
    (".alpha", Role::Alpha),
    (".network_alpha", Role::Alpha),
];

/// What stands before the names of layers, the longer first.
const STARTS: [(&str, Part); 13] = [
    ("lora_te1_", Part::TextEncoder(0)),
    ("lora_te2_", Part::TextEncoder(1)),
    ("lora_te3_", Part::TextEncoder(2)),
    ("lora_te_", Part::TextEncoder(0)),
    ("text_encoder_2.", Part::TextEncoder(1)),
    ("text_encoder_3.", Part::TextEncoder(2)),
    ("text_encoder.", Part::TextEncoder(0)),
    ("lora_unet_", Part::Network),
    ("lora_transformer_", Part::Network),
    ("unet.", Part::Network),
    ("model.diffusion_model.", Part::Network),
    ("diffusion_model.", Part::Network),
    ("transformer.", Part::Network),
];

/// What PEFT puts before all of them.
const PEFT: &str = "base_model.model.";

/// Reads a name.
pub(super) fn read(name: &str) -> Result<Said, Other> {
    let rest = name.strip_prefix(PEFT).unwrap_or(name);
    let (layer, role) = match end(rest) {
        Some(found) => found,
        None => {
            let kind = MARKS.iter().find(|(mark, _)| rest.contains(mark));
            let other = || {
                let mut ends = OTHERS.iter().filter(|_| rest.starts_with(KOHYA));
                ends.find(|(end, _)| rest.ends_with(end))
            };
            let kind = kind.or_else(other);
            return Err(kind.map_or(Other::Unknown, |(_, kind)| Other::Kind(kind)));
        }
    };
    let start = STARTS.iter().find(|(start, _)| layer.starts_with(start));
    let (start, part) = start.copied().unwrap_or(("", Part::Network));
    Ok(Said {
        part,
        layer: plain(&layer[start.len()..]),
        role,
    })
}

/// The layer and the role; PEFT may put the adapter's own name between `lora_A` and `weight`.
fn end(name: &str) -> Option<(&str, Role)> {
    let plain = ENDS
        .iter()
        .find_map(|(end, role)| Some((name.strip_suffix(end)?, *role)));
    plain.or_else(|| {
        let name = name.strip_suffix(".weight")?;
        let (layer, own) = name.rsplit_once('.')?;
        let role = |(end, role): (&str, Role)| Some((layer.strip_suffix(end)?, role));
        let found = [(".lora_A", Role::Down), (".lora_B", Role::Up)];
        found.into_iter().find_map(role).filter(|_| !own.is_empty())
    })
}

/// A layer's name with `_` for every dot, as kohya's scripts write it; the names of attention processors are those of their
/// layers.
pub(super) fn plain(layer: &str) -> String {
    let layer = layer.replace(".processor.", ".");
    let plain = layer.replace('.', "_");
    match layer.ends_with(".to_out") {
        true => plain + "_0",
        false => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_writers_say_the_same() {
        let layer = "down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_out_0";
        let dotted = "down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_out.0";
        let before = dotted.trim_end_matches(".to_out.0");
        for (name, role) in [
            (format!("lora_unet_{layer}.lora_down.weight"), Role::Down),
            (format!("lora_unet_{layer}.lora_up.weight"), Role::Up),
            (format!("lora_unet_{layer}.alpha"), Role::Alpha),
            (format!("unet.{dotted}.lora_A.weight"), Role::Down),
            (format!("unet.{dotted}.lora.up.weight"), Role::Up),
            (format!("{dotted}.lora_B.weight"), Role::Up),
            (
                format!("base_model.model.{dotted}.lora_A.weight"),
                Role::Down,
            ),
            (
                format!("base_model.model.unet.{dotted}.lora_B.default.weight"),
                Role::Up,
            ),
            (
                format!("unet.{before}.processor.to_out_lora.down.weight"),
                Role::Down,
            ),
            (
                format!("{before}.processor.to_out_lora.up.weight"),
                Role::Up,
            ),
            (format!("diffusion_model.{dotted}.lora_up.weight"), Role::Up),
        ] {
            let said = Said {
                part: Part::Network,
                layer: layer.into(),
                role,
            };
            assert_eq!(read(&name), Ok(said), "{name}");
        }
    }

    #[test]
    fn text_encoders_are_told_apart() {
        for (name, encoder) in [
            ("lora_te_text_model_encoder_layers_0_mlp_fc1.alpha", 0),
            ("lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha", 0),
            ("lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha", 1),
            ("text_encoder.text_model.encoder.layers.0.mlp.fc1.alpha", 0),
            (
                "text_encoder_2.text_model.encoder.layers.0.mlp.fc1.alpha",
                1,
            ),
        ] {
            let said = read(name).unwrap();
            assert_eq!(said.part, Part::TextEncoder(encoder), "{name}");
            assert_eq!(said.layer, "text_model_encoder_layers_0_mlp_fc1");
        }
    }

    #[test]
    fn other_kinds_are_known_by_their_names() {
        for (name, kind) in [
            ("lora_unet_mid_block_x.hada_w1_a", "LoHa"),
            ("lora_unet_mid_block_x.lokr_w2", "LoKr"),
            ("lora_unet_mid_block_x.dora_scale", "DoRA"),
            ("unet.mid_block.x.lora_magnitude_vector", "DoRA"),
            ("lora_unet_mid_block_x.diff", "full difference"),
            ("lora_unet_mid_block_x.oft_blocks", "OFT"),
        ] {
            assert_eq!(read(name), Err(Other::Kind(kind)), "{name}");
        }
        for name in [
            "conv_in.weight",
            "model.diffusion_model.input_blocks.0.0.weight",
            "some.diff",
            "mlp.a1.weight",
        ] {
            assert_eq!(read(name), Err(Other::Unknown), "{name}");
        }
    }
}
