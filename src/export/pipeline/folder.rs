//! The folder as a whole.

use super::own::Biases;
use super::schedule::Schedule;
use super::written::Written;
use super::{base, index, own, page, retime, stock};
use crate::Error;
use crate::container::shard::ORIGINALS;
use crate::container::{Checkpoint, Scalar};
use crate::export::safetensors::{self, Entry, From, Texts};
use crate::export::{Export, Layout, diffusers, diffusers_settings};
use crate::file::{CARD, replace_folder, write_atomically};
use crate::import::part::UNCHANGED_SCALE;
use crate::import::{DIFFUSERS_FILE, DIFFUSERS_SETTINGS};
use crate::model::Card;
use crate::network::{LATENT_NAME, NetworkConfig};
use index::Index;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// What samples in the folder.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Sampler {
    /// Diffusers' own `EulerDiscreteScheduler`, for one number of calls.
    Stock(Schedule),
    /// That of our Python package: several numbers of calls, and what the step branch is worth for each, if the student has one.
    Own {
        /// One for each number of calls.
        schedules: Vec<Schedule>,
        /// By number of calls; empty for a network without the branch.
        biases: BTreeMap<usize, Biases>,
    },
    /// That of the base, for a model of many steps.
    Base,
}

/// A folder to be written.
#[derive(Debug)]
pub struct Pipeline<'a> {
    /// The U-Net, without a step branch.
    pub checkpoint: &'a Checkpoint,
    /// Its card.
    pub card: &'a Card,
    /// The folder whose other parts are taken.
    pub base: &'a Path,
    /// Whether files of the base that belong to no part of it come along.
    pub all: bool,
    /// f32, f16 or bf16; as in the U-Net's file if not given.
    pub scalar: Option<Scalar>,
    /// What samples.
    pub sampler: Sampler,
}

/// Has the weights that are written otherwise, as they were.
const BESIDE: &str = "fewstep.safetensors";
/// The scale that diffusers takes where none is said.
const USUAL_SCALE: f64 = 0.18215;

impl Pipeline<'_> {
    /// Writes the folder: it is there as a whole in the end, or not at all, and what was there before is replaced.
    ///
    /// # Errors
    /// [`Error::Incompatible`] for a network that diffusers has no names for, [`Error::Malformed`] for a base that is of another
    /// kind, [`Error::InvalidValue`] for numbers that the type does not hold, and [`Error::File`].
    pub fn write(&self, folder: &Path) -> Result<Written, Error> {
        let mut written = None;
        replace_folder(folder, &mut |fresh| {
            written = Some(self.fill(fresh, folder)?);
            Ok(())
        })?;
        written.ok_or_else(|| Error::invalid("folder", folder.display(), "written"))
    }

    fn fill(&self, fresh: &Path, folder: &Path) -> Result<Written, Error> {
        let network = &self.card.network;
        let settings = diffusers_settings(network)?;
        let index = Index::of(self.base, network.added().is_some())?;
        let export = Export {
            layout: Layout::Diffusers,
            scalar: self.scalar,
        };
        let mut entries = export.network(self.checkpoint, self.card)?;
        let widest = entries.iter().map(|entry| entry.scalar);
        let scalar = self.scalar.or(widest.max_by_key(|scalar| scalar.size()));
        let scalar = scalar.unwrap_or(Scalar::F32);
        for entry in &mut entries {
            entry.scalar = scalar;
        }
        let names = diffusers::names(network)?;
        let mut written = Written {
            pipeline: index.class().into(),
            scheduler: ["diffusers", "EulerDiscreteScheduler"].map(str::to_string),
            schedules: Vec::new(),
            scalar,
            told: None,
            unit: 1.0,
            guidance: self.card.sampling.guidance,
            attached: false,
        };
        let mut config = None;
        match &self.sampler {
            Sampler::Stock(schedule) => {
                let stock = stock::stock(schedule)?;
                written.schedules = vec![schedule.clone()];
                (written.told, written.unit) = (stock.told, stock.unit);
                config = Some(stock.config);
            }
            Sampler::Own { schedules, biases } => {
                let theirs = |(name, values): (&String, &Vec<f32>)| {
                    let name = names.get(name).unwrap_or(name);
                    (name.clone(), values.clone())
                };
                let of = |(calls, of): (&usize, &Biases)| (*calls, of.iter().map(theirs).collect());
                let biases: BTreeMap<usize, Biases> = biases.iter().map(of).collect();
                written.attached = !biases.is_empty();
                written.scheduler = own::CLASS.map(str::to_string);
                written.schedules.clone_from(schedules);
                config = Some(own::config(schedules, &biases));
            }
            Sampler::Base => {
                let said = index.scheduler();
                written.scheduler = said.unwrap_or(written.scheduler);
            }
        }
        let put = |name: &str, value: &Value| {
            let text = serde_json::to_string_pretty(value);
            let text = text.map_err(|e| Error::invalid(name, e, "representable as JSON"))?;
            write_atomically(&fresh.join(name), text.as_bytes())
        };
        let originals = self.rewrite(&mut entries, &written)?;
        for entry in &mut entries {
            if let Some(theirs) = names.get(&entry.name) {
                entry.name.clone_from(theirs);
            }
        }
        let unet = fresh.join("unet");
        let mut texts = Texts::from([
            (CARD.to_string(), self.card.json()?),
            safetensors::pytorch(),
        ]);
        if !originals.is_empty() {
            let named = originals.into_iter().map(|entry| Entry {
                name: names.get(&entry.name).cloned().unwrap_or(entry.name),
                ..entry
            });
            let path = unet.join(BESIDE);
            safetensors::write(self.checkpoint, named.collect(), &Texts::new(), &path)?;
            texts.insert(ORIGINALS.to_string(), BESIDE.to_string());
        }
        safetensors::write(self.checkpoint, entries, &texts, &unet.join(DIFFUSERS_FILE))?;
        put(
            &format!("unet/{DIFFUSERS_SETTINGS}"),
            &merged(
                read(&self.base.join("unet").join(DIFFUSERS_SETTINGS))?,
                settings,
            ),
        )?;
        base::parts((self.base, self.all), &index, scalar, fresh)?;
        if let Some(vae) = rescaled(read(&fresh.join("vae/config.json"))?, written.unit) {
            put("vae/config.json", &vae)?;
        }
        match config {
            Some(config) => put("scheduler/scheduler_config.json", &config)?,
            None => base::folder(&self.base.join("scheduler"), &fresh.join("scheduler"))?,
        }
        let [module, class] = &written.scheduler;
        put(index::NAME, &index.with([module, class]).json())?;
        let page = page::page(&written, self.card, folder);
        write_atomically(&fresh.join(page::NAME), page.as_bytes())?;
        Ok(written)
    }

    /// Writes what the scheduler's times and the unit of the latents make different, and returns it as it was.
    fn rewrite(&self, entries: &mut [Entry], written: &Written) -> Result<Vec<Entry>, Error> {
        let NetworkConfig::LatentUnet(config) = &self.card.network else {
            return Ok(Vec::new());
        };
        let mut originals = Vec::new();
        let mut change = |name: &str, of: &dyn Fn(Vec<f32>) -> Vec<f32>| -> Result<(), Error> {
            let name = format!("{LATENT_NAME}.{name}");
            let Some(entry) = entries.iter_mut().find(|entry| entry.name == name) else {
                return Ok(());
            };
            let From::File(stored) = &entry.from else {
                return Ok(());
            };
            let values = of(self.checkpoint.values(stored)?);
            originals.push(Entry {
                name,
                shape: entry.shape.clone(),
                scalar: entry.scalar,
                from: From::File(stored.clone()),
            });
            entry.from = From::Made(Box::new(move || Ok(values.clone())));
            Ok(())
        };
        if let (Some(told), [schedule]) = (&written.told, written.schedules.as_slice()) {
            let pairs = told.iter().copied().zip(schedule.times.iter().copied());
            let pairs: Vec<(f64, f64)> = pairs.collect();
            let channels = config.model_channels;
            change("time_embed.0.weight", &|values| {
                retime::retimed(&values, channels, &pairs)
            })?;
        }
        if written.unit != 1.0 {
            let times = |values: Vec<f32>, by: f64| -> Vec<f32> {
                let scaled = values.into_iter().map(|v| (f64::from(v) * by) as f32);
                scaled.collect()
            };
            let unit = written.unit;
            change("input_blocks.0.0.weight", &|values| {
                times(values, 1.0 / unit)
            })?;
            change("out.2.weight", &|values| times(values, unit))?;
            change("out.2.bias", &|values| times(values, unit))?;
        }
        Ok(originals)
    }
}

