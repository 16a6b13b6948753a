//! Names of CLIP's tensors: those of transformers, and those of OpenCLIP, which are OpenAI's.

use std::collections::BTreeMap;

/// What tells OpenCLIP's names.
pub(super) const OPENCLIP: &str = "transformer.resblocks.0.ln_1.weight";
/// What makes a text as a whole, under the name of transformers.
pub(super) const PROJECTION: &str = "text_projection.weight";

/// Where the layers of transformers' half that reads are.
pub(super) const LAYERS: &str = "text_model.encoder.layers.";
/// OpenCLIP's names of what is there once, and those of transformers.
const FIXED: [(&str, &str); 11] = [
    (
        "token_embedding.weight",
        "text_model.embeddings.token_embedding.weight",
    ),
    (
        "positional_embedding",
        "text_model.embeddings.position_embedding.weight",
    ),
    ("ln_final.weight", "text_model.final_layer_norm.weight"),
    ("ln_final.bias", "text_model.final_layer_norm.bias"),
    (
        "visual.class_embedding",
        "vision_model.embeddings.class_embedding",
    ),
    (
        "visual.conv1.weight",
        "vision_model.embeddings.patch_embedding.weight",
    ),
    (
        "visual.positional_embedding",
        "vision_model.embeddings.position_embedding.weight",
    ),
    ("visual.ln_pre.weight", "vision_model.pre_layrnorm.weight"),
    ("visual.ln_pre.bias", "vision_model.pre_layrnorm.bias"),
    (
        "visual.ln_post.weight",
        "vision_model.post_layernorm.weight",
    ),
    ("visual.ln_post.bias", "vision_model.post_layernorm.bias"),
];
/// Of matrices that one has turned over.
const PROJECTIONS: [(&str, &str); 2] = [
    ("text_projection", PROJECTION),
    ("visual.proj", "visual_projection.weight"),
];
/// Where OpenCLIP's blocks are.
pub(super) const BLOCKS: &str = "transformer.resblocks.";
/// Of the layers in a block.
const PARTS: [(&str, &str); 5] = [
    ("attn.out_proj", "self_attn.out_proj"),
    ("ln_1", "layer_norm1"),
    ("ln_2", "layer_norm2"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
];
/// What transformers has three matrices for, and OpenCLIP one.
const LETTERS: [&str; 3] = ["q", "k", "v"];

/// Whose names a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// `text_model.embeddings.token_embedding.weight`...
    Transformers,
    /// `token_embedding.weight`, `visual.conv1.weight`...
    OpenClip,
}

/// Where the numbers of a tensor come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The file's name of it.
    pub name: String,
    pub how: How,
}

/// How its numbers are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Whole,
    /// The first, second or last third of the rows.
    Third(usize),
    /// A matrix turned over.
    Turned,
}

/// Origin and dimensions of each tensor, by the name that transformers gives it.
pub(crate) type Origins = BTreeMap<String, (Origin, Vec<usize>)>;

/// Finds the tensors of a CLIP model among the names of a file. Those that are no weights of it (a temperature, counts of
/// positions) are left out; names that are not known stay as they are.
pub(crate) fn from_names<'a>(
    names: impl Iterator<Item = (&'a str, &'a [usize])>,
) -> (Naming, Origins) {
    let names: Vec<(&str, &[usize])> = names.collect();
    let open = names.iter().any(|(name, _)| *name == "visual.conv1.weight");
    let naming = if open {
        Naming::OpenClip
    } else {
        Naming::Transformers
    };
    let mut origins = Origins::new();
    for (name, shape) in names {
        if is_no_weight(name) {
            continue;
        }
        let mut put = |ours: String, how: How, shape: Vec<usize>| {
            let name = name.to_string();
            origins.insert(ours, (Origin { name, how }, shape));
        };
        match naming {
            Naming::Transformers => put(name.to_string(), How::Whole, shape.to_vec()),
            Naming::OpenClip => of_open_clip(name, shape, &mut put),
        }
    }
    (naming, origins)
}

/// The same of the half that reads, among names without what stands before all of them in the file: each is given as the rest of it
/// and as a whole.
pub(super) fn of_text_tower<'a>(
    names: impl Iterator<Item = (&'a str, &'a str, &'a [usize])>,
) -> (Naming, Origins) {
    let names: Vec<_> = names.collect();
    let open = names.iter().any(|(rest, ..)| *rest == OPENCLIP);
    let mut origins = Origins::new();
    for (rest, name, shape) in names {
        let mut put = |ours: String, how: How, shape: Vec<usize>| {
            let name = name.to_string();
            origins.insert(ours, (Origin { name, how }, shape));
        };
        let ours = match rest.starts_with("text_model.") || rest == PROJECTION {
            true => rest.to_string(),
            false => format!("text_model.{rest}"),
        };
        let bare = ["embeddings.", "encoder.layers.", "final_layer_norm."];
        let inside = ours == rest || bare.iter().any(|start| rest.starts_with(start));
        match open {
            _ if is_no_weight(rest) => {}
            true if rest.starts_with("visual.") => {}
            true => of_open_clip(rest, shape, &mut put),
            false if inside => put(ours, How::Whole, shape.to_vec()),
            false => {}
        }
    }
    let naming = if open {
        Naming::OpenClip
    } else {
        Naming::Transformers
    };
    (naming, origins)
}

fn is_no_weight(name: &str) -> bool {
    let ends = ["position_ids", "logit_scale", "logit_bias", "attn_mask"];
    // OpenAI's own archives hold these sizes beside the weights.
    let sizes = ["input_resolution", "context_length", "vocab_size"];
    ends.iter().any(|end| name.ends_with(end)) || sizes.contains(&name)
}

