//! `fewstep train` with a recipe for a feature network.

use crate::context::Context;
use crate::output::Outputs;
use crate::run::args::RunArgs;
use crate::run::dataset::{DataArgs, classes};
use crate::run::drive::{Job, Measure, Outcome, drive};
use crate::run::folder::{Folder, default_folder, recipe_json};
use crate::run::recipe::{Kind, RecipeText, settings, to_toml};
use crate::screen::failure::wrong;
use crate::screen::say::say;
use anyhow::Context as _;
use fewstep::data::{Dataset, Pictures, Plain, Split};
use fewstep::metric::{ClassifierRecipe, ClassifierTrainer, FeatureCard, Features, Task, accuracy};
use fewstep::model::State;
use fewstep::noise::{Domain, Stream};
use fewstep::{Device, Error};
use std::path::Path;
use std::process::ExitCode;

const PRODUCT: &str = "features.safetensors";

/// A recipe and the size that the images are brought to.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sized {
    /// Height and width in pixels; left out, it is found in the pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<usize>,
    /// 1 for grey, 3 for RGB; left out, it is found in the pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channels: Option<usize>,
    /// Whether pictures of any size are cut and scaled, here and wherever the features are used.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    any_size: bool,
    /// Share of the images that are kept back to see what was learnt, where there is no part `test`.
    #[serde(default, skip_serializing_if = "is_none")]
    held_out: f64,
    #[serde(flatten)]
    recipe: toml::Table,
}

// Serde passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_none(share: &f64) -> bool {
    *share == 0.0
}

/// Reads and checks a recipe.
pub fn read(source: &RecipeText, sets: &[String]) -> anyhow::Result<(Sized, ClassifierRecipe)> {
    let sized: Sized = source.resolve(sets)?;
    let recipe: ClassifierRecipe =
        settings(&sized.recipe).map_err(|e| wrong(format!("recipe {}: {e}", source.name)))?;
    recipe.check()?;
    if !(0.0..0.9).contains(&sized.held_out) {
        let share = sized.held_out;
        return Err(Error::invalid("held-out", share, "at least 0 and below 0.9").into());
    }
    if !sized.any_size && (sized.size.is_none() || sized.channels.is_none()) {
        let name = &source.name;
        return Err(wrong(format!(
            "recipe {name}: it needs `size` and `channels`, unless any-size = true"
        )));
    }
    Ok((sized, recipe))
}

/// Trains the network, or goes on with it.
pub fn run(
    source: &RecipeText,
    data: &DataArgs,
    args: &RunArgs,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let (sized, recipe) = read(source, &args.set)?;
    let (sized, size, channels) = fitting(sized, data)?;
    let data = &data.clone().resizing(sized.any_size);
    let text = to_toml(Kind::Features, &sized)?;
    let path = args
        .out
        .clone()
        .unwrap_or_else(|| default_folder(&source.name));
    let mut outputs = Outputs::default();
    if !args.dry_run {
        outputs.folder(&path)?;
    }
    let images = data.open(size, channels, Split::Train, context)?;
    let test = data.open_test(size, channels, context)?;
    let (images, test) = held_out(images, test, &sized, recipe.seed)?;
    if args.dry_run {
        say!("{}\n# classes: {}", text.trim_end(), classes(&images));
        say!("# task: {}", task_name(recipe.task.of(&images)));
        say!("# steps: {}", recipe.steps(&images));
        return Ok(ExitCode::SUCCESS);
    }
    let json = recipe_json(&sized)?;
    if args.restart_schedule {
        return Err(wrong(
            "--restart-schedule: the schedule of a feature network is made for all of its epochs; start anew with --overwrite",
        ));
    }
    let device = &context.device;
    let fresh = ClassifierTrainer::new(recipe.clone(), &images, device)?;
    let (folder, state) = Folder::open(&path, args.policy(), PRODUCT, context)?;
    let trainer = match &state {
        Some(state) => {
            folder.check_recipe(state, &json, &[])?;
            data.compare(&folder, state, context);
            ClassifierTrainer::resume(state, recipe, &images, device)
                .with_context(|| data.others(&folder))?
        }
        None => fresh,
    };
    folder.write_recipe(&text)?;
    let mut job = FeaturesJob {
        trainer,
        test,
        images,
        recipe: json,
        any_size: sized.any_size,
        device: device.clone(),
    };
    let outcome = drive(&mut job, &folder, args.options(), context)?;
    if outcome == Outcome::Finished {
        let product = folder.file(PRODUCT);
        if let Some(right) = Features::read(&product, device)?.card.accuracy {
            for line in job.learnt(right) {
                say!("{line}");
            }
        }
        say!("{}", product.display());
    }
    Ok(outcome.code())
}

/// What is learnt, for people.
fn task_name(task: Task) -> &'static str {
    match task {
        Task::Classes => "classes",
        _ => "by how many quarters each picture is turned",
    }
}

