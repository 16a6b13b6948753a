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
    /// Eight bits with four of exponent, not infinite (`float8_e4m3fn`).
    F8E4M3,
    /// Eight bits with five of exponent: the upper half of half precision (`float8_e5m2`).
    F8E5M2,
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
            Self::Bool | Self::U8 | Self::I8 | Self::F8E4M3 | Self::F8E5M2 => 1,
            Self::I16 | Self::F16 | Self::BF16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }

    /// Whether weights can be of this type.
    pub fn is_float(self) -> bool {
        self.is_small() || matches!(self, Self::F16 | Self::BF16 | Self::F32 | Self::F64)
    }

    /// Whether it has eight bits and is widened wherever it is read.
    pub fn is_small(self) -> bool {
        matches!(self, Self::F8E4M3 | Self::F8E5M2)
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
            "float8_e4m3fn" => Self::F8E4M3,
            "float8_e5m2" => Self::F8E5M2,
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
            Dtype::F8_E4M3 => Self::F8E4M3,
            Dtype::F8_E5M2 => Self::F8E5M2,
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
            Self::F8E4M3 => Dtype::F8_E4M3,
            Self::F8E5M2 => Dtype::F8_E5M2,
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
            Self::F8E4M3 => bytes.iter().map(|byte| small(*byte)).collect(),
            // Half precision without the lower half of its digits.
            Self::F8E5M2 => each(bytes, |[byte]| {
                f16::from_bits(u16::from(byte) << 8).to_f32()
            }),
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

/// A number of four bits of exponent, biased by 7, and three of fraction; all ones is none, and nothing is infinite.
fn small(byte: u8) -> f32 {
    let (exponent, fraction) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    let size = match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => fraction * 2f32.powi(-9),
        _ => (8.0 + fraction) * 2f32.powi(exponent - 10),
    };
    if byte & 128 == 0 { size } else { -size }
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
    fn eight_bits_are_widened() {
        // 0, the smallest, the largest below one, one, -1.75, the largest; what is no number.
        let bytes = [0x00, 0x01, 0x37, 0x38, 0xbe, 0x7e, 0x7f];
        let wide = Scalar::F8E4M3.to_f32(&bytes).unwrap();
        assert_eq!(wide[..6], [0.0, 2f32.powi(-9), 0.9375, 1.0, -1.75, 448.0]);
        assert!(wide[6].is_nan());
        let bytes = [0x01, 0x3c, 0xc6, 0x7b, 0x7c];
        let wide = Scalar::F8E5M2.to_f32(&bytes).unwrap();
        assert_eq!(wide, [2f32.powi(-16), 1.0, -6.0, 57_344.0, f32::INFINITY]);
        // All of them are numbers of half precision.
        for scalar in [Scalar::F8E4M3, Scalar::F8E5M2] {
            let all: Vec<u8> = (0..=255).collect();
            for value in scalar.to_f32(&all).unwrap() {
                assert!(value.is_nan() || f16::from_f32(value).to_f32() == value);
            }
        }
    }

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
