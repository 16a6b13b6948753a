//! Images from a model, one for each seed.

use crate::failure::wrong;
use crate::levels::Levels;
use crate::recipe::value;
use burn::tensor::Tensor;
use fewstep::checkpoint::{Kind, Model, Sampling};
use fewstep::denoiser::{Condition, one_hot};
use fewstep::grid::SigmaGrid;
use fewstep::noise::Source;
use fewstep::sampler::Sampler;
use fewstep::solver::{Solver, SolverConfig};
use fewstep::{Device, Images};

/// Flags that change how a model is sampled.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct SamplingArgs {
    /// Network calls an image: for a student, one of the numbers that it was distilled for
    #[arg(long, value_name = "N", conflicts_with = "steps")]
    pub nfe: Option<usize>,
    /// Number of steps, for a teacher
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// Noise levels, for a teacher: a list such as 80,3.1,0.006, or a file that `fewstep schedule` wrote
    #[arg(long, value_name = "LEVELS", conflicts_with = "steps")]
    pub levels: Option<Levels>,
    /// Solver, for a teacher: euler, heun, dpm-solver-2, ipndm, ipndm-v, deis, unipc or dpm-solver-pp, with its order
    /// after a colon and other settings after commas, such as unipc:2,prediction=noise
    #[arg(long, value_name = "NAME[:ORDER]")]
    pub solver: Option<String>,
    /// Whether the first step is taken without calling the network
    #[arg(long, value_name = "BOOL")]
    pub analytic_first_step: Option<bool>,
    /// Whose noise and classes the seeds stand for: ours, torch-cpu or torch-cuda (PyTorch's, as EDM and SFD seed it)
    #[arg(long, value_name = "SOURCE", default_value_t)]
    pub noise: Source,
    /// Let --steps, --levels, --solver and --analytic-first-step change a student too, away from what it was distilled for
    #[arg(long = "override")]
    pub force: bool,
}

impl SamplingArgs {
    /// What the card says, with the flags applied.
    pub fn apply(&self, model: &Model) -> anyhow::Result<Sampling> {
        let mut sampling = match self.nfe {
            Some(evaluations) => model.card.sampling_with(evaluations)?,
            None => model.card.sampling.clone(),
        };
        let given = [
            (self.steps.is_some(), "--steps"),
            (self.levels.is_some(), "--levels"),
            (self.solver.is_some(), "--solver"),
            (self.analytic_first_step.is_some(), "--analytic-first-step"),
        ];
        if let Some((_, flag)) = given.iter().find(|(given, _)| *given)
            && model.card.kind == Kind::Student
            && !self.force
        {
            return Err(wrong(format!(
                "{flag} does not go with a student, which was distilled for {} steps of {}; add --override if you \
                 mean it",
                sampling.steps, sampling.solver
            )));
        }
        sampling.steps = self.steps.unwrap_or(sampling.steps);
        if let Some(levels) = &self.levels {
            sampling.steps = levels.grid.steps();
            sampling.sigma_max = levels.grid.sigma_max();
            sampling.sigma_min = levels.grid.sigma_min();
            sampling.spacing = levels.spacing.clone();
        }
        sampling.analytic_first_step = self
            .analytic_first_step
            .unwrap_or(sampling.analytic_first_step);
        if let Some(name) = &self.solver {
            sampling.solver = solver(name)?;
        }
        sampling.check()?;
        Ok(sampling)
    }
}

/// A solver as typed: `heun`, `dpm-solver-pp:2`, `unipc:3,variant=bh1`.
pub fn solver(text: &str) -> anyhow::Result<SolverConfig> {
    let refuse = |reason: &str| wrong(format!("--solver {text}: {reason}"));
    let mut parts = text.split(',');
    let first = parts.next().unwrap_or_default();
    let (name, order) = match first.split_once(':') {
        Some((name, order)) => (name, Some(order)),
        None => (first, None),
    };
    let mut table = toml::Table::new();
    table.insert("kind".into(), name.into());
    let settings = parts.map(|part| part.split_once('=').ok_or(part));
    for setting in order
        .map(|order| Ok(("order", order)))
        .into_iter()
        .chain(settings)
    {
        let (key, text) =
            setting.map_err(|part| refuse(&format!("`{part}` is not of the form key=value")))?;
        let value = value(text).ok_or_else(|| refuse(&format!("`{text}` is not a value")))?;
        table.insert(key.into(), value);
    }
    let config = toml::Value::Table(table).try_into();
    config.map_err(|e: toml::de::Error| refuse(e.message()))
}

