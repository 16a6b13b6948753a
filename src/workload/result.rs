//! What a workload starts from and comes to, as a file.

use super::{Gradient, SIGMA, Workload};
use crate::Error;
use crate::model::{File, recipe_json};
use crate::network::parameters;
use burn::tensor::TensorData;
use std::collections::BTreeMap;

impl Workload {
    /// What each piece of work starts from and comes to, for a comparison with another implementation. The file's JSON
    /// holds `sigma` and the round's `recipe`; its tensors are, row-major,
    ///
    /// * `forward/noisy`, `forward/denoised`, and `labels` `[batch, classes]` or `context` if the network takes them;
    /// * `gradient/direction`, and `gradient/NAME` of each parameter;
    /// * `round/teacher.I` and `round/student.I`, the images after I of the student's steps (0: the noise), and
    ///   `round/distances`, all of the first round; `after/NAME`, the parameters after it.
    ///
    /// # Errors
    /// As [`round`](Self::round).
    pub fn results(&self) -> Result<File, Error> {
        let File { mut tensors, .. } = self.forward_results()?;
        let mut put = |name: &str, data: TensorData| tensors.insert(name.to_string(), data);
        put("gradient/direction", self.direction.to_data());
        for Gradient {
            name,
            shape,
            values,
        } in self.gradient()
        {
            let data = TensorData::from_bytes_vec(
                values.to_data().as_bytes().to_vec(),
                shape,
                values.dtype(),
            );
            put(&format!("gradient/{name}"), data);
        }
        let source = self.source()?;
        let mut distiller = self.distiller_at_start()?;
        let (target, condition) = source.round(0)?;
        for (i, images) in target.states.iter().enumerate() {
            put(&format!("round/teacher.{i}"), images.to_data());
        }
        let mut steps = Vec::new();
        let round = distiller.round_with(&target, &condition, &mut |report| {
            steps.push((report.images)().into_data());
        })?;
        for (i, images) in steps.into_iter().enumerate() {
            put(&format!("round/student.{}", i + 1), images);
        }
        let count = round.distances.len();
        put("round/distances", TensorData::new(round.distances, [count]));
        for parameter in parameters(&distiller.model()?.network) {
            put(&format!("after/{}", parameter.name), parameter.data);
        }
        self.file(tensors)
    }

    /// Of [`results`](Self::results) what [`forward`](Self::forward) starts from and comes to: `forward/...`, and `labels`
    /// or `context` `[batch, tokens, width]` where the network takes them.
    ///
    /// # Errors
    /// None for a workload that could be prepared.
    pub fn forward_results(&self) -> Result<File, Error> {
        let mut tensors = BTreeMap::new();
        let mut put = |name: &str, data: TensorData| tensors.insert(name.to_string(), data);
        put("forward/noisy", self.noisy.to_data());
        put("forward/denoised", self.forward().into_data());
        if let Some(labels) = &self.condition.labels {
            put("labels", labels.to_data());
        }
        if let Some(context) = &self.condition.context {
            put("context", context.to_data());
        }
        self.file(tensors)
    }

    fn file(&self, tensors: BTreeMap<String, TensorData>) -> Result<File, Error> {
        let json = serde_json::json!({ "sigma": SIGMA, "recipe": recipe_json(&self.recipe)? });
        Ok(File {
            tensors,
            json: Some(json.to_string()),
            ..File::default()
        })
    }
}
