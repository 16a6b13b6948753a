//! Half precision weights widened where they are used.

use crate::memory::buffer::spans;
use burn::backend::Flex;
use burn::tensor::{DType, Device, Tensor, TensorData};

/// `x` in another floating point type. Exact where the type is wider; f16 and bf16 on the CPU become f32 in parallel.
pub fn cast<const D: usize>(x: Tensor<D>, dtype: DType) -> Tensor<D> {
    let brain = match (x.dtype(), dtype) {
        (DType::F16, DType::F32) => false,
        (DType::BF16, DType::F32) => true,
        _ => return x.cast(dtype),
    };
    // What is tracked keeps its gradient through Burn's own; the frozen weights of a student of adapters are not.
    if x.is_autodiff() && !x.is_tracked() {
        return cast(x.without_autodiff(), dtype).autodiff();
    }
    if x.is_autodiff() || x.device() != Device::flex() {
        return x.cast(dtype);
    }
    let shape = x.dims();
    let Ok(values) = x.clone().try_into_primitive::<Flex>() else {
        return x.cast(dtype);
    };
    let Some((start, end)) = values.layout().contiguous_offsets() else {
        return x.cast(dtype);
    };
    let bytes = &values.bytes()[2 * start..2 * end];
    // SAFETY: every value of a range is written.
    let wide = unsafe {
        spans(end - start, |range, out| {
            let from = bytes[2 * range.start..2 * range.end].as_chunks::<2>().0;
            match brain {
                true => write(from, out, from_brain),
                false => write(from, out, from_half),
            }
        })
    };
    Tensor::from_data(TensorData::new(wide, shape), &Device::flex())
}

/// # Safety
/// `out` must have room for as many numbers.
#[inline(always)]
unsafe fn write(from: &[[u8; 2]], out: *mut f32, widen: impl Fn(u16) -> f32) {
    for (i, half) in from.iter().enumerate() {
        // SAFETY: promised by the caller.
        unsafe { out.add(i).write(widen(u16::from_ne_bytes(*half))) };
    }
}

#[inline(always)]
fn from_brain(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

#[inline(always)]
fn from_half(half: u16) -> f32 {
    /// 2^112, the difference of the exponents' offsets; numbers that are not normal come out right as well.
    const SCALE: f32 = f32::from_bits(0x7780_0000);
    let size = u32::from(half & 0x7fff);
    let value = (f32::from_bits(size << 13) * SCALE).to_bits();
    let value = if size >= 0x7c00 {
        value | 0x7f80_0000
    } else {
        value
    };
    f32::from_bits(value | u32::from(half & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_widened_as_burn_does() {
        for dtype in [DType::F16, DType::BF16] {
            let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_ne_bytes).collect();
            let data = TensorData::from_bytes_vec(all, vec![256, 256], dtype);
            let x = Tensor::<2>::from_data(data, (&Device::flex(), dtype));
            assert_eq!(x.dtype(), dtype);
            let found = cast(x.clone(), DType::F32).into_data();
            let wanted = x.cast(DType::F32).into_data();
            for (a, b) in found.iter::<f32>().zip(wanted.iter::<f32>()) {
                assert!(
                    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(),
                    "{a} {b}"
                );
            }
        }
    }
}
