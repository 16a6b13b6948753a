//! `fewstep demo`: the whole method in a few minutes, without data.

use crate::bundle::asset::{Asset, FEATURES, STATISTICS, TEACHER, TEACHER_FIGURES};
use crate::context::Context;
use crate::measure::draw::{Together, draw, together};
use crate::measure::feature_set::check_shape;
use crate::measure::keep::Stage;
use crate::model::generate::Generator;
use crate::model::latent::Parts;
use crate::output::Outputs;
use crate::page::{self, Wish};
use crate::picture::sheet::{PREVIEW_SEEDS, sheet};
use crate::run::distillation::{Conduct, PRODUCT, Start};
use crate::run::drive::{Outcome, Tick};
use crate::run::folder::Policy;
use crate::run::recipe::RecipeText;
use crate::screen::progress::{duration, figure};
use crate::screen::say::say;
use crate::typed::whole;
use anyhow::Context as _;
use clap::Args;
use fewstep::adapter::read_student;
use fewstep::distill::Recipe;
use fewstep::import::open;
use fewstep::metric::{Features, Moments, frechet_distance};
use fewstep::model::write_atomically;
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const DEFAULT_FOLDER: &str = "runs/demo";
/// Seeds on which teacher and student are compared image by image.
const PAIRS: u64 = 100;

const EXAMPLES: &str = "\
Examples:
  fewstep demo
  fewstep demo --out runs/longer --trajectories 20000";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    /// Folder for everything
    #[arg(long, value_name = "DIR", default_value = DEFAULT_FOLDER)]
    out: PathBuf,
    /// Teacher trajectories to distil with [default: the recipe's]
    #[arg(long, value_name = "N", value_parser = whole::<u64>(1..=1_000_000_000_000))]
    trajectories: Option<u64>,
    /// Images to measure with
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = whole::<u64>(2..=10_000_000))]
    images: u64,
    /// Go on with an interrupted demo
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Throw away what is in the folder (always done in runs/demo)
    #[arg(long)]
    overwrite: bool,
    /// Another teacher; it needs --features and --reference of its images
    #[arg(long, value_name = "FILE", requires_all = ["features", "reference"])]
    teacher: Option<PathBuf>,
    /// Another feature network
    #[arg(long, value_name = "FILE")]
    features: Option<PathBuf>,
    /// Other statistics
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
}

/// How good one way of sampling is.
#[derive(Clone, Copy, Debug, Serialize)]
struct Row {
    /// Network calls an image.
    nfe: usize,
    /// Frechet distance to the reference.
    frechet: f64,
    /// Root mean square difference to the teacher's image of the same seed.
    paired: f64,
    images_per_second: f64,
    /// Images behind the Frechet distance.
    images: u64,
}

/// What the demo found.
#[derive(Clone, Copy, Debug, Serialize)]
struct Summary {
    teacher: Row,
    undistilled: Row,
    student: Row,
    seconds: f64,
    trajectories: u64,
    images: u64,
}

/// Runs the verb.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let mut outputs = Outputs::default();
    outputs.folder(&verb.out)?;
    let bench = Bench::open(verb, context)?;
    let mut recipe: Recipe = RecipeText::read(Path::new("demo"))?.resolve(&[])?;
    recipe.trajectories = verb.trajectories.unwrap_or(recipe.trajectories);
    let asset = Asset::find(verb.teacher.as_deref(), TEACHER)?;
    let (teacher, hash) = open(asset.path(), &context.device)?;
    let recipe = recipe.for_teacher(&teacher.card)?;
    let remedy = "name others with --features, and statistics by them with --reference";
    let texts = ["the teacher's pictures", "the features", remedy];
    check_shape(&bench.features, teacher.card.network.image_shape(), texts)?;
    let reporter = context.reporter;
    let count = recipe.trajectories;
    reporter.say(format!("distilling the teacher with {count} trajectories"));
    let start = Start {
        recipe: recipe.clone(),
        teacher: teacher.clone(),
        hash: hash.clone(),
        file: None,
        perceptual: None,
        parts: &Parts::default(),
        cache: None,
        path: &verb.out,
    };
    // Held until the table is written.
    let (outcome, folder) = start.run(verb.conduct(), context)?;
    if outcome != Outcome::Finished {
        return Ok(outcome.code());
    }
    reporter.say("measuring");
    let base = (&teacher, hash.as_str());
    let (student, _) = read_student(&verb.out.join(PRODUCT), base, &context.device)?;
    let device = &context.device;
    let [of_teacher, of_undistilled, of_student] = [
        Generator::of(&teacher, device)?,
        Generator::new(&teacher, recipe.sampling(), device)?,
        Generator::of(&student, device)?,
    ];
    let seeds: Vec<u64> = (0..verb.images.min(PAIRS)).collect();
    let pairs = together(
        &[&of_teacher, &of_undistilled, &of_student],
        &seeds,
        Stage::none(),
        reporter,
    )?;
    let teacher_row = match bench.stored(&hash, of_teacher.evaluations()) {
        Some((frechet, images)) => row(&of_teacher, frechet, &pairs[0], images),
        None => bench.row(&of_teacher, &pairs[0], verb, context)?,
    };
    let mut summary = Summary {
        teacher: teacher_row,
        undistilled: bench.row(&of_undistilled, &pairs[1], verb, context)?,
        student: bench.row(&of_student, &pairs[2], verb, context)?,
        seconds: 0.0,
        trajectories: student.card.trained_on,
        images: verb.images,
    };
    summary.seconds = folder.seconds_before + started.elapsed().as_secs_f64();
    // What was found first: writing it can still fail.
    print(&summary, &verb.out);
    let rows = [&of_teacher, &of_undistilled, &of_student].map(|g| g.images(&PREVIEW_SEEDS));
    let rows = rows.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let titles = [
        format!("teacher, {} evaluations", summary.teacher.nfe),
        format!(
            "teacher, {} evaluations, not distilled",
            summary.undistilled.nfe
        ),
        format!("student, {} evaluations", summary.student.nfe),
    ];
    sheet(&rows, &titles, &[])?.write_png(&verb.out.join("demo.png"), &[])?;
    let json = serde_json::to_string_pretty(&summary).context("cannot write the summary")?;
    write_atomically(&verb.out.join("summary.json"), json.as_bytes())?;
    let wish = Wish {
        teacher: verb.teacher.as_deref(),
        ..Wish::default()
    };
    let page = verb.out.join(page::FILE);
    page::write(std::slice::from_ref(&verb.out), &wish, &page, context)?;
    Ok(ExitCode::SUCCESS)
}