/// Draws images from a model.
pub struct Generator<'a> {
    model: &'a Model,
    solver: Box<dyn Solver>,
    grid: SigmaGrid,
    sampling: Sampling,
    noise: Source,
    class: Option<usize>,
    denoise_to_zero: bool,
    device: Device,
}

impl<'a> Generator<'a> {
    /// Checks that sampling and class go with the model.
    pub fn new(model: &'a Model, sampling: Sampling, device: &Device) -> anyhow::Result<Self> {
        sampling.check()?;
        if model.card.network.context_width().is_some() {
            return Err(wrong(
                "this model makes images of texts, which this version cannot give it yet; use the library",
            ));
        }
        Ok(Self {
            model,
            solver: sampling.solver.build()?,
            grid: sampling.grid()?,
            sampling,
            noise: Source::default(),
            class: None,
            denoise_to_zero: false,
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

    /// Calls the network once more at the end.
    pub fn denoise_to_zero(mut self, on: bool) -> Self {
        self.denoise_to_zero = on;
        self
    }

    /// Calls of the network for one image.
    pub fn evaluations(&self) -> usize {
        self.sampler().evaluations()
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
        let (solver, steps) = (self.sampling.solver, self.sampling.steps);
        format!(
            "{} evaluations ({solver}, {steps} steps{analytic}){noise}",
            self.evaluations()
        )
    }

    /// The class of each seed's image.
    pub fn classes(&self, seeds: &[u64]) -> Option<Vec<usize>> {
        match (self.class, self.model.card.network.classes()) {
            (_, 0) => None,
            (Some(class), _) => Some(vec![class; seeds.len()]),
            (None, classes) => {
                let shape = self.model.card.network.image_shape();
                Some(self.noise.labels(seeds, shape, classes))
            }
        }
    }

    /// The images of some seeds, `[seeds, channels, height, width]` in about [-1, 1].
    pub fn images(&self, seeds: &[u64]) -> Images {
        let network = &self.model.card.network;
        let shape = network.image_shape();
        let noise = self.noise.latents(seeds, shape, &self.device);
        let labels = self.classes(seeds);
        let condition = Condition {
            labels: labels.map(|labels| one_hot(&labels, network.classes(), &self.device)),
            steps: self.sampling.told_steps(),
            ..Condition::default()
        };
        let start = noise.mul_scalar(self.grid.sigma_max());
        self.sampler().sample(start, &condition)
    }

    /// The same, at most `most` of them in memory at once.
    pub fn images_in_parts(&self, seeds: &[u64], most: usize) -> Images {
        let parts = seeds.chunks(most.max(1)).map(|seeds| self.images(seeds));
        Tensor::cat(parts.collect(), 0)
    }

    fn sampler(&self) -> Sampler<'_> {
        Sampler {
            denoiser: &self.model.denoiser,
            solver: self.solver.as_ref(),
            grid: &self.grid,
            analytic_first_step: self.sampling.analytic_first_step,
            denoise_to_zero: self.denoise_to_zero,
        }
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
            let one = |seeds: &[u64]| generator.images(seeds).into_data().iter::<f32>().collect();
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
            generator.images(&[3]).into_data().iter::<f32>().collect()
        };
        let images = Source::ALL.map(image);
        assert!(images[0] != images[1] && images[1] != images[2] && images[0] != images[2]);
    }

    #[test]
    fn solvers_are_typed_with_their_order() {
        let name = |text| solver(text).unwrap().to_string();
        assert_eq!(name("euler"), "Euler");
        assert_eq!(name("dpm-solver-pp"), "DPM-Solver++(3M)");
        assert_eq!(name("dpm-solver++:2"), "DPM-Solver++(2M)");
        assert_eq!(name("ipndm-v:3"), "iPNDM-v(3)");
        assert_eq!(name("deis:3,time=rhoab"), "DEIS(3, rhoab)");
        assert_eq!(
            name("unipc:2,variant=bh1,lower-order-final=false"),
            "UniPC(2, bh1, full order to the end)"
        );
        for bad in [
            "rk4",
            "euler:2",
            "ipndm:x",
            "a\"b",
            "deis,time",
            "deis,time=[",
            "unipc,variant=bh3",
            "",
        ] {
            let error = solver(bad).unwrap_err().to_string();
            assert!(error.contains(bad) && !error.contains('\n'), "{error}");
        }
        assert!(solver("dpm-solver-pp:4").unwrap().build().is_err());
    }
}
