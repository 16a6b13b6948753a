//! Files of adapters in the layouts of others.

use super::factor::{Factor, Factors};
use super::layer::{Known, Layer, inside};
use crate::Error;
use crate::container::Scalar;
use crate::file::{CARD, write_atomically};
use crate::model::Card;
use crate::network::NetworkConfig;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// A layout of adapter files that others read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdapterLayout {
    /// `pytorch_lora_weights.safetensors` of diffusers. It has no place for alpha that every version reads, so that B is
    /// multiplied by alpha / rank.
    Diffusers,
    /// That of kohya's scripts, which ComfyUI, AUTOMATIC1111 and others read.
    Kohya,
}

/// A tensor that is about to be written.
type Named = (String, Vec<usize>, Vec<f32>);

impl Factors {
    /// Writes the adapters of a network; `card` is that of the student that they are, and travels in the header.
    ///
    /// # Errors
    /// [`Error::Incompatible`] for a network that the layout has no names for, [`Error::InvalidValue`] for a type other than
    /// f32, f16 and bf16, or one that cannot hold the numbers; [`Error::File`].
    pub fn write(
        &self,
        layout: AdapterLayout,
        network: &NetworkConfig,
        card: Option<&Card>,
        scalar: Scalar,
        path: &Path,
    ) -> Result<(), Error> {
        if network.has_step_branch() {
            return Err(Error::Incompatible {
                first: "adapters in the layout of diffusers or kohya".into(),
                second: "a student with a step branch, of which others know nothing".into(),
                remedy: "distil with one number of steps, or write a whole model (--merge) and fold it (--nfe)".into(),
            });
        }
        let known = Known::of(network);
        // U-Nets with a second embedding are known by their official names there.
        let official = known.named("label_emb_0_0").is_some();
        let mut tensors = Vec::with_capacity(3 * self.len());
        for (name, factor) in self.iter() {
            let layer = known.official(name);
            let theirs = layer.and_then(|layer| Some((layer, layer.diffusers.as_deref()?)));
            let Some((layer, theirs)) = theirs else {
                return Err(unnamed());
            };
            match layout {
                AdapterLayout::Diffusers => diffusers(theirs, layer, factor, &mut tensors),
                AdapterLayout::Kohya => {
                    let theirs = if official { inside(name) } else { theirs };
                    kohya(theirs, layer, factor, &mut tensors);
                }
            }
        }
        let mut header = HashMap::new();
        if let Some(card) = card {
            header.insert(CARD.to_string(), card.json()?);
        }
        match layout {
            AdapterLayout::Diffusers => {
                header.insert("format".into(), "pt".into());
            }
            AdapterLayout::Kohya => {
                let (_, rank) = self.ranks().unwrap_or_default();
                header.insert("ss_network_module".into(), "networks.lora".into());
                header.insert("ss_network_dim".into(), rank.to_string());
                header.insert("ss_network_alpha".into(), "Dynamic".into());
            }
        }
        let (kind, dtype) = match scalar {
            Scalar::F32 => (scalar, Dtype::F32),
            Scalar::F16 => (scalar, Dtype::F16),
            Scalar::BF16 => (scalar, Dtype::BF16),
            other => return Err(Error::invalid("dtype", other, "f32, f16 or bf16")),
        };
        let mut bytes = BTreeMap::new();
        for (name, shape, values) in tensors {
            let stored = kind.of_f32(&values).ok_or_else(|| {
                Error::invalid(
                    &name,
                    kind,
                    "a type that holds its numbers; use f32 or bf16",
                )
            })?;
            bytes.insert(name, (shape, stored));
        }
        let views = bytes.iter().map(|(name, (shape, bytes))| {
            let view = TensorView::new(dtype, shape.clone(), bytes);
            let view = view.map_err(|e| Error::invalid(name, e, "a contiguous tensor"))?;
            Ok((name.as_str(), view))
        });
        let views = views.collect::<Result<Vec<_>, Error>>()?;
        let file = safetensors::serialize(views, Some(header))
            .map_err(|e| Error::invalid("tensors", e, "serialisable tensors"))?;
        write_atomically(path, &file)
    }
}

fn unnamed() -> Error {
    Error::Incompatible {
        first: "adapters in the layout of diffusers or kohya".into(),
        second: "a network that is not Stable Diffusion's".into(),
        remedy: "write a whole model instead (--merge)".into(),
    }
}

/// Dimensions of A and B beside a layer of these.
fn shapes(layer: &[usize], rank: usize) -> (Vec<usize>, Vec<usize>) {
    let (mut down, mut up) = (layer.to_vec(), vec![1; layer.len()]);
    down[0] = rank;
    (up[0], up[1]) = (layer[0], rank);
    (down, up)
}

fn diffusers(name: &str, layer: &Layer, factor: &Factor, tensors: &mut Vec<Named>) {
    let (down, up) = shapes(&layer.own.shape, factor.rank);
    let scaled = factor
        .up
        .iter()
        .map(|b| (f64::from(*b) * factor.scale) as f32);
    tensors.push((
        format!("unet.{name}.lora_A.weight"),
        down,
        factor.down.clone(),
    ));
    tensors.push((format!("unet.{name}.lora_B.weight"), up, scaled.collect()));
}

fn kohya(name: &str, layer: &Layer, factor: &Factor, tensors: &mut Vec<Named>) {
    let (down, up) = shapes(&layer.own.shape, factor.rank);
    let name = format!("lora_unet_{}", name.replace('.', "_"));
    let alpha = (factor.scale * factor.rank as f64) as f32;
    tensors.push((
        format!("{name}.lora_down.weight"),
        down,
        factor.down.clone(),
    ));
    tensors.push((format!("{name}.lora_up.weight"), up, factor.up.clone()));
    tensors.push((format!("{name}.alpha"), Vec::new(), vec![alpha]));
}
