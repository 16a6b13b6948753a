//! A model file, as Python holds it.

use crate::error::raised;
use crate::work::run;
use burn::tensor::TensorData;
use fewstep::autoencoder::Autoencoder;
use fewstep::denoiser::{Condition, Contexts, Denoiser, one_hot};
use fewstep::import::{Parts, open};
use fewstep::model::Sampling;
use fewstep::noise::Source;
use fewstep::{Device, Error, Images, Request};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyByteArray;
use serde_json::Value;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Images, and the bytes of their numbers: f32, little end first.
type Numbers<'py> = (Bound<'py, PyByteArray>, Vec<usize>);

/// A model that was read from a file of any kind.
#[pyclass(frozen, module = "fewstep._native")]
pub struct Model {
    model: fewstep::model::Model,
    path: PathBuf,
    #[pyo3(get)]
    hash: String,
    /// Of a model of latents, once it was needed.
    autoencoder: OnceLock<Autoencoder>,
}

/// What is to be different from what the card says.
#[derive(Default)]
struct Asked {
    class: Option<usize>,
    sampling: Option<Sampling>,
    prompts: Option<(Vec<String>, Option<String>)>,
    batch: Option<NonZeroUsize>,
    noise: Source,
    latents: bool,
}

#[pymethods]
impl Model {
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let file = path.clone();
        let (model, hash) = run(py, None, move |_| open(&file, &Device::flex()))?;
        Ok(Self {
            model,
            path,
            hash,
            autoencoder: OnceLock::new(),
        })
    }

    /// The card, as JSON.
    #[getter]
    fn card(&self) -> PyResult<String> {
        let text = serde_json::to_string(&self.model.card);
        text.map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// `[channels, height, width]` of what the network makes.
    #[getter]
    fn shape(&self) -> [usize; 3] {
        self.model.card.network.image_shape()
    }

    /// Classes that the model knows.
    #[getter]
    fn classes(&self) -> usize {
        self.model.card.network.classes()
    }

    /// Whether the network makes latents.
    #[getter]
    fn latent(&self) -> bool {
        self.model.card.is_latent()
    }

    /// The number of a class that was given by its name or its number.
    fn class_of(&self, name: &str) -> PyResult<usize> {
        self.model.card.class(name).map_err(raised)
    }

    /// Network calls for an image, as the card says or with other settings.
    #[pyo3(signature = (nfe=None, sampling=None))]
    fn evaluations(&self, nfe: Option<usize>, sampling: Option<&str>) -> PyResult<usize> {
        let sampling = self.sampling(nfe, None, sampling)?;
        let sampling = sampling.as_ref().unwrap_or(&self.model.card.sampling);
        sampling.evaluations().map_err(raised)
    }

    /// Images of seeds.
    #[pyo3(signature = (seeds, *, label=None, nfe=None, guidance=None, sampling=None, prompts=None, negative=None, batch=None, noise="ours", latents=false, progress=None))]
    #[allow(clippy::too_many_arguments)]
    fn sample<'py>(
        &self,
        py: Python<'py>,
        seeds: Vec<u64>,
        label: Option<usize>,
        nfe: Option<usize>,
        guidance: Option<f64>,
        sampling: Option<&str>,
        prompts: Option<Vec<String>>,
        negative: Option<String>,
        batch: Option<usize>,
        noise: &str,
        latents: bool,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Numbers<'py>> {
        let noise: Source = serde_json::from_value(Value::from(noise)).map_err(|_| {
            raised(Error::invalid(
                "noise",
                noise,
                "ours, torch-cpu or torch-cuda",
            ))
        })?;
        let batch = match batch {
            Some(batch) => Some(
                NonZeroUsize::new(batch)
                    .ok_or_else(|| raised(Error::invalid("batch", batch, "at least 1")))?,
            ),
            None => None,
        };
        let asked = Asked {
            class: label,
            sampling: self.sampling(nfe, guidance, sampling)?,
            prompts: prompts.map(|prompts| (prompts, negative)),
            batch,
            noise,
            latents,
        };
        let drawn = run(py, progress, |watch| {
            let texts = self.texts(&asked)?;
            let told = |done, total| watch.set(done, total);
            let stopped = || watch.stopped();
            let mut request = Request {
                sampling: asked.sampling.clone(),
                noise: asked.noise,
                class: asked.class,
                texts: texts.as_ref(),
                batch: asked.batch,
                progress: Some(&told),
                stop: Some(&stopped),
                ..Request::default()
            };
            if asked.latents || !self.model.card.is_latent() {
                return self.model.latents(&seeds, &request);
            }
            request.autoencoder = Some(self.autoencoder()?);
            self.model.sample(&seeds, &request)
        })?;
        numbers(py, drawn)
    }

    /// What the model takes noisy images for.
    #[pyo3(signature = (bytes, shape, sigma, *, labels=None, nfe=None, prompts=None))]
    #[allow(clippy::too_many_arguments)]
    fn denoise<'py>(
        &self,
        py: Python<'py>,
        bytes: &[u8],
        shape: [usize; 4],
        sigma: f64,
        labels: Option<Vec<usize>>,
        nfe: Option<usize>,
        prompts: Option<Vec<String>>,
    ) -> PyResult<Numbers<'py>> {
        let takes = self.shape();
        if shape[0] == 0
            || shape[1..] != takes
                && !self
                    .model
                    .card
                    .network
                    .takes([shape[1], shape[2], shape[3]])
        {
            let expected = format!(
                "[images, {}, {}, {}], one image or more",
                takes[0], takes[1], takes[2]
            );
            return Err(raised(Error::invalid(
                "shape",
                format!("{shape:?}"),
                expected,
            )));
        }
        if !(sigma.is_finite() && sigma > 0.0) {
            return Err(raised(Error::invalid("sigma", sigma, "a positive number")));
        }
        let values: Vec<f32> = bytes
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
            .collect();
        let count = shape[0];
        let asked = Asked {
            sampling: self.sampling(nfe, None, None)?,
            prompts: prompts.map(|prompts| (prompts, None)),
            ..Asked::default()
        };
        let answer = run(py, None, |_| {
            let device = Device::flex();
            let card = &self.model.card;
            let sampling = asked.sampling.as_ref().unwrap_or(&card.sampling);
            let labels = labels.map(|labels| {
                let classes = card.network.classes();
                one_hot(&labels, classes, &device)
            });
            let condition = Condition {
                labels: labels.transpose()?,
                steps: sampling.told_steps(),
                ..Condition::default()
            };
            let condition = match self.texts(&asked)? {
                Some(texts) => {
                    let texts = texts.sized_as_whole(
                        &card.network,
                        [shape[1], shape[2], shape[3]],
                        FACTOR,
                    )?;
                    let each: Vec<u64> = (0..count as u64).collect();
                    texts.tell(condition, &each, &device)?
                }
                None => condition,
            };
            condition.check(&card.network, count)?;
            let noisy = Images::from_data(TensorData::new(values, shape), &device);
            Ok(self.model.denoiser().denoise(noisy, sigma, &condition))
        })?;
        numbers(py, answer)
    }
}