impl Verb {
    fn conduct(&self) -> Conduct<'_> {
        // What lies in the default folder was made by an earlier demo.
        let ours = self.out == Path::new(DEFAULT_FOLDER);
        let policy = Policy {
            resume: self.resume,
            overwrite: self.overwrite || (ours && !self.resume),
        };
        Conduct::plain(policy, Tick::Time(Duration::from_secs(30)))
    }
}

/// What to measure with.
struct Bench {
    features: Features,
    reference: Moments,
    /// Stored figures of the bundled teacher, which would take long to measure.
    figures: Option<Value>,
}

impl Bench {
    fn open(verb: &Verb, context: &Context) -> anyhow::Result<Self> {
        let features = Asset::find(verb.features.as_deref(), FEATURES)?;
        let reference = Asset::find(verb.reference.as_deref(), STATISTICS)?;
        let figures = Asset::find(None, TEACHER_FIGURES).ok();
        let figures = figures.and_then(|asset| fs_err::read_to_string(asset.path()).ok());
        Ok(Self {
            features: Features::read(features.path(), &context.device)?,
            reference: Moments::read(reference.path())?,
            figures: figures.and_then(|text| serde_json::from_str(&text).ok()),
        })
    }

    /// The stored Frechet distance and its number of images, if it is of this teacher, these features and as many
    /// evaluations.
    fn stored(&self, teacher: &str, evaluations: usize) -> Option<(f64, u64)> {
        let figures = self.figures.as_ref()?;
        let fits = figures["sha256"] == teacher
            && figures["features"] == self.features.hash.as_str()
            && figures["nfe"] == evaluations;
        fits.then(|| Some((figures["frechet"].as_f64()?, figures["images"].as_u64()?)))?
    }

    fn row(
        &self,
        generator: &Generator<'_>,
        pairs: &Together,
        verb: &Verb,
        context: &Context,
    ) -> anyhow::Result<Row> {
        let seeds: Vec<u64> = (0..verb.images).collect();
        let drawn = draw(generator, &seeds, &self.features, context.reporter)?;
        let frechet = frechet_distance(&drawn, &self.reference)?;
        Ok(row(generator, frechet, pairs, verb.images))
    }
}

fn row(generator: &Generator<'_>, frechet: f64, pairs: &Together, images: u64) -> Row {
    Row {
        nfe: generator.evaluations(),
        frechet,
        paired: pairs.distance.rms,
        images_per_second: pairs.rate,
        images,
    }
}

fn print(summary: &Summary, folder: &Path) {
    say!(
        "{:<24}{:>5}{:>12}{:>10}{:>12}{:>12}",
        "",
        "NFE",
        "Frechet",
        "images",
        "paired",
        "images/s"
    );
    for (name, row) in [
        ("teacher", &summary.teacher),
        ("teacher, undistilled", &summary.undistilled),
        ("student", &summary.student),
    ] {
        let (frechet, paired) = (figure(row.frechet), figure(row.paired));
        let rate = figure(row.images_per_second);
        say!(
            "{name:<24}{:>5}{frechet:>12}{:>10}{paired:>12}{rate:>12}",
            row.nfe,
            row.images
        );
    }
    let ratio = summary.undistilled.frechet / summary.student.frechet;
    say!("");
    say!(
        "The student's Frechet distance is {} times smaller than the undistilled teacher's.",
        figure(ratio)
    );
    say!(
        "{} trajectories, {}; picture, student and a page to look at (report.html) in {}",
        summary.trajectories,
        duration(summary.seconds),
        folder.display()
    );
}