fn of_open_clip(name: &str, shape: &[usize], put: &mut dyn FnMut(String, How, Vec<usize>)) {
    let whole = |put: &mut dyn FnMut(String, How, Vec<usize>), ours: &str| {
        put(ours.to_string(), How::Whole, shape.to_vec());
    };
    if let Some((_, ours)) = FIXED.iter().find(|(theirs, _)| *theirs == name) {
        return whole(put, ours);
    }
    if let Some((_, ours)) = PROJECTIONS.iter().find(|(theirs, _)| *theirs == name) {
        let turned = shape.iter().rev().copied().collect();
        return put(ours.to_string(), How::Turned, turned);
    }
    let (half, rest) = match name.strip_prefix("visual.") {
        Some(rest) => ("vision_model", rest),
        None => ("text_model", name),
    };
    let block = rest.strip_prefix(BLOCKS);
    let Some((layer, part)) = block.and_then(|block| block.split_once('.')) else {
        return whole(put, name);
    };
    let start = format!("{half}.encoder.layers.{layer}");
    if let Some(kind) = part.strip_prefix("attn.in_proj_") {
        for (i, letter) in LETTERS.into_iter().enumerate() {
            let mut third = shape.to_vec();
            if let Some(rows) = third.first_mut() {
                *rows /= 3;
            }
            put(
                format!("{start}.self_attn.{letter}_proj.{kind}"),
                How::Third(i),
                third,
            );
        }
        return;
    }
    let renamed = part.rsplit_once('.').and_then(|(module, kind)| {
        let (_, ours) = PARTS.iter().find(|(theirs, _)| *theirs == module)?;
        Some(format!("{start}.{ours}.{kind}"))
    });
    whole(put, &renamed.unwrap_or_else(|| name.to_string()));
}

/// OpenCLIP's name of a tensor of the half that reads, and how transformers' is taken of it; `None` for names that it has not.
pub(super) fn to_open_clip(ours: &str) -> Option<(String, How)> {
    let find = |all: &[(&str, &str)], ours: &str| {
        let found = all.iter().find(|(_, name)| *name == ours);
        found.map(|(theirs, _)| (*theirs).to_string())
    };
    if let Some(theirs) = find(&FIXED, ours) {
        return Some((theirs, How::Whole));
    }
    if let Some(theirs) = find(&PROJECTIONS, ours) {
        return Some((theirs, How::Turned));
    }
    let (layer, part) = ours.strip_prefix(LAYERS)?.split_once('.')?;
    let (module, kind) = part.rsplit_once('.')?;
    let third = LETTERS.iter().position(|letter| {
        let rest = module.strip_prefix("self_attn.");
        rest.and_then(|rest| rest.strip_suffix("_proj")) == Some(letter)
    });
    if let Some(third) = third {
        let theirs = format!("{BLOCKS}{layer}.attn.in_proj_{kind}");
        return Some((theirs, How::Third(third)));
    }
    let theirs = find(&PARTS, module)?;
    Some((format!("{BLOCKS}{layer}.{theirs}.{kind}"), How::Whole))
}

impl How {
    /// Whether it is the first that is taken of a tensor of the file.
    pub(super) fn is_first(self) -> bool {
        matches!(self, Self::Whole | Self::Turned | Self::Third(0))
    }

    /// The numbers of a tensor of the file as ours; `dims` are those of ours.
    pub fn apply(self, values: Vec<f32>, dims: &[usize]) -> Vec<f32> {
        match self {
            Self::Whole => values,
            Self::Third(which) => {
                let len = values.len() / 3;
                values[which * len..(which + 1) * len].to_vec()
            }
            Self::Turned => {
                let &[rows, columns] = dims else {
                    return values;
                };
                let at = |i: usize| values[i % columns * rows + i / columns];
                (0..values.len()).map(at).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_open_clip_become_those_of_transformers() {
        let names: [(&str, &[usize]); 5] = [
            ("visual.conv1.weight", &[8, 3, 4, 4]),
            ("visual.proj", &[8, 5]),
            ("visual.transformer.resblocks.3.attn.in_proj_bias", &[24]),
            ("transformer.resblocks.0.mlp.c_proj.weight", &[6, 24]),
            ("logit_scale", &[]),
        ];
        let (naming, origins) = from_names(names.into_iter());
        assert_eq!((naming, origins.len()), (Naming::OpenClip, 6));
        let (origin, shape) = &origins["visual_projection.weight"];
        assert_eq!((origin.how, shape.as_slice()), (How::Turned, &[5, 8][..]));
        // And back, in the half that reads.
        for name in [
            "token_embedding.weight",
            "text_projection",
            "transformer.resblocks.11.attn.in_proj_weight",
            "transformer.resblocks.0.attn.out_proj.bias",
            "transformer.resblocks.0.mlp.c_proj.weight",
            "transformer.resblocks.2.ln_2.bias",
            "ln_final.weight",
        ] {
            let mut put = |ours: String, how: How, _: Vec<usize>| {
                assert_eq!(to_open_clip(&ours), Some((name.to_string(), how)));
            };
            of_open_clip(name, &[6, 6], &mut put);
        }
        assert_eq!(
            to_open_clip("text_model.encoder.layers.0.other.weight"),
            None
        );
        let (origin, shape) = &origins["vision_model.encoder.layers.3.self_attn.v_proj.bias"];
        assert_eq!((origin.how, shape.as_slice()), (How::Third(2), &[8][..]));
        assert!(origins.contains_key("text_model.encoder.layers.0.mlp.fc2.weight"));
        let values = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        // Two rows of three become three rows of two.
        let turned = How::Turned.apply(values.clone(), &[3, 2]);
        assert_eq!(turned, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(How::Third(1).apply(values, &[1, 2]), [3.0, 4.0]);
    }
}
