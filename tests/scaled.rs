//! Weights of eight bits with a factor beside them, as ComfyUI writes them: read, in one file and in shards, and written with the
//! factor multiplied in.

#[path = "support/latent.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod latent;

use burn::tensor::Device;
use fewstep::import::{Checkpoint, Export, Layout, Scalar, open};
use fewstep::network::parameters;
use latent::teacher;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Map, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Type, dimensions and bytes of a tensor.
type Raw = (Dtype, Vec<usize>, Vec<u8>);
type Tensors = BTreeMap<String, Raw>;

fn write(path: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).unwrap();
        (name.clone(), view)
    });
    let bytes = safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap();
    fs::write(path, bytes).unwrap();
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// How a file says what its factors are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Style {
    /// `scaled_fp8`, `P.scale_weight`, `P.scale_input`.
    Old,
    /// `P.comfy_quant`, `P.weight_scale`, `P.input_scale`.
    New,
    /// As the new one, with a factor for each row.
    Rows,
}

/// A network whose matrices are stored so, and what its weights are.
fn scaled(style: Style) -> (Tensors, BTreeMap<String, Vec<f32>>) {
    let prefix = "model.diffusion_model.";
    let (mut tensors, mut wanted) = (Tensors::new(), BTreeMap::new());
    for (i, weight) in parameters(&teacher(true).network).into_iter().enumerate() {
        let plain: Vec<f32> = weight.data.iter::<f32>().collect();
        let name = weight.name.clone();
        let matrix = weight.shape.len() == 2 && name.ends_with(".weight");
        if !matrix {
            let raw = (Dtype::F32, weight.shape.clone(), floats(&plain));
            tensors.insert(name.clone(), raw);
            wanted.insert(name, plain);
            continue;
        }
        // Numbers of both signs, none of them infinite; factors that are no powers of two.
        let bytes: Vec<u8> = (0..plain.len())
            .map(|n| (n * 37 % 48 + n % 2 * 128) as u8)
            .collect();
        let layer = name.strip_suffix("weight").unwrap();
        let rows = if style == Style::Rows {
            weight.shape[0]
        } else {
            1
        };
        let factors: Vec<f32> = (0..rows)
            .map(|row| 0.013 + 0.001 * (row + i) as f32)
            .collect();
        let stored = Scalar::F8E4M3.to_f32(&bytes).unwrap();
        let each = stored.len() / rows;
        let whole = stored
            .iter()
            .enumerate()
            .map(|(n, v)| v * factors[n / each]);
        wanted.insert(name.clone(), whole.collect());
        let shape = match style {
            Style::Old => vec![],
            Style::New => vec![1],
            Style::Rows => vec![rows, 1],
        };
        let [own, input] = match style {
            Style::Old => ["scale_weight", "scale_input"],
            _ => ["weight_scale", "input_scale"],
        };
        tensors.insert(
            format!("{layer}{own}"),
            (Dtype::F32, shape, floats(&factors)),
        );
        let one = (Dtype::F32, vec![], floats(&[0.5]));
        tensors.insert(format!("{layer}{input}"), one);
        if style != Style::Old {
            let mark = br#"{"format": "float8_e4m3fn"}"#.to_vec();
            tensors.insert(
                format!("{layer}comfy_quant"),
                (Dtype::U8, vec![mark.len()], mark),
            );
        }
        tensors.insert(name, (Dtype::F8_E4M3, weight.shape, bytes));
    }
    if style == Style::Old {
        let mark = (Dtype::F8_E4M3, vec![2], vec![0, 0]);
        tensors.insert(format!("{prefix}scaled_fp8"), mark);
    }
    let matrices = tensors
        .values()
        .filter(|(dtype, shape, _)| *dtype == Dtype::F8_E4M3 && shape.len() == 2);
    assert!(matrices.count() > 10);
    (tensors, wanted)
}

fn check(path: &Path, wanted: &BTreeMap<String, Vec<f32>>) {
    let (model, _) = open(path, &Device::flex()).unwrap();
    let loaded = parameters(&model.network);
    assert_eq!(loaded.len(), wanted.len());
    for weight in loaded {
        let values: Vec<f32> = weight.data.iter::<f32>().collect();
        assert_eq!(values, wanted[&weight.name], "{}", weight.name);
    }
}

