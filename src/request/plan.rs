//! A request that has been checked, and how it is carried out.

use super::fault;
use super::setting::Request;
use crate::denoiser::{Condition, Contexts, Denoiser, FACTOR, Guided, Preconditioned, one_hot};
use crate::grid::SigmaGrid;
use crate::model::{Model, Sampling};
use crate::sampler::Sampler;
use crate::solver::Solver;
use crate::{Error, Images};
use burn::module::Module;
use burn::tensor::Device;
use std::cell::Cell;
use std::num::NonZeroUsize;

/// Images that are computed at once unless one says otherwise; latents take far more memory each.
const BATCH: usize = 32;
const BATCH_LATENT: usize = 1;

/// Everything that the images of a request have in common.
pub(super) struct Plan<'a> {
    model: &'a Model,
    denoiser: Preconditioned,
    request: &'a Request<'a>,
    /// Those of the request, with sizes where the network is told some.
    texts: Option<Contexts>,
    sampling: Sampling,
    solver: Box<dyn Solver>,
    grid: SigmaGrid,
    /// `[channels, height, width]` of what the network makes.
    shape: [usize; 3],
    device: Device,
    /// Network calls that are done, and all that there will be, counted for each image.
    done: Cell<usize>,
    total: usize,
}

impl<'a> Plan<'a> {
    /// Checks everything that does not depend on single seeds.
    pub(super) fn new(
        model: &'a Model,
        seeds: &[u64],
        request: &'a Request<'a>,
    ) -> Result<Self, Error> {
        if seeds.is_empty() {
            return Err(Error::invalid("number of seeds", 0, "at least 1"));
        }
        let card = &model.card;
        let sampling = request.sampling.as_ref().unwrap_or(&card.sampling).clone();
        sampling.check()?;
        if sampling.step_condition && !card.network.has_step_branch() {
            return Err(Error::Incompatible {
                first: "step-condition = true".into(),
                second: "a network without step branch".into(),
                remedy: "take the sampling of the model's own card".into(),
            });
        }
        let shape = request.shape.unwrap_or(card.network.image_shape());
        if !card.network.takes(shape) {
            let expected = "one that the network takes: as it was trained or, of latents, with sides that it can halve";
            return Err(Error::invalid("shape", format!("{shape:?}"), expected));
        }
        check_texts(model, request)?;
        check_guidance(model, request, sampling.guidance)?;
        model.classes_of(&[], request)?;
        let sized = |texts: &Contexts| {
            let texts = texts.clone();
            let texts = match &request.sizes {
                Some(sizes) if !texts.tells_sizes(&card.network) => {
                    texts.sized(&card.network, sizes)?
                }
                _ => texts,
            };
            let factor = request.autoencoder.map_or(FACTOR, |a| a.config().factor());
            texts.sized_as_whole(&card.network, shape, factor)
        };
        let texts = request.texts.map(sized).transpose()?;
        let devices = model.network.devices();
        let plan = Self {
            model,
            denoiser: model.denoiser(),
            request,
            texts,
            solver: sampling.solver.build()?,
            grid: sampling.grid()?,
            sampling,
            shape,
            device: devices.into_iter().next().unwrap_or_default(),
            done: Cell::new(0),
            total: 0,
        };
        let calls = plan.sampler(&plan.denoiser).evaluations();
        Ok(Self {
            total: calls.saturating_mul(seeds.len()),
            ..plan
        })
    }

    /// What the network makes of the seeds, batch by batch, each passed through `finish`.
    pub(super) fn batches(
        &self,
        seeds: &[u64],
        finish: impl Fn(&[u64], Images) -> Result<Images, Error>,
    ) -> Result<Vec<Images>, Error> {
        let usual = match self.model.card.is_latent() {
            true => BATCH_LATENT,
            false => BATCH,
        };
        let batch = self.request.batch.map_or(usual, NonZeroUsize::get);
        let batches = seeds.chunks(batch);
        let finished = batches.map(|seeds| finish(seeds, self.draw(seeds)?));
        finished.collect()
    }

