//! Reading a golden case: nothing in the file is trusted.

use crate::golden::measure::Problem;
use crate::model::File;
use crate::network::NetworkConfig;
use crate::{Error, Images};
use burn::tensor::{DType, Device, Tensor, TensorData};
use serde_json::Value;
use std::path::{Component, Path, PathBuf};

/// What one file says about itself, before its tensors are looked at.
#[derive(Debug)]
pub(crate) struct Case {
    /// Such as `schedule`, `network` or `weights`.
    pub(crate) kind: String,
    /// The file, for messages.
    path: PathBuf,
    description: Value,
    file: File,
}

/// Attention takes the fourth power of this.
pub(crate) const LARGEST: usize = 64;

/// A count above this is a broken file: the largest true one is a list of a thousand numbers.
const MANY: u64 = 1_000_000;

impl Case {
    /// Reads the description and, where `wanted(kind)`, the tensors.
    ///
    /// # Errors
    /// [`Error::File`], or [`Error::Malformed`] if it is not safetensors or has no description.
    pub(crate) fn read(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<Self, Error> {
        let malformed = |reason: String| Error::malformed(path, "golden case", reason);
        let metadata = File::read_metadata(path)?;
        let text = metadata
            .get("case")
            .ok_or_else(|| malformed("it has no metadata key `case`".into()))?;
        let description: Value = serde_json::from_str(text)
            .map_err(|e| malformed(format!("its description is not JSON: {e}")))?;
        let kind = description["kind"]
            .as_str()
            .ok_or_else(|| malformed("its description has no text `kind`".into()))?
            .to_string();
        // Other kinds may hold types of numbers that we have no use for.
        let file = if wanted(&kind) {
            File::read(path)?
        } else {
            File::default()
        };
        Ok(Self {
            kind,
            path: path.to_path_buf(),
            description,
            file,
        })
    }

    /// The settings of the case.
    pub(crate) fn config(&self) -> &Value {
        &self.description["config"]
    }

    /// A file that the case names, in the case's own folder.
    pub(crate) fn companion(&self, name: &str) -> Result<Self, Problem> {
        Ok(Self::read(&self.beside(name)?, |_| true)?)
    }

    /// The path of a file or folder in the case's own folder or one in it.
    pub(crate) fn below(&self, name: &str) -> Result<PathBuf, Problem> {
        let mut parts = Path::new(name).components();
        if name.is_empty() || !parts.all(|part| matches!(part, std::path::Component::Normal(_))) {
            return Err(self.malformed(format!("{name:?} is not the name of a file below it")));
        }
        Ok(self.path.with_file_name(name))
    }

    /// The path of a file in the case's own folder.
    pub(crate) fn beside(&self, name: &str) -> Result<PathBuf, Problem> {
        let plain = Path::new(name).file_name().is_some_and(|n| n == name);
        if !plain {
            return Err(self.malformed(format!("{name:?} is not the name of a file beside it")));
        }
        Ok(self.path.with_file_name(name))
    }

    /// The path of a file or folder near the case: of names only, and of steps up before them.
    pub(crate) fn near(&self, name: &str) -> Result<PathBuf, Problem> {
        let mut parts = Path::new(name).components().peekable();
        while parts.next_if_eq(&Component::ParentDir).is_some() {}
        let plain =
            parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)));
        if !plain {
            return Err(self.malformed(format!("{name:?} is not the name of a file near it")));
        }
        Ok(self.path.with_file_name(name))
    }

    /// Every tensor whose name starts with `prefix`, without the prefix.
    pub(crate) fn tensors<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a TensorData)> {
        let inside = move |(name, data): (&'a String, &'a TensorData)| {
            Some((name.strip_prefix(prefix)?, data))
        };
        self.file.tensors.iter().filter_map(inside)
    }

    /// Where the case came from.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// An error that names this file.
    pub(crate) fn malformed(&self, reason: impl ToString) -> Problem {
        Problem::Error(Error::malformed(&self.path, "golden case", reason))
    }

    /// The tolerance of a measure, for cases that have one for the whole file.
    pub(crate) fn tolerance(&self, measure: &str) -> Result<f64, Problem> {
        self.number(&self.description["tolerance"], measure)
    }

    /// The tolerance of all measures, for cases that have only one.
    pub(crate) fn tolerance_of_all(&self) -> Result<f64, Problem> {
        self.number(&self.description, "tolerance")
    }

    /// The tolerance of gradients, for cases that have one for all of them.
    pub(crate) fn tolerance_of_gradients(&self) -> Result<f64, Problem> {
        self.number(&self.description, "grad_tolerance")
    }

    /// A finite number.
    pub(crate) fn number(&self, of: &Value, key: &str) -> Result<f64, Problem> {
        let number = of[key].as_f64().filter(|n| n.is_finite());
        number.ok_or_else(|| self.wrong(of, key, "a number"))
    }

    /// A whole number from 0 to a million.
    pub(crate) fn count(&self, of: &Value, key: &str) -> Result<usize, Problem> {
        let count = of[key].as_u64().filter(|n| *n <= MANY);
        let count = count.and_then(|n| usize::try_from(n).ok());
        count.ok_or_else(|| self.wrong(of, key, "a count"))
    }

    /// A text.
    pub(crate) fn text<'a>(&self, of: &'a Value, key: &str) -> Result<&'a str, Problem> {
        of[key]
            .as_str()
            .ok_or_else(|| self.wrong(of, key, "a text"))
    }

    /// True or false; what is not there is false.
    pub(crate) fn flag(&self, of: &Value, key: &str) -> Result<bool, Problem> {
        match &of[key] {
            Value::Null => Ok(false),
            Value::Bool(flag) => Ok(*flag),
            _ => Err(self.wrong(of, key, "true or false")),
        }
    }

    /// A list.
    pub(crate) fn list<'a>(&self, of: &'a Value, key: &str) -> Result<&'a [Value], Problem> {
        let list = of[key].as_array().map(Vec::as_slice);
        list.ok_or_else(|| self.wrong(of, key, "a list"))
    }

    /// A list of counts, none above a million.
    pub(crate) fn counts(&self, of: &Value, key: &str) -> Result<Vec<usize>, Problem> {
        let counts = self.list(of, key)?.iter().map(|n| {
            let count = n.as_u64().filter(|n| *n <= MANY)?;
            usize::try_from(count).ok()
        });
        let counts: Option<Vec<usize>> = counts.collect();
        counts.ok_or_else(|| self.wrong(of, key, "a list of counts"))
    }

    /// A list of texts.
    pub(crate) fn texts<'a>(&self, of: &'a Value, key: &str) -> Result<Vec<&'a str>, Problem> {
        let texts = self.list(of, key)?.iter().map(Value::as_str);
        let texts: Option<Vec<&str>> = texts.collect();
        texts.ok_or_else(|| self.wrong(of, key, "a list of texts"))
    }

    fn wrong(&self, of: &Value, key: &str, expected: &str) -> Problem {
        self.malformed(format!("`{key}` is {}, not {expected}", of[key]))
    }

    /// A tensor as it is stored.
    pub(crate) fn data(&self, name: &str) -> Result<&TensorData, Problem> {
        let data = self.file.tensors.get(name);
        data.ok_or_else(|| self.malformed(format!("there is no tensor {name}")))
    }

    /// All numbers of a tensor, row-major.
    pub(crate) fn values(&self, name: &str) -> Result<Vec<f64>, Problem> {
        Ok(self.data(name)?.iter::<f64>().collect())
    }

    /// A tensor with `D` dimensions, none of them 0, on a device.
    pub(crate) fn tensor<const D: usize>(
        &self,
        name: &str,
        device: &Device,
        dtype: DType,
    ) -> Result<Tensor<D>, Problem> {
        let data = self.data(name)?;
        let shape = data.shape();
        let shape = shape.as_slice();
        if shape.len() != D || shape.contains(&0) {
            let reason = format!("{name} has shape {shape:?}, not {D} dimensions");
            return Err(self.malformed(reason));
        }
        Ok(Tensor::from_data(
            data.clone().convert_dtype(dtype),
            (device, dtype),
        ))
    }

    /// Images `[batch, channels, height, width]` that fit a network.
    pub(crate) fn images(
        &self,
        name: &str,
        network: &NetworkConfig,
        device: &Device,
    ) -> Result<Images, Problem> {
        let images = self.tensor::<4>(name, device, DType::F32)?;
        let [_, c, h, w] = images.dims();
        if network.takes([c, h, w]) && h.max(w) <= LARGEST {
            return Ok(images);
        }
        let shape = network.image_shape();
        Err(self.malformed(format!(
            "{name} is {c}x{h}x{w}, the network takes {shape:?}"
        )))
    }

    /// The tokens of each image's text, `[batch, tokens, width]`, under the tensor's name that `of[key]` gives, or `None`
    /// where it is null.
    pub(crate) fn text_tokens(
        &self,
        of: &Value,
        key: &str,
        [batch, width]: [usize; 2],
        device: &Device,
    ) -> Result<Option<Tensor<3>>, Problem> {
        if of[key].is_null() {
            return Ok(None);
        }
        let name = self.text(of, key)?;
        let tokens = self.tensor::<3>(name, device, DType::F32)?;
        match tokens.dims() {
            [b, _, w] if b == batch && w == width && w > 0 => Ok(Some(tokens)),
            got => {
                let reason = format!("{name} has shape {got:?}, not [{batch}, tokens, {width}]");
                Err(self.malformed(reason))
            }
        }
    }

    /// A row for each image under the tensor's name that `of[key]` gives, or `None` where it is null. `columns` are
    /// what the network takes.
    pub(crate) fn rows(
        &self,
        of: &Value,
        key: &str,
        shape: [usize; 2],
        device: &Device,
    ) -> Result<Option<Tensor<2>>, Problem> {
        if of[key].is_null() {
            return Ok(None);
        }
        let name = self.text(of, key)?;
        let rows = self.tensor::<2>(name, device, DType::F32)?;
        if rows.dims() == shape && shape[1] > 0 {
            return Ok(Some(rows));
        }
        let got = rows.dims();
        Err(self.malformed(format!("{name} has shape {got:?}, not {shape:?}")))
    }
}
