//! Weights of the Inception network that are made up.

use fewstep::feature::inception::{formula, layers};
use fewstep::model::File;
use std::path::Path;

/// All tensors under the names of the published file.
pub fn weights(path: &Path) {
    let mut file = File::default();
    let mut put = |name: String, dims: Vec<usize>| {
        let data = burn::tensor::TensorData::new(formula(&name, &dims), dims);
        file.tensors.insert(name, data);
    };
    for layer in layers() {
        put(format!("{}.conv.weight", layer.name), layer.dims());
        for part in ["weight", "bias", "running_mean", "running_var"] {
            put(format!("{}.bn.{part}", layer.name), vec![layer.output]);
        }
    }
    put("fc.weight".into(), vec![1008, 2048]);
    put("fc.bias".into(), vec![1008]);
    file.write(path).unwrap();
}
