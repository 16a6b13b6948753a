//! Sizes of a CLIP model.

use crate::Error;
use crate::text::{Activation, TextEncoderConfig};
use std::collections::BTreeMap;

/// Sizes of the half that sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VisionConfig {
    /// Height and width of the pictures, a multiple of `patch`, 1 to 4096.
    pub size: usize,
    /// Height and width of the squares that become tokens, at least 1.
    pub patch: usize,
    /// Numbers for each token, 1 to 2^14.
    pub width: usize,
    /// Width of the layer between two matrices of a block, 1 to 2^16.
    pub inner_width: usize,
    /// Blocks, 1 to 128.
    pub layers: usize,
    /// Heads of attention, which must divide `width`.
    pub heads: usize,
    /// The function inside its blocks.
    pub activation: Activation,
}

/// Sizes of both halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClipConfig {
    /// The half that reads.
    pub text: TextEncoderConfig,
    /// The function inside its blocks.
    pub text_activation: Activation,
    /// The half that sees.
    pub vision: VisionConfig,
    /// Numbers of an embedding, 1 to 2^14.
    pub embedding: usize,
}

/// What the tensors do not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub text_heads: Option<usize>,
    pub vision_heads: Option<usize>,
    pub text_activation: Option<Activation>,
    pub vision_activation: Option<Activation>,
}

/// More layers than any model may have; the check of the sizes says so.
const MOST: usize = 200;

impl ClipConfig {
    /// The sizes that tensors under the names of transformers tell, and what else is told.
    pub(crate) fn infer(
        shapes: &BTreeMap<String, Vec<usize>>,
        told: &Told,
        usual: Activation,
    ) -> Option<Self> {
        let size = |name: &str, dimension: usize| shapes.get(name)?.get(dimension).copied();
        let layers = |half: &str| {
            let there = |layer: &usize| {
                shapes.contains_key(&format!("{half}.encoder.layers.{layer}.layer_norm1.weight"))
            };
            (0..MOST).take_while(there).count()
        };
        let inner = |half: &str| size(&format!("{half}.encoder.layers.0.mlp.fc1.weight"), 0);
        let width = size("text_model.embeddings.token_embedding.weight", 1)?;
        let text = TextEncoderConfig {
            vocabulary: size("text_model.embeddings.token_embedding.weight", 0)?,
            width,
            inner_width: inner("text_model")?,
            layers: layers("text_model"),
            heads: told.text_heads.unwrap_or(heads(width)),
            positions: size("text_model.embeddings.position_embedding.weight", 0)?,
        };
        let patches = "vision_model.embeddings.patch_embedding.weight";
        let (width, patch) = (size(patches, 0)?, size(patches, 2)?);
        let tokens = size("vision_model.embeddings.position_embedding.weight", 0)?;
        let vision = VisionConfig {
            size: tokens.checked_sub(1)?.isqrt().checked_mul(patch)?,
            patch,
            width,
            inner_width: inner("vision_model")?,
            layers: layers("vision_model"),
            heads: told.vision_heads.unwrap_or(heads(width)),
            activation: told.vision_activation.unwrap_or(usual),
        };
        Some(Self {
            text,
            text_activation: told.text_activation.unwrap_or(usual),
            vision,
            embedding: size("text_projection.weight", 0)?,
        })
    }

    /// What the model is called, where its sizes are those of a published one: `ViT-L/14`.
    pub fn name(&self) -> String {
        let VisionConfig {
            size, patch, width, ..
        } = self.vision;
        let letter = match width {
            768 => "B",
            1024 => "L",
            1280 => "H",
            1408 => "g",
            1664 => "bigG",
            _ => return format!("a CLIP model of width {width}, patches of {patch}"),
        };
        match size {
            224 => format!("ViT-{letter}/{patch}"),
            _ => format!("ViT-{letter}/{patch} at {size} pixels"),
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the size.
    pub fn check(&self) -> Result<(), Error> {
        self.text.check()?;
        let v = &self.vision;
        for (name, value, most) in [
            ("vision.size", v.size, 4096),
            ("vision.patch", v.patch, 4096),
            ("vision.width", v.width, 1 << 14),
            ("vision.inner-width", v.inner_width, 1 << 16),
            ("vision.layers", v.layers, 128),
            ("embedding", self.embedding, 1 << 14),
        ] {
            if !(1..=most).contains(&value) {
                return Err(Error::invalid(name, value, format!("in 1..={most}")));
            }
        }
        if !v.size.is_multiple_of(v.patch) {
            let expected = format!("a multiple of the patches, {}", v.patch);
            return Err(Error::invalid("vision.size", v.size, expected));
        }
        if v.heads == 0 || !v.width.is_multiple_of(v.heads) {
            let expected = format!("a divisor of the width, {}", v.width);
            return Err(Error::invalid("vision.heads", v.heads, expected));
        }
        Ok(())
    }
}

/// Heads of the published models of a width: 64 numbers each, but for the largest.
fn heads(width: usize) -> usize {
    match width {
        // ViT-H/14, ViT-g/14 and ViT-bigG/14 of OpenCLIP see with 16 heads of 80, 88 and 104 numbers. No text half that is
        // published is as wide, but for bigG's, of 1280, which has 20 heads of 64: what is told comes first.
        1408 | 1664 => 16,
        width => width / 64,
    }
}
