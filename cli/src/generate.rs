//! Images from a model, one for each seed.

use crate::failure::wrong;
use crate::latent::{Texts, decode, is_latent, takes_text};
use crate::signal;
use anyhow::bail;
use burn::tensor::Tensor;
use fewstep::autoencoder::Autoencoder;
use fewstep::checkpoint::{Model, Sampling};
use fewstep::denoiser::{Condition, Denoiser, Guided, Preconditioned, one_hot};
use fewstep::grid::SigmaGrid;
use fewstep::noise::Source;
use fewstep::sampler::Sampler;
use fewstep::solver::Solver;
use fewstep::{Device, Images};

/// Draws images from a model.
pub struct Generator<'a> {
    model: &'a Model,
    guided: Guided<&'a Preconditioned>,
    solver: Box<dyn Solver>,
    grid: SigmaGrid,
    sampling: Sampling,
    noise: Source,
    class: Option<usize>,
    denoise_to_zero: bool,
    texts: Option<&'a Texts>,
    autoencoder: Option<&'a Autoencoder>,
    /// `[channels, height, width]` of what the network makes.
    shape: [usize; 3],
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
            guided: Guided {
                denoiser: &model.denoiser,
                weight: sampling.guidance,
            },
            solver: sampling.solver.build()?,
            grid: sampling.grid()?,
            sampling,
            noise: Source::default(),
            class: None,
            denoise_to_zero: false,
            texts: None,
            autoencoder: None,
            shape: model.card.network.image_shape(),
            device: device.clone(),
        })
    }

    /// As the card says.
    pub fn of(model: &'a Model, device: &Device) -> anyhow::Result<Self> {
        Self::new(model, model.card.sampling.clone(), device)
    }

    /// Takes noise and classes from this source.
    pub fn noise(mut self, source: Source) -> Self {
        self.noise = source;
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
        self.class = class;
        Ok(self)
    }

    /// Tells the model these texts; one that takes no text is told none.
    pub fn texts(mut self, texts: Option<&'a Texts>) -> Self {
        self.texts = texts;
        self
    }

    /// Makes pictures of latents.
    pub fn autoencoder(mut self, autoencoder: Option<&'a Autoencoder>) -> Self {
        self.autoencoder = autoencoder;
        self
    }

    /// Makes images, or latents, of another shape than the model was trained for, `[channels, height, width]`.
    pub fn shape(mut self, shape: [usize; 3]) -> Self {
        self.shape = shape;
        self
    }

    /// How many images to compute at once.
    pub fn batch(&self) -> usize {
        match is_latent(&self.model.card) {
            true => BATCH_LATENT,
            false => BATCH,
        }
    }

    /// Calls the network once more at the end.
    pub fn denoise_to_zero(mut self, on: bool) -> Self {
        self.denoise_to_zero = on;
        self
    }

    /// Calls of the network for one image.
    pub fn evaluations(&self) -> usize {
        self.sampler(&self.guided).evaluations()
    }

    /// How it samples, for people.
    pub fn describe(&self) -> String {
        let analytic = if self.sampling.analytic_first_step {
            ", the first analytical"
        } else {
            ""
        };
        let noise = match self.noise {
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
    pub fn classes(&self, seeds: &[u64]) -> Option<Vec<usize>> {
        match (self.class, self.model.card.network.classes()) {
            (_, 0) => None,
            (Some(class), _) => Some(vec![class; seeds.len()]),
            (None, classes) => Some(self.noise.labels(seeds, self.shape, classes)),
        }
    }

    /// The images of some seeds, `[seeds, channels, height, width]` in about [-1, 1].
    pub fn images(&self, seeds: &[u64]) -> anyhow::Result<Images> {
        let images = self.latents(seeds, &|| ())?;
        match (self.autoencoder, is_latent(&self.model.card)) {
            (Some(autoencoder), _) => Ok(decode(autoencoder, images)?),
            (None, false) => Ok(images),
            (None, true) => {
                bail!("this model makes latents; without an autoencoder there are no pictures")
            }
        }
    }

    /// What the network makes of some seeds, `[seeds, channels, height, width]`; `called` is told of each call of it.
    pub fn latents(&self, seeds: &[u64], called: &dyn Fn()) -> anyhow::Result<Images> {
        // Whoever draws does so batch by batch.
        signal::check()?;
        let network = &self.model.card.network;
        let noise = self.noise.latents(seeds, self.shape, &self.device);
        let labels = self.classes(seeds);
        let condition = Condition {
            labels: labels.map(|labels| one_hot(&labels, network.classes(), &self.device)),
            steps: self.sampling.told_steps(),
            ..Condition::default()
        };
        let condition = match (self.texts, takes_text(&self.model.card)) {
            (Some(texts), true) => texts.tell(seeds, condition, &self.device)?,
            (None, true) => bail!("this model makes images of texts, and was given none"),
            (_, false) => condition,
        };
        let start = noise.mul_scalar(self.grid.sigma_max());
        let watched = Watched {
            denoiser: &self.guided,
            called,
        };
        Ok(self.sampler(&watched).sample(start, &condition))
    }

    /// The same, at most `most` of them in memory at once.
    pub fn images_in_parts(&self, seeds: &[u64], most: usize) -> anyhow::Result<Images> {
        let parts = seeds.chunks(most.max(1)).map(|seeds| self.images(seeds));
        Ok(Tensor::cat(parts.collect::<Result<_, _>>()?, 0))
    }

    fn sampler<'b>(&'b self, denoiser: &'b dyn Denoiser) -> Sampler<'b> {
        Sampler {
            denoiser,
            solver: self.solver.as_ref(),
            grid: &self.grid,
            analytic_first_step: self.sampling.analytic_first_step,
            denoise_to_zero: self.denoise_to_zero,
        }
    }
}

/// A denoiser that tells of each call, when it is done.
struct Watched<'a> {
    denoiser: &'a dyn Denoiser,
    called: &'a dyn Fn(),
}

impl Denoiser for Watched<'_> {
    fn denoise(&self, noisy: Images, sigma: f64, condition: &Condition) -> Images {
        let images = self.denoiser.denoise(noisy, sigma, condition);
        (self.called)();
        images
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep::teacher::Trainer;

    /// A network with random weights.
    fn model() -> Model {
        let recipe = include_str!("../tests/support/teacher.toml");
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
        let generator = Generator::of(&model, &Device::flex()).unwrap();
        let seeds: Vec<u64> = (0..64).collect();
        let draw = |batch: usize, threads: usize| -> Vec<f32> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let one = |seeds: &[u64]| {
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
            let generator = Generator::of(&model, &Device::flex())
                .unwrap()
                .noise(source);
            let draw = |batch: usize, threads: usize| -> (Vec<u32>, Vec<usize>) {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                let one = |seeds: &[u64]| {
                    let noise = source.latents(seeds, shape, &Device::flex()).into_data();
                    let bits: Vec<u32> = noise.iter::<f32>().map(f32::to_bits).collect();
                    (bits, generator.classes(seeds).unwrap())
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
