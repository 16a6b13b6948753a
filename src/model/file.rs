//! Named tensors and one JSON text in a safetensors file, written so that a crash never leaves half a file.

use crate::Error;
use crate::data::foreign;
use crate::file::{CARD, replace_file};
use burn::tensor::{BoolStore, DType, Tensor, TensorData};
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, View};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The contents of a safetensors file.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// Tensors by name, f16, bf16, f32, f64, integers or truth values.
    pub tensors: BTreeMap<String, TensorData>,
    /// The JSON text under the metadata key `fewstep`, if there is one.
    pub json: Option<String>,
    /// All other metadata, read only: it is not written back.
    pub metadata: BTreeMap<String, String>,
}

impl File {
    /// Reads a whole file.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, [`Error::Malformed`] if it is not safetensors or holds a type that
    /// we do not use.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(Error::file("read", path))?;
        Self::from_bytes(&bytes, path)
    }

    /// As [`read`](Self::read), of a file in memory; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Malformed`], as [`read`](Self::read).
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, Error> {
        let malformed = |reason: String| Error::malformed(path, "safetensors file", reason);
        let mut metadata = metadata(bytes, path)?;
        let views = SafeTensors::deserialize(bytes).map_err(|e| malformed(e.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in views.iter() {
            let dtype = burn_type(view.dtype())
                .ok_or_else(|| malformed(format!("tensor {name} has type {:?}", view.dtype())))?;
            let shape = view.shape().to_vec();
            let data = TensorData::from_bytes_vec(view.data().to_vec(), shape, dtype);
            tensors.insert(name.to_string(), data);
        }
        Ok(Self {
            tensors,
            json: metadata.remove(CARD),
            metadata,
        })
    }

    /// Reads the metadata only, whatever the types of the tensors.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, [`Error::Malformed`] if it is not safetensors.
    pub fn read_metadata(path: &Path) -> Result<BTreeMap<String, String>, Error> {
        let bytes = std::fs::read(path).map_err(Error::file("read", path))?;
        metadata(&bytes, path)
    }

    /// The file as bytes; equal contents give equal bytes.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for a tensor of a type that the format does not know.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        safetensors::serialize(self.views()?, header(self.json.as_ref())).map_err(unserialisable)
    }

    fn views(&self) -> Result<Vec<(&str, TensorView<'_>)>, Error> {
        let views = self.tensors.iter().map(|(name, data)| {
            let dtype = file_type(data.dtype()).ok_or_else(|| unknown(name, data.dtype()))?;
            let view = TensorView::new(dtype, data.shape().to_vec(), data.as_bytes())
                .map_err(|e| Error::invalid(name, e, "a contiguous tensor"))?;
            Ok((name.as_str(), view))
        });
        views.collect()
    }

    /// Writes the file atomically.
    ///
    /// # Errors
    /// [`Error::File`]; what was there before is then still whole.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        write_views(path, self.views()?, self.json.as_ref())
    }
}

/// Our text as metadata.
fn header(json: Option<&String>) -> Option<HashMap<String, String>> {
    json.map(|json| HashMap::from([(CARD.to_string(), json.clone())]))
}

fn unserialisable(error: SafeTensorError) -> Error {
    Error::invalid("tensors", error, "serialisable tensors")
}

fn unknown(name: &str, dtype: DType) -> Error {
    Error::invalid(name, format!("{dtype:?}"), "f16, bf16, f32, f64 or i64")
}

/// A tensor that is brought to the host only when it is written.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// There already.
    Data(TensorData),
    /// f32, flattened, with its dimensions.
    Live(Tensor<1>, Vec<usize>),
}

impl Value {
    /// Its numbers.
    pub(crate) fn data(&self) -> TensorData {
        match self {
            Self::Data(data) => data.clone(),
            Self::Live(tensor, shape) => {
                let data = tensor.clone().into_data_dtype(DType::F32);
                TensorData::from_bytes_vec(data.as_bytes().to_vec(), shape.clone(), DType::F32)
            }
        }
    }
}

/// A [`Value`] of a type that the format knows.
struct Lazy<'a>(&'a Value, Dtype);

impl View for Lazy<'_> {
    fn dtype(&self) -> Dtype {
        self.1
    }

    fn shape(&self) -> &[usize] {
        match self.0 {
            Value::Data(data) => data.shape().as_slice(),
            Value::Live(_, shape) => shape,
        }
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self.0 {
            Value::Data(data) => data.as_bytes().into(),
            Value::Live(tensor, _) => {
                let data = tensor.clone().into_data_dtype(DType::F32);
                data.as_bytes().to_vec().into()
            }
        }
    }

    fn data_len(&self) -> usize {
        match self.0 {
            Value::Data(data) => data.as_bytes().len(),
            Value::Live(_, shape) => shape.iter().product::<usize>() * size_of::<f32>(),
        }
    }
}

/// Writes a file as [`File::write`] does, with no second copy of its tensors.
///
/// # Errors
/// As [`File::write`].
pub(crate) fn write_values(
    path: &Path,
    values: &BTreeMap<String, Value>,
    json: &String,
) -> Result<(), Error> {
    let views = values.iter().map(|(name, value)| {
        let dtype = match value {
            Value::Data(data) => data.dtype(),
            Value::Live(..) => DType::F32,
        };
        let known = file_type(dtype).ok_or_else(|| unknown(name, dtype))?;
        Ok((name.as_str(), Lazy(value, known)))
    });
    write_views(path, views.collect::<Result<Vec<_>, Error>>()?, Some(json))
}

fn write_views<V: View>(
    path: &Path,
    views: Vec<(&str, V)>,
    json: Option<&String>,
) -> Result<(), Error> {
    let mut views = Some(views);
    replace_file(path, &mut |file| {
        let views = views.take().unwrap_or_default();
        match safetensors::serialize_to_file(views, header(json), file.path()) {
            Err(SafeTensorError::IoError(error)) => Err(Error::file("write", path)(error)),
            other => other.map_err(unserialisable),
        }
    })
}

/// The free texts in the header; `path` is for messages.
fn metadata(bytes: &[u8], path: &Path) -> Result<BTreeMap<String, String>, Error> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| {
        // What the file is says more than what is wrong with the header that it does not have.
        let kind = match bytes.get(..1024).unwrap_or(bytes) {
            zip if zip.starts_with(b"PK\x03\x04") => foreign::kind(path),
            head => foreign::of_bytes(head).filter(|kind| !kind.contains("safetensors")),
        };
        let reason = kind.map_or_else(|| error.to_string(), |kind| format!("it is {kind}"));
        Error::malformed(path, "safetensors file", reason)
    })?;
    let texts = header.metadata().iter().flatten();
    Ok(texts.map(|(k, v)| (k.clone(), v.clone())).collect())
}

fn burn_type(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool(BoolStore::U8),
        _ => return None,
    })
}

fn file_type(dtype: DType) -> Option<Dtype> {
    Some(match dtype {
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        DType::I64 => Dtype::I64,
        DType::U8 => Dtype::U8,
        _ => return None,
    })
}
