//! Numbers that are none: which seeds and channels have them, and which step made them first.

use crate::denoiser::Condition;
use crate::sampler::Sampler;
use crate::{Error, Images, transfer};
use burn::tensor::DType;

/// Seeds that a message names before it only counts them.
const NAMED: usize = 5;

/// Whether every number is finite: one reduction where the images are, and one number that comes from there.
pub(super) fn sound(images: &Images) -> bool {
    // Zero times anything finite is zero, and a sum of zeros is.
    transfer::number(images.clone().mul_scalar(0.0).sum()) == 0.0
}

/// The images (by index) and the channels that hold a number that is not finite.
fn broken(images: &Images) -> (Vec<usize>, Vec<usize>) {
    let [count, channels, height, width] = images.dims();
    let numbers = images.clone().into_data_dtype(DType::F32);
    let numbers: Vec<f32> = numbers.iter::<f32>().collect();
    let area = height * width;
    let is_broken = |image: usize, channel: usize| {
        let start = (image * channels + channel) * area;
        numbers[start..start + area].iter().any(|x| !x.is_finite())
    };
    let any = |list: usize, test: &dyn Fn(usize) -> bool| (0..list).filter(|i| test(*i)).collect();
    (
        any(count, &|image| (0..channels).any(|c| is_broken(image, c))),
        any(channels, &|c| (0..count).any(|image| is_broken(image, c))),
    )
}

/// `seeds 3, 5 and 12 more`
fn name(seeds: &[u64]) -> String {
    let list = |seeds: &[u64]| {
        let texts = seeds.iter().map(u64::to_string);
        texts.collect::<Vec<_>>().join(", ")
    };
    match seeds {
        [only] => format!("seed {only}"),
        _ if seeds.len() <= NAMED => format!("seeds {}", list(seeds)),
        _ => format!(
            "seeds {} and {} more",
            list(&seeds[..NAMED]),
            seeds.len() - NAMED
        ),
    }
}

/// `channel 1 of 3`, or nothing where all are concerned.
fn name_channels(channels: &[usize], of: usize) -> String {
    match channels.len() {
        all if all == of => String::new(),
        _ => {
            let numbers = channels.iter().map(usize::to_string);
            let numbers = numbers.collect::<Vec<_>>().join(", ");
            format!(" in channel {numbers} of {of}, counted from 0")
        }
    }
}

/// The error of images with numbers that are not finite; `place` says where the first image had them first.
pub(super) fn error(
    seeds: &[u64],
    images: &Images,
    place: impl FnOnce(u64) -> Result<String, Error>,
    remedy: &str,
) -> Error {
    let (broken, channels) = broken(images);
    let broken: Vec<u64> = broken.into_iter().map(|i| seeds[i]).collect();
    let place = match broken.first().map(|first| place(*first)) {
        Some(Err(error)) => return error,
        Some(Ok(place)) => place,
        None => String::new(),
    };
    Error::NotFinite {
        images: name(&broken),
        place: place + &name_channels(&channels, images.dims()[1]),
        remedy: remedy.into(),
    }
}

/// Walks once more, and says after which step there was a number that is not finite, if it happens again.
pub(super) fn place(sampler: &Sampler<'_>, start: Images, condition: &Condition) -> Option<String> {
    let steps = sampler.grid.steps();
    let mut done = 0;
    let mut found = None;
    let images = sampler.sample_with(start, condition, &mut |step, images| {
        done += 1;
        if found.is_none() && !sound(images) {
            found = Some(format!(
                "first after step {done} of {steps} (noise level {} to {})",
                step.from, step.to
            ));
        }
    });
    if found.is_none() && !sound(&images) {
        let last = sampler.grid.sigma_min();
        found = Some(format!("first in the last call, at noise level {last}"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denoiser::Denoiser;
    use crate::grid::SigmaGrid;
    use crate::solver::Euler;
    use burn::tensor::Device;
    use burn::tensor::TensorData;

    fn images(values: &[f32], shape: [usize; 4]) -> Images {
        Images::from_data(TensorData::new(values.to_vec(), shape), &Device::flex())
    }

    #[test]
    fn one_number_of_one_channel_is_enough() {
        let shape = [3, 2, 1, 2];
        let whole = images(&[f32::MAX; 12], shape);
        assert!(sound(&whole) && broken(&whole) == (vec![], vec![]));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in 0..12 {
                let mut values = [1.0; 12];
                values[at] = bad;
                let images = images(&values, shape);
                assert!(!sound(&images), "{bad} at {at}");
                assert_eq!(broken(&images), (vec![at / 4], vec![at / 2 % 2]));
            }
        }
        // Two infinities of different signs, too.
        let mut values = [0.0; 12];
        (values[0], values[1]) = (f32::INFINITY, f32::NEG_INFINITY);
        assert!(!sound(&images(&values, shape)));
    }

    /// Says that all is black, but at one level.
    struct Broken(f64);

    impl Denoiser for Broken {
        fn denoise(&self, noisy: Images, sigma: f64, _: &Condition) -> Images {
            match sigma == self.0 {
                true => noisy.mul_scalar(f32::NAN),
                false => noisy.mul_scalar(0.0).sub_scalar(1.0),
            }
        }
    }

    #[test]
    fn the_step_is_found() {
        let grid = SigmaGrid::new(vec![80.0, 10.0, 2.0, 0.5]).unwrap();
        let start = || images(&[1.0; 4], [1, 1, 2, 2]);
        let found = |sigma: f64| {
            let denoiser = Broken(sigma);
            let sampler = Sampler {
                denoiser: &denoiser,
                solver: &Euler,
                grid: &grid,
                analytic_first_step: false,
                denoise_to_zero: true,
            };
            place(&sampler, start(), &Condition::default())
        };
        assert_eq!(found(7.0), None);
        let step = |text: &str| Some(text.to_string());
        assert_eq!(
            found(80.0),
            step("first after step 1 of 3 (noise level 80 to 10)")
        );
        assert_eq!(
            found(2.0),
            step("first after step 3 of 3 (noise level 2 to 0.5)")
        );
        assert_eq!(
            found(0.5),
            step("first in the last call, at noise level 0.5")
        );
    }

    #[test]
    fn a_few_seeds_are_named() {
        assert_eq!(name(&[7]), "seed 7");
        assert_eq!(name(&[7, 8]), "seeds 7, 8");
        let many: Vec<u64> = (0..17).collect();
        assert_eq!(name(&many), "seeds 0, 1, 2, 3, 4 and 12 more");
        assert_eq!(name_channels(&[0, 1, 2], 3), "");
        assert_eq!(name_channels(&[1], 3), " in channel 1 of 3, counted from 0");
    }
}
