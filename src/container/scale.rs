//! Weights with a factor beside them, as ComfyUI and others write weights of eight bits: the weight is what is stored times the
//! factor, so that small numbers use the few that eight bits have.
//!
//! `P.weight` is multiplied by `P.scale_weight` or `P.weight_scale`: one number, or one for each row. What else belongs to them is
//! left out: factors of the layer's input (`P.scale_input`, `P.input_scale`), which are for products in eight bits, and marks that
//! say which layers are stored so (`scaled_fp8`, `P.comfy_quant`).

use super::checkpoint::Checkpoint;
use super::tensor::TensorInfo;
use crate::Error;
use serde_json::Value;

/// Ends of the names of factors.
const FACTORS: [&str; 2] = [".scale_weight", ".weight_scale"];
/// Ends of the names of what says nothing of the weights.
const INPUTS: [&str; 2] = [".scale_input", ".input_scale"];
/// The mark of a whole file or part of a model.
const MARK: &str = "scaled_fp8";
/// The mark of a layer, JSON as bytes.
const LAYER: &str = ".comfy_quant";
/// Formats of a layer's mark whose numbers are read here.
const FORMATS: [&str; 2] = ["float8_e4m3fn", "float8_e5m2"];

impl Checkpoint {
    /// The same file, in which factors are a part of their weights. What cannot be read so is left as it is, and said when the
    /// weights are wanted: the file may be of a model that is none of ours in any case.
    pub(super) fn with_scales(mut self) -> Result<Self, Error> {
        if let Some(reason) = self.unreadable()? {
            self.quantised = Some(reason);
            return Ok(self);
        }
        let names: Vec<String> = self.tensors.keys().cloned().collect();
        let marked = names
            .iter()
            .any(|name| is_mark(name) || name.ends_with(LAYER));
        for name in names {
            let weight = |end: &&str| {
                let weight = format!("{}.weight", name.strip_suffix(*end)?);
                self.tensors.contains_key(&weight).then_some(weight)
            };
            if let Some(weight) = FACTORS.iter().find_map(weight) {
                if let Some(info) = self.tensors.remove(&name) {
                    self.scales.insert(weight, (name, info));
                }
            } else if is_mark(&name)
                || name.ends_with(LAYER)
                || marked && INPUTS.iter().any(|end| name.ends_with(end))
            {
                self.tensors.remove(&name);
            }
        }
        Ok(self)
    }

    /// Why factors or marks of layers are not such as can be read here, if they are not.
    fn unreadable(&self) -> Result<Option<String>, Error> {
        for (name, info) in &self.tensors {
            let factor = FACTORS.iter().find_map(|end| name.strip_suffix(end));
            let layer = name.strip_suffix(LAYER);
            let reason = match (factor, layer) {
                (Some(layer), _) => self.factor_fault(layer, name, info),
                (_, Some(layer)) => self.format_fault(layer, name)?,
                _ => None,
            };
            if reason.is_some() {
                return Ok(reason);
            }
        }
        Ok(None)
    }

    /// Why the weights are not to be had, if they are quantised in a way that is not read.
    ///
    /// # Errors
    /// [`Error::Malformed`] saying so.
    pub(crate) fn check_quantised(&self) -> Result<(), Error> {
        match &self.quantised {
            Some(reason) => Err(self.source.broken("checkpoint", reason)),
            None => Ok(()),
        }
    }

    /// Whether a tensor's numbers are what is stored times a factor.
    pub(crate) fn is_scaled(&self, name: &str) -> bool {
        self.scales.contains_key(name)
    }

    /// How many tensors are stored with a factor.
    pub fn scaled(&self) -> usize {
        self.scales.len()
    }

    /// The bytes of a tensor's factors; none where there are none.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn factor_bytes(&self, name: &str) -> Result<Vec<u8>, Error> {
        match self.scales.get(name) {
            None => Ok(Vec::new()),
            Some((factor, info)) => info.read(self.holder(factor)),
        }
    }

    /// Numbers as stored times their factor, if there is one.
    pub(super) fn scaled_values(
        &self,
        name: &str,
        mut values: Vec<f32>,
    ) -> Result<Vec<f32>, Error> {
        self.check_quantised()?;
        let Some((factor, info)) = self.scales.get(name) else {
            return Ok(values);
        };
        let factors = info.scalar.to_f32(&self.factor_bytes(name)?);
        let factors = factors.filter(|all| all.iter().all(|f| f.is_finite()));
        let factors = factors.filter(|all| !all.is_empty()).ok_or_else(|| {
            let reason = format!("{factor} holds factors that are no finite numbers");
            self.source.broken("checkpoint", reason)
        })?;
        // One for all, or one for each row.
        let each = values.len().div_ceil(factors.len()).max(1);
        for (row, factor) in values.chunks_mut(each).zip(factors) {
            row.iter_mut().for_each(|value| *value *= factor);
        }
        Ok(values)
    }

    /// What is wrong with factors that are neither one number nor one for each row.
    fn factor_fault(&self, layer: &str, name: &str, info: &TensorInfo) -> Option<String> {
        let weight = self.tensors.get(&format!("{layer}.weight"))?;
        let rows = weight.shape.first().copied().unwrap_or(1);
        let count = info.count();
        let fits = count == 1 || count == rows && info.shape.first() == Some(&rows);
        if !weight.scalar.is_float() {
            return Some(format!(
                "its weights are quantised ({layer}.weight is {}, with factors {name}); of weights of 8 bits those with an exponent \
                 are read (F8_E4M3, F8_E5M2); take such a file, or one of 16 bits",
                weight.scalar
            ));
        }
        (!fits || !info.scalar.is_float()).then(|| {
            format!(
                "{name} is {} of shape {:?}, and {layer}.weight has {rows} rows: factors are one number, or one for each row",
                info.scalar, info.shape
            )
        })
    }

    /// What is wrong with a layer whose numbers are of another kind.
    fn format_fault(&self, layer: &str, name: &str) -> Result<Option<String>, Error> {
        let said: Value = serde_json::from_slice(&self.bytes(name)?).unwrap_or_default();
        let format = said["format"].as_str().unwrap_or("nothing");
        let format: String = format.chars().take(40).collect();
        Ok((!FORMATS.contains(&format.as_str())).then(|| {
            format!(
                "its weights are quantised ({layer} as {format}); of those {} are read; take such a file, or one of 16 bits",
                FORMATS.join(" and ")
            )
        }))
    }
}

/// The mark of a whole file, or of a part of one.
fn is_mark(name: &str) -> bool {
    name.strip_suffix(MARK)
        .is_some_and(|before| before.is_empty() || before.ends_with('.'))
}
