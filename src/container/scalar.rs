//! Types of numbers in foreign files.

use burn::tensor::{bf16, f16};
use safetensors::tensor::Dtype;
use std::fmt;

/// The type of a tensor's numbers, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Scalar {
    /// True or false, one byte each.
    Bool,
    /// 8 bits, unsigned.
    U8,
    /// 8 bits, signed.
    I8,
    /// 16 bits, signed.
    I16,
    /// Half precision.
    F16,
    /// The upper half of single precision.
    BF16,
    /// 32 bits, signed.
    I32,
    /// Single precision.
    F32,
    /// 64 bits, signed.
    I64,
    /// Double precision.
    F64,
}

impl Scalar {
    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::I16 | Self::F16 | Self::BF16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }

    /// Whether weights can be of this type.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::BF16 | Self::F32 | Self::F64)
    }

    /// The type of `torch.FloatStorage` and its kin.
    pub(crate) fn of_storage(name: &str) -> Option<Self> {
        Some(match name {
            "BoolStorage" => Self::Bool,
            "ByteStorage" | "UntypedStorage" => Self::U8,
            "CharStorage" => Self::I8,
            "ShortStorage" => Self::I16,
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::BF16,
            "IntStorage" => Self::I32,
            "FloatStorage" => Self::F32,
            "LongStorage" => Self::I64,
            "DoubleStorage" => Self::F64,
            _ => return None,
        })
    }

    /// The type that `torch.float32` and its kin name.
    pub(crate) fn of_torch(name: &str) -> Option<Self> {
        Some(match name {
            "bool" => Self::Bool,
            "uint8" => Self::U8,
            "int8" => Self::I8,
            "int16" => Self::I16,
            "float16" => Self::F16,
            "bfloat16" => Self::BF16,
            "int32" => Self::I32,
            "float32" => Self::F32,
            "int64" => Self::I64,
            "float64" => Self::F64,
            _ => return None,
        })
    }

    pub(crate) fn of_safetensors(dtype: Dtype) -> Option<Self> {
        Some(match dtype {
            Dtype::BOOL => Self::Bool,
            Dtype::U8 => Self::U8,
            Dtype::I8 => Self::I8,
            Dtype::I16 => Self::I16,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::BF16,
            Dtype::I32 => Self::I32,
            Dtype::F32 => Self::F32,
            Dtype::I64 => Self::I64,
            Dtype::F64 => Self::F64,
            _ => return None,
        })
    }

    pub(crate) fn to_safetensors(self) -> Dtype {
        match self {
            Self::Bool => Dtype::BOOL,
            Self::U8 => Dtype::U8,
            Self::I8 => Dtype::I8,
            Self::I16 => Dtype::I16,
            Self::F16 => Dtype::F16,
            Self::BF16 => Dtype::BF16,
            Self::I32 => Dtype::I32,
            Self::F32 => Dtype::F32,
            Self::I64 => Dtype::I64,
            Self::F64 => Dtype::F64,
        }
    }

    /// The numbers of little-endian bytes in single precision; `None` unless this is a floating type.
    pub fn to_f32(self, bytes: &[u8]) -> Option<Vec<f32>> {
        fn each<const N: usize>(bytes: &[u8], to: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            let words = bytes.as_chunks::<N>().0.iter();
            words.map(|word| to(*word)).collect()
        }
        Some(match self {
            Self::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Self::BF16 => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Self::F32 => each(bytes, f32::from_le_bytes),
            Self::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
            _ => return None,
        })
    }

    /// Little-endian bytes of the numbers, rounded to nearest; `None` unless this is f32, f16 or bf16.
    pub fn of_f32(self, values: &[f32]) -> Option<Vec<u8>> {
        let values = values.iter().copied();
        Some(match self {
            Self::F32 => values.flat_map(f32::to_le_bytes).collect(),
            Self::F16 => values
                .flat_map(|v| f16::from_f32(v).to_le_bytes())
                .collect(),
            Self::BF16 => values
                .flat_map(|v| bf16::from_f32(v).to_le_bytes())
                .collect(),
            _ => return None,
        })
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_exact_both_ways() {
        let values = [0.0, -1.5, 0.333_251_95, 65504.0, f32::INFINITY];
        let half = Scalar::F16.of_f32(&values).unwrap();
        assert_eq!(Scalar::F16.to_f32(&half).unwrap(), values);
        let brain = Scalar::BF16.of_f32(&[1.0, -3.0e38]).unwrap();
        assert_eq!(brain[..2], [0x80, 0x3f]);
        assert_eq!(Scalar::I64.to_f32(&half), None);
    }
}