    /// Finite images of some seeds.
    fn draw(&self, seeds: &[u64]) -> Result<Images, Error> {
        let (start, condition) = self.start(seeds)?;
        let stopped = Cell::new(false);
        let stop = || {
            let asked = self.request.stop.is_some_and(|stop| stop());
            stopped.set(stopped.get() || asked);
            stopped.get()
        };
        let called = || {
            self.done.set(self.done.get() + seeds.len());
            if let Some(progress) = self.request.progress {
                progress(self.done.get(), self.total);
            }
        };
        let denoiser = Watched {
            guided: self.guided(),
            stop: &stop,
            called: &called,
        };
        let images = self.sampler(&denoiser).sample(start, &condition);
        if stopped.get() {
            return Err(Error::Stopped);
        }
        // Once, at the end: a GPU need not wait for the host at each step.
        if fault::sound(&images) {
            return Ok(images);
        }
        let place = |first: u64| {
            let (start, condition) = self.start(&[first])?;
            let place = fault::place(&self.sampler(&self.guided()), start, &condition);
            // Another batch may be computed a little differently.
            Ok(place.unwrap_or_else(|| "though not when the first is drawn alone".into()))
        };
        let remedy = "the model's weights are broken, or its training ran away, or these levels and this solver are none for it";
        Err(fault::error(seeds, &images, place, remedy))
    }

    /// Noise of the largest level, and what the network is told.
    fn start(&self, seeds: &[u64]) -> Result<(Images, Condition), Error> {
        let classes = self.model.card.network.classes();
        let labels = self.model.classes_of(seeds, self.request)?;
        let labels = labels.map(|labels| one_hot(&labels, classes, &self.device));
        let condition = Condition {
            labels: labels.transpose()?,
            steps: self.sampling.told_steps(),
            ..Condition::default()
        };
        let condition = match &self.texts {
            Some(texts) => texts.tell(condition, seeds, &self.device)?,
            None => condition,
        };
        condition.check(&self.model.card.network, seeds.len())?;
        let noise = (self.request.noise).latents(seeds, self.shape, &self.device);
        Ok((noise.mul_scalar(self.grid.sigma_max()), condition))
    }

    fn guided(&self) -> Guided<&Preconditioned> {
        Guided {
            denoiser: &self.denoiser,
            weight: self.sampling.guidance,
        }
    }

    fn sampler<'b>(&'b self, denoiser: &'b dyn Denoiser) -> Sampler<'b> {
        Sampler {
            denoiser,
            solver: self.solver.as_ref(),
            grid: &self.grid,
            analytic_first_step: self.sampling.analytic_first_step,
            denoise_to_zero: self.request.denoise_to_zero,
        }
    }
}

/// Texts for the model that takes them, of its own text encoder.
fn check_texts(model: &Model, request: &Request<'_>) -> Result<(), Error> {
    let refuse = |first: String, second: String, remedy: &str| {
        Err(Error::Incompatible {
            first,
            second,
            remedy: remedy.into(),
        })
    };
    match (model.card.network.context_width(), request.texts) {
        (None, None) => Ok(()),
        (None, Some(_)) => refuse(
            "a request with texts".into(),
            "a model that takes no text".into(),
            "leave them out",
        ),
        (Some(_), None) => refuse(
            "a model that makes images of texts".into(),
            "a request without".into(),
            "say what to show in `Request::texts`; `import::Parts::embed` makes them",
        ),
        (Some(takes), Some(texts)) => match texts.dims() {
            [_, _, width] if width == takes => Ok(()),
            [_, _, width] => refuse(
                format!("texts whose tokens are {width} wide"),
                format!("a model that takes them {takes} wide"),
                "take the model's own text encoder",
            ),
        },
    }
}

/// Guidance needs something to follow and something to move away from.
fn check_guidance(model: &Model, request: &Request<'_>, weight: f64) -> Result<(), Error> {
    if weight == 1.0 || model.card.network.classes() > 0 {
        return Ok(());
    }
    let (second, remedy) = match request.texts {
        Some(texts) if texts.has_negative() => return Ok(()),
        Some(_) => (
            "texts without one to move away from",
            "embed them with the empty text, or with what not to show, as the negative one",
        ),
        None => (
            "a model that has neither texts nor classes to follow",
            "set it to 1",
        ),
    };
    Err(Error::Incompatible {
        first: format!("guidance = {weight}"),
        second: second.into(),
        remedy: remedy.into(),
    })
}

/// A model that tells of each call, when it is done, and calls no more once that is wanted.
struct Watched<'a, D> {
    guided: Guided<D>,
    stop: &'a dyn Fn() -> bool,
    called: &'a dyn Fn(),
}

impl<D: Denoiser> Denoiser for Watched<'_, D> {
    fn denoise(&self, noisy: Images, sigma: f64, condition: &Condition) -> Images {
        if (self.stop)() {
            // The rest of the path costs next to nothing, and nobody sees its end.
            return noisy;
        }
        let images = self.guided.denoise(noisy, sigma, condition);
        (self.called)();
        images
    }
}