/// Pixels of a picture for one of its latents, on a side.
const FACTOR: usize = 8;

impl Model {
    /// The settings of the card with others in their place; nothing if there are none.
    fn sampling(
        &self,
        nfe: Option<usize>,
        guidance: Option<f64>,
        changes: Option<&str>,
    ) -> PyResult<Option<Sampling>> {
        if nfe.is_none() && guidance.is_none() && changes.is_none() {
            return Ok(None);
        }
        let card = &self.model.card;
        let mut sampling = match nfe {
            Some(nfe) => card.sampling_with(nfe).map_err(raised)?,
            None => card.sampling.clone(),
        };
        if let Some(changes) = changes {
            let wrong =
                |error: serde_json::Error| PyValueError::new_err(format!("sampling: {error}"));
            let mut whole = serde_json::to_value(&sampling).map_err(wrong)?;
            let changes: Value = serde_json::from_str(changes).map_err(wrong)?;
            let (Some(whole_map), Some(changes)) = (whole.as_object_mut(), changes.as_object())
            else {
                return Err(PyValueError::new_err(
                    "sampling: not a dictionary of settings",
                ));
            };
            whole_map.extend(changes.clone());
            sampling = serde_json::from_value(whole).map_err(wrong)?;
        }
        if let Some(guidance) = guidance {
            sampling.guidance = guidance;
        }
        sampling.check().map_err(raised)?;
        Ok(Some(sampling))
    }

    /// The texts that were asked for, embedded by the model's own text encoder, which is gone when this returns.
    fn texts(&self, asked: &Asked) -> Result<Option<Contexts>, Error> {
        let Some((prompts, negative)) = &asked.prompts else {
            return Ok(None);
        };
        let sampling = asked.sampling.as_ref().unwrap_or(&self.model.card.sampling);
        let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
        let guided = sampling.guidance != 1.0;
        let negative = guided.then(|| negative.as_deref().unwrap_or_default());
        let texts = Parts::of(&self.path)?.embed(&prompts, negative, &Device::flex())?;
        Ok(Some(texts))
    }

    /// What makes pictures of the model's latents.
    fn autoencoder(&self) -> Result<&Autoencoder, Error> {
        if let Some(read) = self.autoencoder.get() {
            return Ok(read);
        }
        let read = Parts::of(&self.path)?
            .autoencoder()?
            .load(&Device::flex())?;
        Ok(self.autoencoder.get_or_init(|| read))
    }
}

/// The numbers of images, in memory that Python owns.
fn numbers(py: Python<'_>, images: Images) -> PyResult<Numbers<'_>> {
    let shape = images.dims().to_vec();
    let data = images.into_data().convert::<f32>();
    Ok((PyByteArray::new(py, data.as_bytes()), shape))
}