/// Pictures that are looked at for their size and colour.
const LOOKED_AT: usize = 256;
/// The largest size that is found.
const LARGEST: usize = 64;

/// Fills in the size and the channels: those of the pictures, where the recipe does not say.
fn fitting(mut sized: Sized, data: &DataArgs) -> anyhow::Result<(Sized, usize, usize)> {
    if let (Some(size), Some(channels)) = (sized.size, sized.channels) {
        return Ok((sized, size, channels));
    }
    let pictures = Pictures::open(&data.data, Split::Train)?;
    let step = pictures.len().div_ceil(LOOKED_AT);
    let some: Vec<usize> = (0..pictures.len()).step_by(step.max(1)).collect();
    let read: Vec<_> = pictures.read(&some).into_iter().flatten().collect();
    let mut sides: Vec<usize> = read.iter().map(|p| p.shape[1].min(p.shape[2])).collect();
    sides.sort_unstable();
    // Where none is readable, opening all of them says so.
    let usual = sides.get(sides.len() / 2).copied().unwrap_or(LARGEST);
    let coloured = read.iter().any(Plain::coloured);
    let size = sized.size.unwrap_or(usual.min(LARGEST).next_multiple_of(8));
    let channels = sized.channels.unwrap_or(if coloured { 3 } else { 1 });
    (sized.size, sized.channels) = (Some(size), Some(channels));
    Ok((sized, size, channels))
}

/// The images to learn from, and those to test with: a part of their own, or some that are kept back.
fn held_out(
    images: Dataset,
    test: Option<Dataset>,
    sized: &Sized,
    seed: u64,
) -> anyhow::Result<(Dataset, Option<Dataset>)> {
    let back = (sized.held_out * images.len() as f64).round() as usize;
    if test.is_some() || back == 0 || back >= images.len() {
        return Ok((images, test));
    }
    let mut order = Stream::keyed(seed, Domain::Metric, 0, 4, 0).permutation(images.len());
    let mut rest = order.split_off(back);
    order.sort_unstable();
    rest.sort_unstable();
    Ok((images.part(&rest)?, Some(images.part(&order)?)))
}

/// The training of a feature network; a round is a step.
struct FeaturesJob {
    trainer: ClassifierTrainer,
    images: Dataset,
    test: Option<Dataset>,
    /// The recipe with the images' size, for checkpoint and card.
    recipe: serde_json::Value,
    any_size: bool,
    device: Device,
}

impl FeaturesJob {
    /// How well the task was learnt: the share of right answers, and what it is worth.
    fn learnt(&self, right: f64) -> Vec<String> {
        let task = self.trainer.recipe().task.of(&self.images);
        let chance = 1.0 / task.answers(&self.images) as f64;
        let held = self.test.as_ref().map_or(0, Dataset::len);
        let [right, percent] = [right, chance].map(|share| 100.0 * share);
        let first = match task {
            Task::Classes => format!("accuracy on the test images: {right:.2} %"),
            _ => format!("turns told rightly of test images: {right:.2} %"),
        };
        let mut lines = vec![format!("{first} of {held} (chance {percent:.2} %)")];
        if right < percent + POOR * (100.0 - percent) {
            lines.push(
                "that is hardly better than chance: distances by these features say little more than those by random ones; train \
                 longer (--set images=N), on more pictures, or on pictures with classes"
                    .into(),
            );
        }
        lines
    }
}

/// Of the way from chance to perfect, what is hardly anything.
const POOR: f64 = 0.2;

impl Job for FeaturesJob {
    fn product(&self) -> &'static str {
        PRODUCT
    }

    fn unit(&self) -> &'static str {
        "images"
    }

    fn measure(&self) -> &'static str {
        "loss"
    }

    fn batch(&self) -> u64 {
        self.trainer.recipe().batch as u64
    }

    fn rounds(&self) -> u64 {
        self.trainer.steps_done()
    }

    fn total(&self) -> u64 {
        self.trainer.steps()
    }

    fn round(&mut self) -> Result<Measure, Error> {
        let step = self.trainer.step(&self.images)?;
        Ok(Measure {
            values: vec![step.loss.into()],
            learning_rate: step.learning_rate,
        })
    }

    fn state(&self) -> Result<State, Error> {
        Ok(self.trainer.state(self.recipe.clone()))
    }

    fn write(&self, path: &Path) -> Result<(), Error> {
        let network = self.trainer.network(&self.images);
        let test = self.test.as_ref();
        let right = test
            .map(|test| accuracy(&network, self.trainer.recipe().task, test, &self.device))
            .transpose()?;
        let config = self.trainer.recipe().network(&self.images);
        let mut card = FeatureCard::new(config, self.recipe.clone(), right);
        card.any_size = self.any_size;
        Features::write(&network, &card, path)
    }

    fn advice(&self) -> &'static str {
        "start anew with --overwrite --set learning-rate=RATE and a smaller rate"
    }

    /// There is nothing to see.
    fn preview(&mut self, _: &Path) -> anyhow::Result<()> {
        Ok(())
    }
}
