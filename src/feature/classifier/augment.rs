//! What the classifier is shown.

use super::recipe::ClassifierRecipe;
use crate::data::Dataset;
use crate::noise::{Domain, Stream};
use crate::{Error, Images};
use burn::tensor::{Device, TensorData};

/// Images in [-1, 1], mirrored and shifted over black; each change is keyed by the position in the training.
pub(super) fn augmented(
    recipe: &ClassifierRecipe,
    data: &Dataset,
    positions: &[u64],
    indices: &[usize],
    device: &Device,
) -> Result<Images, Error> {
    let [channels, height, width] = data.shape();
    let image = channels * height * width;
    let mut values = vec![-1.0; indices.len() * image];
    let span = 2 * u64::from(recipe.shift) + 1;
    for ((out, &position), &index) in values.chunks_mut(image).zip(positions).zip(indices) {
        let mut stream = Stream::new(recipe.seed, Domain::Flip, position);
        let flip = stream.below(2)? == 1 && recipe.flip;
        let mut shift = || Ok::<_, Error>(stream.below(span)? as isize - recipe.shift as isize);
        let (down, right) = (shift()?, shift()?);
        for (i, &byte) in data.pixels(index).iter().enumerate() {
            let (plane, y, x) = (i / (height * width), i / width % height, i % width);
            let x = if flip { width - 1 - x } else { x };
            let (y, x) = (y.wrapping_add_signed(down), x.wrapping_add_signed(right));
            // A negative coordinate has wrapped around to a huge one.
            if y < height && x < width {
                out[(plane * height + y) * width + x] = f32::from(byte) / 127.5 - 1.0;
            }
        }
    }
    let shape = [indices.len(), channels, height, width];
    Ok(Images::from_data(TensorData::new(values, shape), device))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::classifier::recipe::tests::RECIPE;

    #[test]
    fn shifts_and_flips_move_the_picture_over_black() {
        let mut pixels = vec![0; 64];
        pixels[8 * 3 + 2] = 255;
        let data = Dataset::new(pixels, [1, 8, 8], None, vec![]).unwrap();
        let positions: Vec<u64> = (0..64).collect();
        let images = augmented(&RECIPE, &data, &positions, &[0; 64], &Device::flex());
        let values: Vec<f32> = images.unwrap().into_data().try_to_vec().unwrap();
        let places: std::collections::BTreeSet<(usize, usize)> = values
            .chunks(64)
            .map(|image| {
                let bright: Vec<usize> = (0..64).filter(|&i| image[i] == 1.0).collect();
                assert_eq!(bright.len(), 1);
                assert_eq!(image.iter().filter(|v| **v == -1.0).count(), 63);
                (bright[0] / 8, bright[0] % 8)
            })
            .collect();
        // Three rows, and three columns around 2 or, mirrored, around 5.
        let rows = 2..=4;
        let expected = rows.flat_map(|y| (1..=6).map(move |x| (y, x))).collect();
        assert_eq!(places, expected);
    }
}
