//! What is to be drawn, and how: pictures straight from the network, or latents first.

use super::album::{Album, Content};
use crate::context::Context;
use crate::group::Together;
use crate::model::generate::Generator;
use crate::model::latent::Texts;
use crate::model::source::ModelSource;
use crate::run::estimate::Need;
use crate::screen::signal;
use fewstep::Request;
use fewstep::import::AutoencoderFile;
use fewstep::model::{Card, Model, Sampling};
use fewstep::noise::Source;
use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::path::Path;

/// Images computed at once, of models that make no latents.
const BATCH: usize = 32;
/// Latents that are kept until the U-Net makes room for the autoencoder: who asks for thousands of pictures sees the first
/// ones soon, and loading both anew costs little beside so many.
const HELD: usize = 64;

/// What is to be drawn, and how.
pub struct Task<'a> {
    /// The model's file, for messages.
    pub file: &'a Path,
    /// Images computed at once, if that was said.
    pub batch: Option<NonZeroUsize>,
    /// The class of all images, if it is one.
    pub class: Option<usize>,
    /// Whether the network is called once more at the end.
    pub denoise_to_zero: bool,
    /// Where noise and classes come from.
    pub noise: Source,
    pub source: ModelSource,
    pub card: Card,
    pub sampling: Sampling,
    /// `[channels, height, width]` of what the network makes.
    pub shape: [usize; 3],
    pub texts: Option<Texts>,
    /// What makes pictures of latents, if they are wanted.
    pub autoencoder: Option<AutoencoderFile>,
    pub seeds: Vec<u64>,
}

