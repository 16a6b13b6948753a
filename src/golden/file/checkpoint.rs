//! Comparing an opened file with what a case says.

use crate::golden::case::Case;
use crate::golden::measure::Problem;
use crate::import::{Checkpoint, Format, Scalar};
use burn::tensor::{DType, TensorData};
use serde_json::Value;

/// What cases call a format.
pub(crate) fn name(format: Format) -> &'static str {
    match format {
        Format::EdmPersistent => "edm_persistent",
        Format::SfdPlain => "sfd_plain",
        Format::TorchZip => "torch_zip",
        Format::TorchLegacy => "torch_legacy",
        Format::Safetensors => "safetensors",
    }
}

/// Tensors that only one side has, or of another shape.
pub(crate) fn shapes(case: &Case, checkpoint: &Checkpoint) -> Result<usize, Problem> {
    let of = &case.config()["shapes"];
    let mut wrong = 0;
    let mut got = checkpoint.tensors().clone();
    for name in case.texts(case.config(), "names")? {
        let want = case.list(of, name)?.iter().map(Value::as_u64);
        let info = got.remove(name);
        let shape = info
            .iter()
            .flat_map(|info| &info.shape)
            .map(|n| Some(*n as u64));
        wrong += usize::from(info.is_none() || !shape.eq(want));
    }
    Ok(wrong + got.len())
}

/// Numbers are equal whatever their type.
pub(crate) fn same(got: Option<&Value>, want: &Value) -> bool {
    match (got.and_then(Value::as_f64), want.as_f64()) {
        (Some(got), Some(want)) => got == want,
        _ => got == Some(want),
    }
}

/// Whether a tensor is the expected one; `cast` if that may be stored in another floating type.
pub(crate) fn equal(
    checkpoint: &Checkpoint,
    name: &str,
    want: &TensorData,
    cast: bool,
) -> Result<bool, Problem> {
    let Some(info) = checkpoint.tensors().get(name) else {
        return Ok(false);
    };
    let stored = match want.dtype() {
        DType::F32 => Scalar::F32,
        DType::F16 => Scalar::F16,
        DType::BF16 => Scalar::BF16,
        DType::F64 => Scalar::F64,
        DType::I64 => Scalar::I64,
        DType::I32 => Scalar::I32,
        DType::I16 => Scalar::I16,
        DType::I8 => Scalar::I8,
        DType::U8 => Scalar::U8,
        DType::Bool(_) => Scalar::Bool,
        _ => return Ok(false),
    };
    let got = checkpoint.bytes(name)?;
    if stored == info.scalar {
        return Ok(got == want.as_bytes());
    }
    let want = want.as_bytes();
    let want = stored
        .to_f32(want)
        .and_then(|values| info.scalar.of_f32(&values));
    Ok(cast && want.is_some_and(|want| want == got))
}
