//! ONNX files beside what we say that they answer, compared by onnxruntime.

use burn::tensor::{Device, Tensor, TensorData};
use fewstep::export::Onnx;
use fewstep::model::{Answer, Card, File, Kind, Model, Sampling};
use fewstep::network::{NetworkConfig, load, parameters};
use fewstep::noise::{Domain, Stream};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A folder of cases.
pub struct Cases(TempDir);

impl Cases {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a graph of the model, with what goes in and what is to come out.
    pub fn add(
        &self,
        name: &str,
        how: Onnx,
        model: &Model,
        (inputs, output): (Vec<(&str, TensorData)>, (&str, TensorData)),
    ) -> Vec<PathBuf> {
        let inputs = inputs
            .into_iter()
            .map(|(name, data)| (format!("in/{name}"), data));
        let output = (format!("out/{}", output.0), output.1);
        let case = File {
            tensors: inputs.chain([output]).collect(),
            ..File::default()
        };
        case.write(&self.path(&format!("{name}.safetensors")))
            .unwrap();
        let path = self.path(&format!("{name}.onnx"));
        how.write(model, &path).unwrap()
    }

    /// Runs all of them; says so and passes where onnx or onnxruntime is missing. `FEWSTEP_PYTHON` names another Python.
    pub fn compare(&self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/run_onnx.py");
        let python = std::env::var("FEWSTEP_PYTHON").unwrap_or_else(|_| "python3".into());
        let run = Command::new(python).arg(script).arg(self.0.path()).output();
        let Ok(output) = run else {
            return eprintln!("skipped: there is no Python");
        };
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        println!("{said}{errors}");
        assert!(
            matches!(output.status.code(), Some(0 | 77)),
            "{said}{errors}"
        );
    }
}

/// A network with no weight at zero, so that every path counts.
pub fn model(network: &NetworkConfig, answer: impl Into<Answer>, sampling: Sampling) -> Model {
    let device = Device::flex();
    let fresh = network.init(3, &device).unwrap();
    let stirred = parameters(&fresh).into_iter().enumerate().map(|(i, p)| {
        let noise = Stream::new(5, Domain::Test, i as u64).normals(p.shape.iter().product());
        let values = p.data.iter::<f32>().zip(noise);
        let values: Vec<f32> = values.map(|(value, noise)| value + 0.05 * noise).collect();
        (p.name, TensorData::new(values, p.shape))
    });
    let stirred: BTreeMap<String, TensorData> = stirred.collect();
    let weights = load(fresh, &stirred, &|_| false, Path::new("stirred")).unwrap();
    Model::new(card(network, answer, sampling), weights)
}

/// A card that says no more than it must.
pub fn card(network: &NetworkConfig, answer: impl Into<Answer>, sampling: Sampling) -> Card {
    Card {
        format: 1,
        kind: Kind::Teacher,
        network: network.clone(),
        answer: answer.into(),
        sampling,
        recipe: serde_json::Value::Null,
        trained_on: 0,
        class_names: Vec::new(),
        adapter: None,
        parent: None,
        version: "test".into(),
    }
}

/// Normal numbers.
pub fn random<const D: usize>(shape: [usize; D], index: u64) -> Tensor<D> {
    let values = Stream::new(0, Domain::Test, index).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}
