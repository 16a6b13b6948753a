//! `fewstep train` with a recipe for a feature network.

use crate::args::RunArgs;
use crate::device::Context;
use crate::failure::wrong;
use crate::folder::{Folder, default_folder, recipe_json};
use crate::progress::figure;
use crate::recipe::{Kind, Source, to_toml};
use crate::train::DataArgs;
use fewstep::data::{Dataset, Split};
use fewstep::metric::{ClassifierRecipe, FeatureCard, Features, accuracy, train_classifier};
use serde_json::json;
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
    let recipe: ClassifierRecipe = toml::Value::Table(sized.recipe.clone())
        .try_into()
        .map_err(|e| wrong(format!("recipe {}: {e}", source.name)))?;
    recipe.check()?;
    Ok((sized, recipe))
}

/// Trains the network in one go: it takes minutes, so there are no checkpoints.
pub fn run(
    source: &Source,
    data: &DataArgs,
    args: &RunArgs,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    if args.resume || args.stop_after.is_some() {
        let message =
            "a feature network is trained in one go: --resume and --stop-after do not apply";
        return Err(wrong(message));
    }
    let (sized, recipe) = read(source, &args.set)?;
    let text = to_toml(Kind::Features, &sized)?;
    let images = data.open(sized.size, sized.channels, Split::Train, context)?;
    if args.dry_run {
        println!("{}\n# steps: {}", text.trim_end(), recipe.steps(&images));
        return Ok(ExitCode::SUCCESS);
    }
    let json = recipe_json(&sized)?;
    let path = args
        .out
        .clone()
        .unwrap_or_else(|| default_folder(&source.name));
    let (folder, _) = Folder::open(&path, args.policy(), &json, PRODUCT)?;
    folder.write_recipe(&text)?;
    let network = fit(&recipe, &images, &folder, context)?;
    let test = data.open_test(sized.size, sized.channels, context)?;
    let right = test
        .map(|test| accuracy(&network, &test, &context.device))
        .transpose()?;
    let card = FeatureCard::new(recipe.network(&images), json, right);
    let product = folder.file(PRODUCT);
    Features::write(&network, &card, &product)?;
    if let Some(right) = right {
        println!("accuracy on the test images: {:.2} %", 100.0 * right);
    }
    println!("{}", product.display());
    Ok(ExitCode::SUCCESS)
}

fn fit(
    recipe: &ClassifierRecipe,
    images: &Dataset,
    folder: &Folder,
    context: &Context,
) -> anyhow::Result<fewstep::metric::FeatureNetwork> {
    let steps = recipe.steps(images);
    let mut bar = context.reporter.start("steps", 0, steps);
    let mut failed = None;
    let mut sum = 0.0;
    let network = train_classifier(recipe, images, &context.device, &mut |progress| {
        bar.set(
            progress.step,
            &format!("loss {}", figure(progress.loss.into())),
        );
        sum += f64::from(progress.loss);
        if progress.step % 100 == 0 {
            let line = json!({"round": progress.step, "loss": sum / 100.0});
            sum = 0.0;
            failed = failed.take().or(folder.append_metrics(&line).err());
        }
    })?;
    bar.finish();
    match failed {
        Some(error) => Err(error),
        None => Ok(network),
    }
}
