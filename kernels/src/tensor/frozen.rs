//! Weights that stay as they are, such as a teacher's: packed for their convolutions once, not at every call.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Device, Tensor};
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// Frozen weights by the address of their values, and their sizes: a tensor of another shape may share the values.
static FROZEN: RwLock<Option<HashMap<Name, Entry>>> = RwLock::new(None);

type Name = (usize, Vec<usize>);

struct Entry {
    /// A handle of our own: while it lives, the values are neither freed nor changed, because Burn writes only
    /// to memory that has one owner. The address therefore names them.
    _weight: FlexTensor,
    packed: Arc<OnceLock<Vec<f32>>>,
    /// How many [`Frozen`] hold it.
    holders: usize,
}

/// Keeps weights packed while it lives; see [`freeze`].
#[derive(Debug)]
pub struct Frozen {
    names: Vec<Name>,
}

/// Keeps what convolutions make of these weights, `[out, in, side, side]`, until the result is dropped: twice to four
/// times their memory for 3x3 ones. Nothing is computed before the first use, and no result changes. Tensors that are
/// not f32 on the CPU, or are tracked by autodiff, are left out.
pub fn freeze(weights: impl IntoIterator<Item = Tensor<4>>) -> Frozen {
    let mut lock = FROZEN.write().unwrap_or_else(PoisonError::into_inner);
    let table = lock.get_or_insert_default();
    let mut names = Vec::new();
    for weight in weights {
        if weight.dtype() != DType::F32 || weight.device() != Device::flex() {
            continue;
        }
        let Ok(weight) = weight.try_into_primitive::<Flex>() else {
            continue;
        };
        let Some(name) = name(&weight) else {
            continue;
        };
        let entry = table.entry(name.clone()).or_insert_with(|| Entry {
            _weight: weight,
            packed: Arc::default(),
            holders: 0,
        });
        entry.holders += 1;
        names.push(name);
    }
    Frozen { names }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let mut lock = FROZEN.write().unwrap_or_else(PoisonError::into_inner);
        let table = lock.get_or_insert_default();
        for name in &self.names {
            if let Some(entry) = table.get_mut(name) {
                entry.holders -= 1;
                if entry.holders == 0 {
                    table.remove(name);
                }
            }
        }
    }
}

/// Where the values are, and the shape; `None` for tensors that convolutions would copy.
fn name(weight: &FlexTensor) -> Option<Name> {
    let values: &[f32] = weight.as_slice()?;
    Some((values.as_ptr().addr(), weight.layout().shape().to_vec()))
}

/// What `pack` makes of a weight, kept if the weight is frozen.
pub(crate) fn packed(weight: &FlexTensor, pack: impl FnOnce() -> Vec<f32>) -> Packed {
    let lock = FROZEN.read().unwrap_or_else(PoisonError::into_inner);
    let entry = lock.as_ref().zip(name(weight));
    let kept = entry.and_then(|(table, name)| Some(table.get(&name)?.packed.clone()));
    drop(lock);
    match kept {
        Some(kept) => {
            // Not inside the lock: packing is parallel, and its threads may be given work that waits for this.
            if kept.get().is_none() {
                let _ = kept.set(pack());
            }
            Packed::Kept(kept)
        }
        None => Packed::New(pack()),
    }
}

/// A packed weight.
pub(crate) enum Packed {
    Kept(Arc<OnceLock<Vec<f32>>>),
    New(Vec<f32>),
}

impl Deref for Packed {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Kept(kept) => kept.get().map_or(&[], Vec::as_slice),
            Self::New(values) => values,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv2d_3x3;
    use burn::tensor::TensorData;

    fn tensor<const D: usize>(shape: [usize; D], step: f32) -> Tensor<D> {
        let len: usize = shape.iter().product();
        let values = (0..len)
            .map(|i| (i as f32 * step).sin())
            .collect::<Vec<_>>();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    fn is_kept(weight: &Tensor<4>) -> Option<bool> {
        let weight = weight.clone().try_into_primitive::<Flex>().unwrap();
        let lock = FROZEN.read().unwrap();
        let entry = lock.as_ref()?.get(&name(&weight)?)?;
        Some(entry.packed.get().is_some())
    }

    fn answer(x: &Tensor<4>, weight: &Tensor<4>) -> Vec<f32> {
        let y = conv2d_3x3(x.clone(), weight.clone(), None);
        y.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn frozen_weights_are_packed_once_and_change_nothing() {
        let x = tensor([2, 5, 7, 9], 0.3);
        let weight = tensor([4, 5, 3, 3], 0.7);
        let before = answer(&x, &weight);
        assert_eq!(is_kept(&weight), None);
        let frozen = freeze([weight.clone()]);
        assert_eq!(is_kept(&weight), Some(false));
        let again = freeze([weight.clone()]);
        assert_eq!(answer(&x, &weight), before);
        assert_eq!(is_kept(&weight), Some(true));
        assert_eq!(answer(&x, &weight), before);
        drop(frozen);
        assert_eq!(is_kept(&weight), Some(true));
        drop(again);
        assert_eq!(is_kept(&weight), None);
        assert_eq!(answer(&x, &weight), before);
    }

    /// Small images are convolved in another way, with other packed weights; large ones with large weights keep none.
    #[test]
    fn frozen_weights_serve_images_of_any_size() {
        let weight = tensor([512, 512, 3, 3], 0.7);
        let images = [[1, 512, 2, 3], [1, 512, 9, 8]].map(|shape| tensor(shape, 0.3));
        let before = images.each_ref().map(|x| answer(x, &weight));
        let frozen = freeze([weight.clone()]);
        for _ in 0..2 {
            let after = images.each_ref().map(|x| answer(x, &weight));
            assert!(after == before);
        }
        drop(frozen);
        let large = tensor([1, 512, 64, 32], 0.3);
        let frozen = freeze([weight.clone()]);
        answer(&large, &weight);
        assert_eq!(is_kept(&weight), Some(false));
        drop(frozen);
    }

    /// An operation that would write in place must leave the frozen values alone, and its result is another weight.
    #[test]
    fn what_is_computed_from_a_frozen_weight_is_not_frozen() {
        let x = tensor([1, 3, 4, 4], 0.2);
        let weight = tensor([2, 3, 3, 3], 0.9);
        let twice: Vec<f32> = answer(&x, &weight).iter().map(|y| 2.0 * y).collect();
        let frozen = freeze([weight.clone()]);
        answer(&x, &weight);
        let doubled = weight.clone().mul_scalar(2.0);
        assert_eq!(is_kept(&doubled), None);
        assert_eq!(answer(&x, &doubled), twice);
        // The same values as another kernel.
        let other = weight.clone().reshape([3, 2, 3, 3]);
        assert_eq!(is_kept(&other), None);
        let x = tensor([1, 2, 4, 4], 0.2);
        let copy = Tensor::from_data(other.clone().into_data(), &Device::flex());
        assert_eq!(answer(&x, &other), answer(&x, &copy));
        drop(frozen);
    }
}
