//! Graphs into files, weights one after the other where they are many.

use super::calls::Calls;
use crate::Error;
use crate::container::Scalar;
use crate::file::{CARD, write_atomically, write_in_parts};
use crate::graph::schema::{
    DataLocation, DataType, GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto,
};
use crate::graph::{Constant, Graph, Numbers, OPSET};
use crate::model::Card;
use prost::Message;
use std::path::{Path, PathBuf};

/// The version of the format that goes with the operators.
const FORMAT: i64 = 8;

/// Under this key of the metadata is how to sample from the denoiser.
const CALLS: &str = "fewstep-calls";

/// Smaller constants stay in the file itself: among them are dimensions, which runtimes want to know at once.
const SMALL: usize = 1024;

/// Where a tensor starts in the file beside is a multiple of this, so that it can be mapped into memory.
const PAGE: usize = 4096;

/// From here on half precision rounds to infinity.
const F16_LIMIT: f32 = 65520.0;

/// Writes a graph; weights of more than `largest` bytes go into a file beside. Returns all that was written.
pub(super) fn write(
    graph: Graph,
    card: &Card,
    calls: &Calls,
    largest: usize,
    path: &Path,
) -> Result<Vec<PathBuf>, Error> {
    let size: usize = graph.constants.iter().map(Constant::len).sum();
    let beside = (size > largest).then(|| beside(path));
    let mut tensors = Vec::with_capacity(graph.constants.len());
    let mut external = Vec::new();
    let mut end = 0usize;
    for constant in &graph.constants {
        let tensor = TensorProto {
            dims: constant.shape.iter().map(|n| *n as i64).collect(),
            data_type: Some(constant.kind.into()),
            name: Some(constant.name.clone()),
            ..TensorProto::default()
        };
        tensors.push(match &beside {
            Some(file) if constant.len() >= SMALL => {
                let start = end.next_multiple_of(PAGE);
                end = start + constant.len();
                external.push((start, constant));
                TensorProto {
                    external_data: place(file, start, constant.len()),
                    data_location: Some(DataLocation::External.into()),
                    ..tensor
                }
            }
            _ => TensorProto {
                raw_data: Some(bytes(constant)?),
                ..tensor
            },
        });
    }
    let mut written = vec![path.to_path_buf()];
    if let Some(file) = beside {
        write_in_parts(&file, &mut |put| {
            let mut at = 0;
            for (start, constant) in &external {
                put(&vec![0; start - at])?;
                put(&bytes(constant)?)?;
                at = start + constant.len();
            }
            Ok(())
        })?;
        written.push(file);
    }
    let model = ModelProto {
        ir_version: Some(FORMAT),
        producer_name: Some("fewstep".into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        opset_import: vec![OperatorSetIdProto {
            domain: Some(String::new()),
            version: Some(OPSET),
        }],
        metadata_props: vec![text(CARD, card.json()?), text(CALLS, json(calls)?)],
        graph: Some(GraphProto {
            node: graph.nodes,
            name: Some("fewstep".into()),
            initializer: tensors,
            input: graph.inputs,
            output: graph.outputs,
        }),
        ..ModelProto::default()
    };
    write_atomically(path, &model.encode_to_vec())?;
    Ok(written)
}

/// The file with the weights of a large model.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".data");
    path.with_file_name(name)
}

fn json(calls: &Calls) -> Result<String, Error> {
    serde_json::to_string(calls).map_err(|e| Error::invalid("levels", e, "representable as JSON"))
}

fn text(key: &str, value: String) -> StringStringEntryProto {
    StringStringEntryProto {
        key: Some(key.into()),
        value: Some(value),
    }
}

fn place(file: &Path, start: usize, length: usize) -> Vec<StringStringEntryProto> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    vec![
        text("location", name.into_owned()),
        text("offset", start.to_string()),
        text("length", length.to_string()),
    ]
}

/// A constant as a file holds it.
fn bytes(constant: &Constant) -> Result<Vec<u8>, Error> {
    if let Numbers::Bytes(bytes) = &constant.numbers {
        return Ok(bytes.clone());
    }
    let values = constant.weight().unwrap_or_default();
    let scalar = match constant.kind {
        DataType::Float16 => Scalar::F16,
        _ => Scalar::F32,
    };
    if scalar == Scalar::F16
        && let Some(large) = values
            .iter()
            .find(|v| v.is_finite() && v.abs() >= F16_LIMIT)
    {
        let expected = "below 65520 for f16; write f32 instead";
        return Err(Error::invalid(constant.name.clone(), large, expected));
    }
    let bytes = scalar.of_f32(&values);
    bytes.ok_or_else(|| Error::invalid("dtype", scalar, "f32 or f16 for ONNX"))
}
