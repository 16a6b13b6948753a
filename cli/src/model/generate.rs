//! Images from a model, one for each seed.

use crate::model::latent::Texts;
use crate::screen::failure::wrong;
use crate::screen::signal;
use anyhow::bail;
use burn::tensor::Tensor;
use fewstep::autoencoder::Autoencoder;
use fewstep::denoiser::Contexts;
use fewstep::model::{Card, Model, Sampling};
use fewstep::noise::Source;
use fewstep::{Device, Images, Request};
use std::num::NonZeroUsize;

/// Draws images from a model.
pub struct Generator<'a> {
    model: &'a Model,
    sampling: Sampling,
    /// Of one of the numbers of network calls that the sampling can have.
    evaluations: usize,
    request: Request<'a>,
    texts: Option<&'a Texts>,
    device: Device,
}

/// Images that are computed together unless one says otherwise; latents take far more memory each.
const BATCH: usize = 50;
const BATCH_LATENT: usize = 1;

impl<'a> Generator<'a> {
    /// Checks that sampling and class go with the model.
    pub fn new(model: &'a Model, sampling: Sampling, device: &Device) -> anyhow::Result<Self> {
        sampling.check()?;
        Ok(Self {
            model,
            evaluations: sampling.evaluations()?,
            request: Request {
                sampling: Some(sampling.clone()),
                ..Request::default()
            },
            sampling,
            texts: None,
            device: device.clone(),
        })
    }

    /// As the card says.
    pub fn of(model: &'a Model, device: &Device) -> anyhow::Result<Self> {
        Self::new(model, model.card.sampling.clone(), device)
    }

    /// Takes noise and classes from this source.
    pub fn noise(mut self, source: Source) -> Self {
        self.request.noise = source;
        self
    }

    /// Gives every image this class instead of one drawn by its seed.
    pub fn class(mut self, class: Option<usize>) -> anyhow::Result<Self> {
        let classes = self.model.card.network.classes();
        if let Some(class) = class.filter(|c| *c >= classes) {
            return Err(wrong(match classes {
                0 => format!("--class {class}: this model knows no classes"),
                n => format!("--class {class}: this model has classes 0 to {}", n - 1),
            }));
        }
        self.request.class = class;
        Ok(self)
    }

    /// Tells the model these texts; one that takes no text is told none.
    pub fn texts(mut self, texts: Option<&'a Texts>) -> Self {
        self.texts = texts;
        self
    }

    /// Makes pictures of latents.
    pub fn autoencoder(mut self, autoencoder: Option<&'a Autoencoder>) -> Self {
        self.request.autoencoder = autoencoder;
        self
    }

    /// Makes images, or latents, of another shape than the model was trained for, `[channels, height, width]`.
    pub fn shape(mut self, shape: [usize; 3]) -> Self {
        self.request.shape = Some(shape);
        self
    }

    /// How many images to compute at once.
    pub fn batch(&self) -> usize {
        Self::batch_of(&self.model.card)
    }

    /// How many images of a model to compute at once.
    pub fn batch_of(card: &Card) -> usize {
        match card.is_latent() {
            true => BATCH_LATENT,
            false => BATCH,
        }
    }

    /// Calls the network once more at the end.
    pub fn denoise_to_zero(mut self, on: bool) -> Self {
        self.request.denoise_to_zero = on;
        self
    }

    /// Calls of the network for one image.
    pub fn evaluations(&self) -> usize {
        self.evaluations + usize::from(self.request.denoise_to_zero)
    }

    /// How it samples, for people.
    pub fn describe(&self) -> String {
        let analytic = if self.sampling.analytic_first_step {
            ", the first analytical"
        } else {
            ""
        };
        let noise = match self.request.noise {
            Source::Ours => String::new(),
            other => format!(", noise {other}"),
        };
        let guidance = match self.sampling.guidance {
            1.0 => String::new(),
            weight => format!(", guidance {weight}, so each of a doubled batch"),
        };
        let (solver, steps) = (self.sampling.solver, self.sampling.steps);
        format!(
            "{} evaluations ({solver}, {steps} steps{analytic}){guidance}{noise}",
            self.evaluations()
        )
    }

    /// The class of each seed's image.
    pub fn classes(&self, seeds: &[u64]) -> anyhow::Result<Option<Vec<usize>>> {
        Ok(self.model.classes_of(seeds, &self.request)?)
    }

    /// What stands under the pictures of some seeds.
    pub fn labels(&self, seeds: &[u64]) -> anyhow::Result<Vec<String>> {
        Ok(match self.classes(seeds)? {
            None => seeds.iter().map(u64::to_string).collect(),
            Some(classes) => {
                let pairs = seeds.iter().zip(classes);
                pairs
                    .map(|(seed, class)| format!("{seed} class {class}"))
                    .collect()
            }
        })
    }

    /// The images of some seeds, `[seeds, channels, height, width]` in about [-1, 1], all of them in one batch.
    pub fn images(&self, seeds: &[u64]) -> anyhow::Result<Images> {
        if self.request.autoencoder.is_none() && self.model.card.is_latent() {
            bail!("this model makes latents; without an autoencoder there are no pictures")
        }
        self.asked(seeds, &|| (), |request| {
            Ok(self.model.sample(seeds, request)?)
        })
    }