impl Task<'_> {
    fn model(&self, batch: usize, context: &Context) -> anyhow::Result<Model> {
        // Each of a guided batch is computed twice.
        let batch = match self.sampling.guidance {
            1.0 => batch,
            _ => 2 * batch,
        };
        let need = Need::drawing(
            &self.card.network,
            self.source.precision()?,
            self.shape,
            batch,
        );
        need.check("lower --batch", context.ignore_memory, context.reporter)?;
        self.source.model(&context.device)
    }

    fn generator<'a>(
        &'a self,
        model: &'a Model,
        context: &Context,
    ) -> anyhow::Result<Generator<'a>> {
        let generator = Generator::new(model, self.sampling.clone(), &context.device)?
            .noise(self.noise)
            .class(self.class)?
            .denoise_to_zero(self.denoise_to_zero);
        Ok(generator.texts(self.texts.as_ref()).shape(self.shape))
    }

    /// Says how it samples.
    fn announce(&self, generator: &Generator<'_>, context: &Context) {
        let file = self.file.display();
        let how = generator.describe();
        context.reporter.say(format!("{file}: {how}"));
    }

    /// Texts for the files of some seeds.
    fn texts_of(&self, seeds: &[u64], classes: Option<&[usize]>) -> Vec<Vec<(&str, String)>> {
        let of = |(i, seed): (usize, &u64)| {
            let mut texts = vec![
                ("seed", seed.to_string()),
                ("noise", self.noise.to_string()),
            ];
            texts.extend(classes.map(|classes| ("class", classes[i].to_string())));
            let name = classes.and_then(|classes| self.card.class_name(classes[i]));
            texts.extend(name.map(|name| ("class-name", name.to_string())));
            if let Some(told) = &self.texts {
                texts.push(("prompt", told.of(*seed).to_string()));
                texts.extend(told.negative().map(|text| ("negative", text.to_string())));
            }
            if self.sampling.guidance != 1.0 {
                texts.push(("guidance", self.sampling.guidance.to_string()));
            }
            texts
        };
        seeds.iter().enumerate().map(of).collect()
    }

    /// The batches with a file that is not there. They are cut as if nothing were there: what an image is rounded to may
    /// depend on those beside it, and a call that goes on makes the same bytes as one that was never cut off. Of several
    /// processes each has some of them, whatever is there.
    fn batches(&self, album: &Album<'_>, usual: usize, together: &Together) -> Vec<&[u64]> {
        let batch = self.batch.map_or(usual, NonZeroUsize::get);
        let missing = |seeds: &&[u64]| seeds.iter().any(|seed| !album.has(*seed));
        let all = self.seeds.chunks(batch).enumerate();
        let own = all.filter(|(i, _)| i % together.size() == together.rank());
        own.map(|(_, seeds)| seeds).filter(missing).collect()
    }

    /// Pictures straight from the network.
    pub fn draw(&self, album: &mut Album<'_>, context: &Context) -> anyhow::Result<()> {
        let batches = self.batches(album, BATCH, &context.together);
        if batches.is_empty() {
            return Ok(());
        }
        let model = self.model(batches[0].len(), context)?;
        let generator = self.generator(&model, context)?;
        self.announce(&generator, context);
        signal::catch("batch")?;
        let missing: usize = batches.iter().map(|seeds| seeds.len()).sum();
        let total = match context.together.size() {
            1 => self.seeds.len(),
            // Its share.
            _ => album.len() + missing,
        };
        let total = total as u64;
        let mut progress = context.reporter.start("images", album.len() as u64, total);
        for seeds in batches {
            let images = generator.images(seeds)?;
            let classes = generator.classes(seeds)?;
            album.add(seeds, &self.texts_of(seeds, classes.as_deref()), images)?;
            progress.set(album.len() as u64, "");
        }
        progress.finish();
        Ok(())
    }

    /// Latents, and pictures of them once the network is gone. They are on the disk before the autoencoder comes: whatever
    /// ends the program then, the calls of the network are not lost.
    pub fn draw_latents(
        &self,
        album: &mut Album<'_>,
        content: Content,
        context: &Context,
    ) -> anyhow::Result<()> {
        let batches = self.batches(album, 1, &context.together);
        let held = match content {
            Content::Pictures => HELD.div_ceil(batches.first().map_or(1, |b| b.len())),
            // Nothing waits for an autoencoder.
            Content::Latents => usize::MAX,
        };
        let waits = |album: &Album<'_>, seed: &u64| album.has(*seed) || album.has_latents(*seed);
        let wanted = |album: &Album<'_>, seeds: &&[u64]| {
            content == Content::Latents || !seeds.iter().all(|seed| waits(album, seed))
        };
        let all = batches.iter().filter(|seeds| wanted(album, seeds));
        let all: u64 = all.map(|seeds| seeds.len() as u64).sum();
        signal::catch("batch")?;
        let mut calls = 0;
        for block in batches.chunks(held) {
            let to_draw = block.iter().filter(|seeds| wanted(album, seeds));
            let to_draw: Vec<_> = to_draw.copied().collect();
            if !to_draw.is_empty() {
                let model = self.model(to_draw[0].len(), context)?;
                let generator = self.generator(&model, context)?;
                if calls == 0 {
                    self.announce(&generator, context);
                }
                // A picture may take minutes: what is counted is the calls of the network for it.
                let each = generator.evaluations() as u64;
                let progress = context.reporter.start("network calls", calls, all * each);
                let progress = RefCell::new((progress, calls));
                for seeds in to_draw {
                    let latents = generator.latents(seeds, &|| {
                        let (progress, calls) = &mut *progress.borrow_mut();
                        *calls += seeds.len() as u64;
                        progress.set(*calls, "");
                    })?;
                    album.add_latents(seeds, &self.texts_of(seeds, None), latents)?;
                }
                let (progress, counted) = progress.into_inner();
                calls = counted;
                progress.finish();
            }
            if let Some(file) = &self.autoencoder {
                self.decode(file, &block.concat(), album, context)?;
            }
        }
        Ok(())
    }

    /// Pictures of latents that are on the disk.
    fn decode(
        &self,
        file: &AutoencoderFile,
        seeds: &[u64],
        album: &mut Album<'_>,
        context: &Context,
    ) -> anyhow::Result<()> {
        let device = &context.device;
        let autoencoder = file.load(device)?;
        let request = Request {
            autoencoder: Some(&autoencoder),
            ..Request::default()
        };
        let total = self.seeds.len() as u64;
        let mut progress = context
            .reporter
            .start("pictures", album.len() as u64, total);
        for seed in seeds {
            if album.has(*seed) {
                continue;
            }
            let seeds = [*seed];
            signal::check()?;
            let images = request.decode(&seeds, album.latents(*seed, device)?)?;
            album.add(&seeds, &self.texts_of(&seeds, None), images)?;
            progress.set(album.len() as u64, "");
        }
        progress.finish();
        Ok(())
    }
}
