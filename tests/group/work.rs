//! What several do together: a short distillation, or a part of one.

use crate::{bytes, latent, state_of, student, together};
use burn::tensor::{Device, Tensor, TensorData};
use fewstep::Error;
use fewstep::denoiser::Contexts;
use fewstep::distill::{Distiller, Recipe, TrajectoryCache, TrajectorySource};
use fewstep::group::{Alone, Group};
use fewstep::model::Model;
use fewstep::noise::{Domain, Stream};
use std::path::Path;
use std::sync::Arc;

/// A distillation to be done by several.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    pub recipe: &'a Recipe,
    pub teacher: &'a (dyn Fn() -> Model + Sync),
    pub cache: Option<&'a Path>,
    /// The state to go on from.
    pub from: Option<&'a [u8]>,
    /// The round at whose end it stops.
    pub until: u64,
}

impl<'a> Work<'a> {
    pub fn new(recipe: &'a Recipe, teacher: &'a (dyn Fn() -> Model + Sync)) -> Self {
        Self {
            recipe,
            teacher,
            cache: None,
            from: None,
            until: 3,
        }
    }

    /// The bytes of the state of one process, and all distances.
    pub fn run(&self, group: Arc<dyn Group>) -> Result<(Vec<u8>, Vec<Vec<f64>>), Error> {
        let (device, teacher) = (Device::flex(), (self.teacher)());
        let recipe = self.recipe.for_teacher(&teacher.card)?;
        let mut source = TrajectorySource::new(&recipe, &teacher, &device)?;
        if teacher.card.network.context_width().is_some() {
            let [tokens, width] = latent::TEXT;
            let values = Stream::new(9, Domain::Test, 0).normals(5 * tokens * width);
            let texts = Tensor::from_data(TensorData::new(values, [5, tokens, width]), &device);
            source = source.with_contexts(Contexts::new(texts, None)?)?;
        }
        if let Some(folder) = self.cache {
            source = source.with_cache(TrajectoryCache::open(folder, "0123456789abcdef")?);
        }
        let source = source.with_group(Arc::clone(&group))?;
        let distiller = match self.from {
            Some(state) => Distiller::resume(&state_of(state), &teacher, "p".into(), &device)?,
            None => Distiller::new(recipe, &teacher, "p".into(), &device)?,
        };
        let mut distiller = distiller.with_group(group);
        let mut distances = Vec::new();
        while distiller.rounds() < self.until {
            distances.push(distiller.advance(&source)?.distances);
        }
        Ok((bytes(&distiller.state()?), distances))
    }

    /// Whether so many processes do as one does; returns the state.
    pub fn same(&self, sizes: &[usize]) -> Vec<u8> {
        let alone = self.run(Arc::new(Alone)).unwrap();
        for size in sizes {
            for (rank, found) in together(*size, |group| self.run(group).unwrap())
                .into_iter()
                .enumerate()
            {
                assert!(found == alone, "process {rank} of {size}");
            }
        }
        alone.0
    }
}

/// A teacher of three classes.
pub fn classes() -> Model {
    student::teacher(3)
}