    /// What the network makes of some seeds, `[seeds, channels, height, width]`, all of them in one batch; `called` is told
    /// of each call of it.
    pub fn latents(&self, seeds: &[u64], called: &dyn Fn()) -> anyhow::Result<Images> {
        self.asked(seeds, called, |request| {
            Ok(self.model.latents(seeds, request)?)
        })
    }

    /// Pictures of latents that were made of some seeds; `None` without an autoencoder.
    pub fn decoded(&self, seeds: &[u64], latents: Images) -> anyhow::Result<Option<Images>> {
        signal::check()?;
        match self.request.autoencoder {
            None => Ok(None),
            Some(_) => Ok(Some(self.request.decode(seeds, latents)?)),
        }
    }

    /// Whether it makes latents, which become pictures only by an autoencoder.
    pub fn is_latent(&self) -> bool {
        self.model.card.is_latent()
    }

    /// The request for one batch.
    fn asked(
        &self,
        seeds: &[u64],
        called: &dyn Fn(),
        draw: impl FnOnce(&Request<'_>) -> anyhow::Result<Images>,
    ) -> anyhow::Result<Images> {
        // Whoever draws does so batch by batch.
        signal::check()?;
        let texts: Option<Contexts> = match self.texts {
            Some(texts) => Some(texts.contexts(true, &self.device)?),
            None => None,
        };
        let progress = |_, _| called();
        draw(&Request {
            texts: texts.as_ref(),
            batch: NonZeroUsize::new(seeds.len()),
            progress: Some(&progress),
            ..self.request.clone()
        })
    }

    /// The same, at most `most` of them in memory at once.
    pub fn images_in_parts(&self, seeds: &[u64], most: usize) -> anyhow::Result<Images> {
        let parts = seeds.chunks(most.max(1)).map(|seeds| self.images(seeds));
        Ok(Tensor::cat(parts.collect::<Result<_, _>>()?, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep::teacher::Trainer;

    /// A network with random weights.
    fn model() -> Model {
        let recipe = include_str!("../../tests/support/teacher.toml");
        let mut recipe: toml::Table = toml::from_str(recipe).unwrap();
        recipe.remove("kind");
        let recipe = toml::Value::Table(recipe).try_into().unwrap();
        Trainer::new(recipe, &Device::flex())
            .unwrap()
            .model()
            .unwrap()
    }

    #[test]
    fn an_image_depends_on_its_seed_only() {
        let model = model();
        let seeds: Vec<u64> = (0..64).collect();
        let draw = |batch: usize, threads: usize| -> Vec<f32> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let one = |seeds: &[u64]| {
                let generator = Generator::of(&model, &Device::flex()).unwrap();
                let images = generator.images(seeds).unwrap();
                images.into_data().iter::<f32>().collect()
            };
            pool.build()
                .unwrap()
                .install(|| seeds.chunks(batch).flat_map::<Vec<f32>, _>(one).collect())
        };
        let whole = draw(64, 1);
        assert_eq!(whole.len(), 64 * 64);
        for (batch, threads) in [(7, 1), (1, 1), (64, 2), (7, 2)] {
            let other = draw(batch, threads);
            let errors = whole.iter().zip(&other).map(|(a, b)| (a - b).abs());
            let error = errors.fold(0.0, f32::max);
            assert!(
                error <= 1e-4,
                "batches of {batch}, {threads} threads: {error}"
            );
        }
    }

    #[test]
    fn noise_and_classes_are_identical_in_any_batch_and_with_any_threads() {
        let model = model();
        let seeds: Vec<u64> = (0..64).collect();
        let shape = model.card.network.image_shape();
        for source in Source::ALL {
            let draw = |batch: usize, threads: usize| -> (Vec<u32>, Vec<usize>) {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                let one = |seeds: &[u64]| {
                    let generator = Generator::of(&model, &Device::flex()).unwrap();
                    let generator = generator.noise(source);
                    let noise = source.latents(seeds, shape, &Device::flex()).into_data();
                    let bits: Vec<u32> = noise.iter::<f32>().map(f32::to_bits).collect();
                    (bits, generator.classes(seeds).unwrap().unwrap())
                };
                let parts: Vec<_> = pool
                    .build()
                    .unwrap()
                    .install(|| seeds.chunks(batch).map(one).collect());
                let (noise, classes): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
                (noise.concat(), classes.concat())
            };
            let whole = draw(64, 1);
            assert_eq!((whole.0.len(), whole.1.len()), (64 * 64, 64));
            for batch in [64, 7, 1] {
                for threads in [1, 2] {
                    let same = draw(batch, threads) == whole;
                    assert!(same, "{source}: batches of {batch}, {threads} threads");
                }
            }
        }
    }

    #[test]
    fn another_source_gives_another_image() {
        let model = model();
        let image = |source| -> Vec<f32> {
            let generator = Generator::of(&model, &Device::flex())
                .unwrap()
                .noise(source);
            let said = generator.describe();
            assert_eq!(said.contains("torch"), source != Source::Ours, "{said}");
            let images = generator.images(&[3]).unwrap();
            images.into_data().iter::<f32>().collect()
        };
        let images = Source::ALL.map(image);
        assert!(images[0] != images[1] && images[1] != images[2] && images[0] != images[2]);
    }
}