#[test]
fn weights_are_what_is_stored_times_their_factor() {
    let folder = tempfile::tempdir().unwrap();
    for style in [Style::Old, Style::New, Style::Rows] {
        let (tensors, wanted) = scaled(style);
        let path = folder.path().join(format!("{style:?}.safetensors"));
        write(&path, &tensors);
        check(&path, &wanted);
        let file = Checkpoint::read(&path).unwrap();
        let card = file.card().unwrap();
        assert!(file.scaled() > 10 && file.tensors().keys().eq(wanted.keys()));
        // Written, the factor is in the number: in f32 unless a type is asked for.
        for layout in [Layout::Model, Layout::Tensors] {
            let out = folder.path().join("out.safetensors");
            let scalar = None;
            let export = Export { layout, scalar };
            export.write(&file, Some(&card), &out).unwrap();
            let written = Checkpoint::read(&out).unwrap();
            assert_eq!(written.scaled(), 0);
            for (name, values) in &wanted {
                assert_eq!(written.tensors()[name].scalar, Scalar::F32, "{name}");
                assert_eq!(written.values(name).unwrap(), *values, "{name}");
            }
        }
    }
}

#[test]
fn a_factor_may_lie_in_another_shard() {
    let folder = tempfile::tempdir().unwrap();
    let (tensors, wanted) = scaled(Style::Old);
    let mut parts = [Tensors::new(), Tensors::new()];
    let mut map = Map::new();
    for (name, tensor) in tensors {
        let second = usize::from(name.ends_with("scale_weight"));
        map.insert(
            name.clone(),
            format!("x-0000{}-of-00002.safetensors", second + 1).into(),
        );
        parts[second].insert(name, tensor);
    }
    for (i, part) in parts.iter().enumerate() {
        let name = format!("x-0000{}-of-00002.safetensors", i + 1);
        write(&folder.path().join(name), part);
    }
    let index = folder.path().join("x.safetensors.index.json");
    fs::write(&index, json!({ "weight_map": map }).to_string()).unwrap();
    check(&index, &wanted);
}

#[test]
fn what_is_quantised_otherwise_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let said = |tensors: &Tensors| {
        write(&path, tensors);
        let said = open(&path, &Device::flex()).unwrap_err().to_string();
        assert!(
            said.contains("x.safetensors") && !said.contains('\n'),
            "{said}"
        );
        said
    };
    let layer = "model.diffusion_model.time_embed.0.";
    let change = |style, end: &str, raw: Raw| {
        let mut tensors = scaled(style).0;
        let before = tensors.insert(format!("{layer}{end}"), raw);
        assert!(before.is_some(), "{end}");
        tensors
    };
    let mark = br#"{"format": "nvfp4"}"#.to_vec();
    let other = change(
        Style::New,
        "comfy_quant",
        (Dtype::U8, vec![mark.len()], mark),
    );
    let text = said(&other);
    assert!(
        text.contains("quantised") && text.contains("nvfp4"),
        "{text}"
    );
    let shape = scaled(Style::New).0[&format!("{layer}weight")].1.clone();
    let count = shape.iter().product();
    let whole = change(Style::New, "weight", (Dtype::I8, shape, vec![1; count]));
    let text = said(&whole);
    assert!(text.contains("is i8") && text.contains("16 bits"), "{text}");
    for (shape, factors) in [(vec![3], vec![1.0; 3]), (vec![0], vec![])] {
        let odd = change(
            Style::Old,
            "scale_weight",
            (Dtype::F32, shape, floats(&factors)),
        );
        assert!(said(&odd).contains("one number, or one for each row"));
    }
    let broken = change(
        Style::Old,
        "scale_weight",
        (Dtype::F32, vec![], floats(&[f32::NAN])),
    );
    assert!(said(&broken).contains("no finite numbers"));
    // A factor whose weight is not there is a tensor as any other.
    let mut alone = scaled(Style::Old).0;
    alone.remove("model.diffusion_model.time_embed.2.weight");
    let text = said(&alone);
    assert!(
        text.contains("time_embed.2.weight") && text.contains("time_embed.2.scale_weight"),
        "{text}"
    );
}
