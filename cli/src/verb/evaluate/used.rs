//! Which network of features is used, and where its weights are.

use crate::bundle::asset::{Asset, FEATURES};
use crate::context::Context;
use crate::measure::feature_set::check_shape;
use crate::screen::failure::wrong;
use clap::{Args, ValueEnum};
use fewstep::feature::inception::{Inception, Resize};
use fewstep::metric::{Extract, Features, Moments};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// The name that stands for the network of published distances.
const INCEPTION: &str = "inception";
/// What `fewstep fetch inception` gets.
const FETCHED: &str = "weights/pt_inception-2015-12-05-6726825d.pth";

#[derive(Args, Clone, Debug)]
pub struct FeatureArgs {
    /// The network whose features are compared: a file that `fewstep train` made, or `inception` for that of published
    /// distances [default: the bundled one for Fashion-MNIST]
    #[arg(long, value_name = "FILE|inception")]
    pub features: Option<PathBuf>,
    /// The weights of --features inception, pt_inception-2015-12-05-6726825d.pth [default: what `fewstep fetch inception` got]
    #[arg(long, value_name = "FILE")]
    pub inception: Option<PathBuf>,
    /// How --features inception resizes pictures: as TensorFlow did, which EDM, SFD and torch-fidelity report, or as
    /// pytorch-fid [default: tensorflow]
    #[arg(long, value_name = "tensorflow|bilinear")]
    pub features_resize: Option<Rule>,
}

/// A rule by which pictures are resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rule {
    /// That of TensorFlow 1
    Tensorflow,
    /// Bilinear, centres of pixels meet
    Bilinear,
}

/// A network of features, and what it is called.
pub struct Used {
    network: Box<dyn Extract>,
    name: String,
    resize: Option<Resize>,
}

impl FeatureArgs {
    /// Reads the network that was named, or the bundled one.
    pub fn read(&self, context: &Context) -> anyhow::Result<Used> {
        let is_inception = self.features.as_deref() == Some(Path::new(INCEPTION));
        if is_inception {
            return self.read_inception(context);
        }
        for (flag, given) in [
            ("--inception", self.inception.is_some()),
            ("--features-resize", self.features_resize.is_some()),
        ] {
            if given {
                return Err(wrong(format!("{flag} is for --features inception")));
            }
        }
        if let Some(path) = self.features.as_deref().filter(|path| is_pickle(path)) {
            return Err(wrong(format!(
                "--features {}: a pickle is not read as features; {PROGRAM}",
                path.display()
            )));
        }
        let asset = Asset::find(self.features.as_deref(), FEATURES)?;
        let name = match &self.features {
            Some(path) => path.display().to_string(),
            None => format!("{FEATURES}, bundled"),
        };
        Ok(Used {
            network: Box::new(Features::read(asset.path(), &context.device)?),
            name,
            resize: None,
        })
    }

    /// Where the weights of Inception are, or should be.
    pub fn weights(&self) -> PathBuf {
        self.inception.clone().unwrap_or(PathBuf::from(FETCHED))
    }

    fn read_inception(&self, context: &Context) -> anyhow::Result<Used> {
        let path = self.weights();
        if !path.is_file() {
            let path = path.display();
            return Err(wrong(format!(
                "there are no Inception weights at {path}: `fewstep fetch inception` gets them, or name them with --inception \
                 (pt_inception-2015-12-05-6726825d.pth of pytorch-fid or torch-fidelity)"
            )));
        }
        let resize = match self.features_resize {
            Some(Rule::Bilinear) => Resize::Bilinear,
            _ => Resize::Tensorflow,
        };
        let network = Inception::read(&path, resize, &context.device)
            .map_err(|error| program(&path, error))?;
        Ok(Used {
            network: Box::new(network),
            name: format!("inception, {}", path.display()),
            resize: Some(resize),
        })
    }
}

/// What to do where the features at hand do not fit the pictures.
pub const REMEDY: &str = "train features on your own pictures, of any size and colour and with classes or without (`fewstep train \
                          own-features --data PICTURES --out runs/features`), and name runs/features/features.safetensors with \
                          --features; or take those of published figures (`fewstep fetch inception`, then --features \
                          inception); or compare two models by pixels, with --paired alone";

/// What to say of NVIDIA's file of the same network.
const PROGRAM: &str = "NVIDIA's inception-v3-2015-12-05.pkl is a program (TorchScript) inside a pickle, which is not executed here; \
                       the same weights are in pt_inception-2015-12-05-6726825d.pth: `fewstep fetch inception` gets it, and \
                       --features inception takes it";

fn is_pickle(path: &Path) -> bool {
    let ends = ["pkl", "pickle"];
    path.extension()
        .is_some_and(|e| ends.iter().any(|end| e.eq_ignore_ascii_case(end)))
}

/// Says of a pickle, or of a program, what is to be given in its place.
fn program(path: &Path, error: fewstep::Error) -> anyhow::Error {
    let text = error.to_string();
    match is_pickle(path) || text.contains("TorchScript") {
        true => wrong(format!("{text}. {PROGRAM}")),
        false => error.into(),
    }
}

impl Used {
    /// The network.
    pub fn network(&self) -> &dyn Extract {
        self.network.as_ref()
    }

    /// Whether it is the network of published figures.
    pub fn is_published(&self) -> bool {
        self.resize.is_some()
    }

    /// Refuses pictures, `[channels, height, width]`, that it was not made for.
    pub fn check(&self, file: &Path, pictures: [usize; 3]) -> anyhow::Result<()> {
        let whose = format!("the pictures of {}", file.display());
        let features = format!("the features of {}", self.name);
        check_shape(self.network(), pictures, [&whose, &features, REMEDY])
    }

    /// Statistics that others published say nothing of their features: they are taken for these, if they are as many.
    pub fn adopt(&self, path: &Path, mut moments: Moments) -> anyhow::Result<Moments> {
        let (theirs, ours) = (moments.mean.len(), self.network.size());
        if theirs != ours {
            return Err(wrong(format!(
                "{} has statistics of {theirs} features, and {} has {ours}: name the network of the statistics with --features \
                 (those of published files are `inception`)",
                path.display(),
                self.name
            )));
        }
        if moments.features.is_empty() {
            moments.features = self.network.hash().to_string();
        }
        Ok(moments)
    }

    /// Says which they are, in every answer.
    pub fn record(&self, facts: &mut Map<String, Value>) {
        facts.insert("features".into(), json!(self.network.hash()));
        facts.insert("features_file".into(), json!(self.name));
        if let Some(resize) = self.resize {
            facts.insert("features_resize".into(), json!(resize.name()));
        }
    }
}
