//! `fewstep train` with a recipe for a feature network.

use crate::context::Context;
use crate::output::Outputs;
use crate::run::args::RunArgs;
use crate::run::dataset::{DataArgs, classes};
use crate::run::drive::{Job, Measure, Outcome, drive};
use crate::run::folder::{Folder, default_folder, recipe_json};
use crate::run::recipe::{Kind, Source, settings, to_toml};
use crate::screen::failure::wrong;
use crate::screen::say::say;
use anyhow::Context as _;
use fewstep::data::{Dataset, Split};
use fewstep::metric::{ClassifierRecipe, ClassifierTrainer, FeatureCard, Features, accuracy};
use fewstep::model::State;
use fewstep::{Device, Error};
use std::path::Path;
use std::process::ExitCode;

const PRODUCT: &str = "features.safetensors";

/// A recipe and the size that the images are brought to.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sized {
    /// Height and width in pixels.
    size: usize,
    /// 1 for grey, 3 for RGB.
    channels: usize,
    #[serde(flatten)]
    recipe: toml::Table,
}

/// Reads and checks a recipe.
pub fn read(source: &Source, sets: &[String]) -> anyhow::Result<(Sized, ClassifierRecipe)> {
    let sized: Sized = source.resolve(sets)?;
    let recipe: ClassifierRecipe =
        settings(&sized.recipe).map_err(|e| wrong(format!("recipe {}: {e}", source.name)))?;
    recipe.check()?;
    Ok((sized, recipe))
}

/// Trains the network, or goes on with it.
pub fn run(
    source: &Source,
    data: &DataArgs,
    args: &RunArgs,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let (sized, recipe) = read(source, &args.set)?;
    let text = to_toml(Kind::Features, &sized)?;
    let path = args
        .out
        .clone()
        .unwrap_or_else(|| default_folder(&source.name));
    let mut outputs = Outputs::default();
    if !args.dry_run {
        outputs.folder(&path)?;
    }
    let images = data.open(sized.size, sized.channels, Split::Train, context)?;
    if args.dry_run {
        say!("{}\n# classes: {}", text.trim_end(), classes(&images));
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
    let reporter = context.reporter;
    let (folder, state) = Folder::open(&path, args.policy(), PRODUCT, reporter)?;
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
        test: data.open_test(sized.size, sized.channels, context)?,
        images,
        recipe: json,
        device: device.clone(),
    };
    let outcome = drive(&mut job, &folder, args.options(), reporter)?;
    if outcome == Outcome::Finished {
        let product = folder.file(PRODUCT);
        if let Some(right) = Features::read(&product, device)?.card.accuracy {
            say!("accuracy on the test images: {:.2} %", 100.0 * right);
        }
        say!("{}", product.display());
    }
    Ok(outcome.code())
}

/// The training of a feature network; a round is a step.
struct FeaturesJob {
    trainer: ClassifierTrainer,
    images: Dataset,
    test: Option<Dataset>,
    /// The recipe with the images' size, for checkpoint and card.
    recipe: serde_json::Value,
    device: Device,
}

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
        let network = self.trainer.network();
        let test = self.test.as_ref();
        let right = test
            .map(|test| accuracy(&network, test, &self.device))
            .transpose()?;
        let config = self.trainer.recipe().network(&self.images);
        let card = FeatureCard::new(config, self.recipe.clone(), right);
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