/// A table in a file; empty if there is none.
fn read(path: &Path) -> Result<Value, Error> {
    if !path.is_file() {
        return Ok(json!({}));
    }
    let text = std::fs::read(path).map_err(Error::file("read", path))?;
    let table: Value = serde_json::from_slice(&text)
        .map_err(|e| Error::malformed(path, "configuration", e.to_string()))?;
    match table.is_object() {
        true => Ok(table),
        false => Err(Error::malformed(path, "configuration", "it is no table")),
    }
}

/// What the base says of its U-Net besides (`upcast_attention`), under what is known of the student's.
fn merged(mut base: Value, student: Value) -> Value {
    if let (Some(base), Value::Object(student)) = (base.as_object_mut(), student) {
        base.extend(student);
        base.retain(|key, _| key != "_name_or_path");
    }
    base
}

/// The settings of an autoencoder of latents in another unit; `None` where nothing changes.
fn rescaled(mut settings: Value, unit: f64) -> Option<Value> {
    let was = settings[UNCHANGED_SCALE].as_f64();
    if was.is_none() && unit == 1.0 {
        return None;
    }
    let scale = was.or(settings["scaling_factor"].as_f64());
    let scale = scale.unwrap_or(USUAL_SCALE);
    settings["scaling_factor"] = json!(scale * unit);
    if let Some(table) = settings.as_object_mut() {
        match unit == 1.0 {
            true => table.remove(UNCHANGED_SCALE),
            false => table.insert(UNCHANGED_SCALE.into(), json!(scale)),
        };
    }
    Some(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_changed_once() {
        assert_eq!(rescaled(json!({"scaling_factor": 0.5}), 1.0), None);
        let once = rescaled(json!({"scaling_factor": 0.5}), 0.9).unwrap();
        assert_eq!(once["scaling_factor"], 0.45);
        let twice = rescaled(once, 0.8).unwrap();
        assert_eq!(twice["scaling_factor"], 0.4);
        let back = rescaled(twice, 1.0).unwrap();
        assert_eq!(back, json!({"scaling_factor": 0.5}));
        let usual = rescaled(json!({}), 0.5).unwrap();
        assert_eq!(usual["scaling_factor"], USUAL_SCALE / 2.0);
    }

    #[test]
    fn what_the_base_says_besides_stays() {
        let base = json!({"upcast_attention": true, "sample_size": 1, "_name_or_path": "x"});
        let both = merged(base, json!({"sample_size": 2}));
        assert_eq!(both, json!({"upcast_attention": true, "sample_size": 2}));
    }
}
