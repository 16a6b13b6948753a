//! How far two samplers' images for the same seeds are apart.

use crate::{Error, Images};
use burn::tensor::DType;

/// Distances between images made from the same seeds, in pixel units: the range of a pixel, [-1, 1], is 2 long.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PairedDistance {
    /// Pairs compared.
    pub images: u64,
    /// Mean over the pairs of the root mean square difference of their pixels.
    pub rms: f64,
    /// Mean absolute difference of the pixels.
    pub l1: f64,
}

impl PairedDistance {
    /// The distances over both sets of pairs.
    pub fn merge(self, other: Self) -> Self {
        let images = self.images + other.images;
        let share = other.images as f64 / images.max(1) as f64;
        Self {
            images,
            rms: self.rms + (other.rms - self.rms) * share,
            l1: self.l1 + (other.l1 - self.l1) * share,
        }
    }
}

/// Compares two batches `[batch, channels, height, width]` image by image, in f64.
///
/// # Errors
/// [`Error::Incompatible`] if their shapes differ.
pub fn paired_distance(teacher: &Images, student: &Images) -> Result<PairedDistance, Error> {
    let shape = teacher.dims();
    if shape != student.dims() {
        return Err(Error::Incompatible {
            first: format!("images of shape {shape:?}"),
            second: format!("images of shape {:?}", student.dims()),
            remedy: "compare images of the same seeds and size".into(),
        });
    }
    let [images, channels, height, width] = shape;
    let pixels = channels * height * width;
    if images * pixels == 0 {
        return Ok(PairedDistance::default());
    }
    let values = |images: &Images| -> Vec<f32> {
        images
            .to_data()
            .convert_dtype(DType::F32)
            .iter::<f32>()
            .collect()
    };
    let (teacher, student) = (values(teacher), values(student));
    let (mut rms, mut l1) = (0.0, 0.0);
    for (a, b) in teacher
        .chunks_exact(pixels)
        .zip(student.chunks_exact(pixels))
    {
        let differences = a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b));
        rms += (differences.clone().map(|d| d * d).sum::<f64>() / pixels as f64).sqrt();
        l1 += differences.map(f64::abs).sum::<f64>() / pixels as f64;
    }
    Ok(PairedDistance {
        images: images as u64,
        rms: rms / images as f64,
        l1: l1 / images as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    fn images(values: &[f32]) -> Images {
        let shape = [values.len() / 4, 1, 2, 2];
        Images::from_data(TensorData::new(values.to_vec(), shape), &Device::flex())
    }

    #[test]
    fn distances_are_means_over_images() {
        let a = images(&[0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
        let b = images(&[0.5, -0.5, 0.5, -0.5, 1.0, 1.0, 1.0, -1.0]);
        let distance = paired_distance(&a, &b).unwrap();
        assert_eq!(
            distance,
            PairedDistance {
                images: 2,
                rms: 0.75,
                l1: 0.5
            }
        );
        let split = |range: std::ops::Range<usize>| {
            let part = |x: &Images| x.clone().narrow(0, range.start, range.len());
            paired_distance(&part(&a), &part(&b)).unwrap()
        };
        assert_eq!(split(0..1).merge(split(1..2)), distance);
        assert_eq!(PairedDistance::default().merge(distance), distance);
        assert_eq!(paired_distance(&a, &a).unwrap().rms, 0.0);
        assert!(paired_distance(&a, &a.clone().narrow(0, 0, 1)).is_err());
    }
}
