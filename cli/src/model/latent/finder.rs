//! Where the parts of a model are: named on the command line, in the model's own file or folder, or noted beside it.

use crate::screen::failure::wrong;
use anyhow::Context as _;
use clap::Args;
use fewstep::Error;
use fewstep::import::{AutoencoderFile, Note, TextEncoderFile, places};
use fewstep::model::Card;
use fewstep::text::{TextEncoderConfig, Tokenizer};
use std::path::{Path, PathBuf};

pub use fewstep::import::NOTE;

/// Names the vocabulary where nothing else does.
const VARIABLE: &str = "FEWSTEP_CLIP_VOCABULARY";
/// What `fewstep fetch clip-vocabulary` gets.
const FETCHED: &str = "weights/bpe_simple_vocab_16e6.txt.gz";

/// Where the parts of a latent model are, if not in its own file or folder.
#[derive(Args, Clone, Debug, Default)]
pub struct PartArgs {
    /// Autoencoder of a latent model that has none in its own file or folder: a CompVis checkpoint, or a folder of the
    /// diffusers library
    #[arg(long, value_name = "FILE", help_heading = "Latent models")]
    pub autoencoder: Option<PathBuf>,
    /// Text encoder, likewise
    #[arg(long, value_name = "FILE", help_heading = "Latent models")]
    pub text_encoder: Option<PathBuf>,
    /// The text encoder's vocabulary, if it is not beside it: a folder `tokenizer`, or bpe_simple_vocab_16e6.txt.gz [else:
    /// what FEWSTEP_CLIP_VOCABULARY names, or what `fewstep fetch clip-vocabulary` got]
    #[arg(long, value_name = "FILE", help_heading = "Latent models")]
    pub vocabulary: Option<PathBuf>,
}

/// Looks for the parts of one model.
pub struct Finder<'a> {
    model: PathBuf,
    args: &'a PartArgs,
    noted: Note,
    /// What has been found.
    found: Note,
}

impl<'a> Finder<'a> {
    /// For the model in a file or folder.
    pub fn new(model: &Path, args: &'a PartArgs) -> anyhow::Result<Self> {
        Ok(Self {
            model: model.to_path_buf(),
            args,
            noted: Note::beside(model)?,
            found: Note::default(),
        })
    }

    /// Where everything was that has been found so far.
    pub fn note(&self) -> Note {
        self.found.clone()
    }

    /// Refuses parts that were named for a model that has no use for them.
    pub fn check_args(&self, latent: bool, text: bool) -> anyhow::Result<()> {
        let model = self.model.display();
        let PartArgs {
            autoencoder,
            text_encoder,
            vocabulary,
        } = self.args;
        if let Some(path) = autoencoder.as_ref().filter(|_| !latent) {
            return Err(wrong(format!(
                "--autoencoder {}: {model} makes pictures, not latents; leave it out",
                path.display()
            )));
        }
        for (flag, path) in [
            ("--text-encoder", text_encoder),
            ("--vocabulary", vocabulary),
        ] {
            if let Some(path) = path.as_ref().filter(|_| !text) {
                return Err(wrong(format!(
                    "{flag} {}: {model} takes no text; leave it out",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    /// The autoencoder of the model; `else_` is what else one can do without it.
    pub fn autoencoder(&mut self, card: &Card, else_: &str) -> anyhow::Result<AutoencoderFile> {
        if let Some(found) = self.autoencoder_if_any(card)? {
            return Ok(found);
        }
        let fetch = match (card.network.image_shape()[0], card.network.added()) {
            (4, None) => "sd15-vae",
            (4, Some(_)) => "sdxl-vae",
            _ => "ldm-vq-f4",
        };
        Err(wrong(format!(
            "{} makes latents, and has no autoencoder that would turn them into pictures: name one with --autoencoder, a \
             CompVis checkpoint or a folder of diffusers (`fewstep fetch {fetch}` gets a published one){else_}",
            self.model.display()
        )))
    }

    /// The autoencoder of the model, where one is at hand.
    pub fn autoencoder_if_any(&mut self, card: &Card) -> anyhow::Result<Option<AutoencoderFile>> {
        let typed = self.args.autoencoder.as_deref();
        let noted = self.noted.autoencoder.as_deref();
        let found = self.search("--autoencoder", typed, noted, AutoencoderFile::open)?;
        let Some((file, path)) = found else {
            return Ok(None);
        };
        let file = file.for_network(&card.network);
        let (makes, takes) = (file.config().latent_channels, card.network.image_shape()[0]);
        if makes != takes {
            return Err(wrong(format!(
                "the autoencoder of {} has latents of {makes} channels, and {} makes latents of {takes}: it is another \
                 model's; name the right one with --autoencoder",
                path.display(),
                self.model.display()
            )));
        }
        self.found.autoencoder = Some(absolute(&path));
        Ok(Some(file))
    }

    /// The text encoder of the model and its tokenizer.
    pub fn text_encoder(&mut self, card: &Card) -> anyhow::Result<(TextEncoderFile, Tokenizer)> {
        let typed = self.args.text_encoder.as_deref();
        let noted = self.noted.text_encoder.as_deref();
        let open = |path: &Path| TextEncoderFile::open(path, None);
        let Some((file, path)) = self.search("--text-encoder", typed, noted, open)? else {
            return Err(wrong(format!(
                "{} takes a text, and has no text encoder: name one with --text-encoder, a CompVis checkpoint or a folder \
                 of diffusers (`fewstep fetch clip-text-encoder` gets that of Stable Diffusion 1.x)",
                self.model.display()
            )));
        };
        let (makes, takes) = (file.width(), card.network.context_width());
        if Some(makes) != takes {
            return Err(wrong(format!(
                "the text encoder of {} makes tokens {makes} wide, and {} takes them {} wide: it is another model's; name \
                 the right one with --text-encoder",
                path.display(),
                self.model.display(),
                takes.unwrap_or_default()
            )));
        }
        let (makes, takes) = (file.whole_width(), card.network.added());
        if let Some(takes) = takes.filter(|takes| makes != Some(takes.text)) {
            let makes = makes.map_or("nothing".into(), |width| format!("{width} numbers"));
            return Err(wrong(format!(
                "the text encoders of {} make {makes} of a text as a whole, and {} is told {}: they are another model's; name \
                 the right ones with --text-encoder",
                path.display(),
                self.model.display(),
                takes.text
            )));
        }
        let tokenizer = self.tokenizer(&path, file.config())?;
        self.found.text_encoder = Some(absolute(&path));
        Ok((file, tokenizer))
    }

    /// The vocabulary: as typed, beside the text encoder, as noted, of the environment, or fetched.
    pub fn tokenizer(
        &mut self,
        encoder: &Path,
        config: &TextEncoderConfig,
    ) -> anyhow::Result<Tokenizer> {
        let named = std::env::var_os(VARIABLE).filter(|name| !name.is_empty());
        let named = named.map(PathBuf::from);
        let mut found = None;
        if let Some(typed) = &self.args.vocabulary {
            found = Some((Tokenizer::read(typed)?, typed.clone()));
        }
        let beside = places(encoder).into_iter().filter(|path| path.is_dir());
        for path in beside.take_while(|_| self.args.vocabulary.is_none()) {
            match Tokenizer::read(&path) {
                Ok(tokenizer) => found = Some((tokenizer, path)),
                Err(Error::MissingPart { .. }) => continue,
                Err(error) => return Err(error.into()),
            }
            break;
        }
        let fetched = PathBuf::from(FETCHED);
        let others = [
            (self.noted.vocabulary.clone(), "the note beside the model"),
            (named, VARIABLE),
            (Some(fetched).filter(|path| path.is_file()), "fetched"),
        ];
        for (path, who) in others {
            if let (None, Some(path)) = (&found, path) {
                let read = Tokenizer::read(&path);
                let tokenizer = read.with_context(|| {
                    format!("the vocabulary ({who}); name one with --vocabulary")
                })?;
                found = Some((tokenizer, path));
            }
        }
        let Some((tokenizer, path)) = found else {
            return Err(wrong(format!(
                "there is no vocabulary for the text encoder of {}: name one with --vocabulary, the folder `tokenizer` of a \
                 diffusers model or bpe_simple_vocab_16e6.txt.gz, put its path into {VARIABLE}, or get it by `fewstep \
                 fetch clip-vocabulary`",
                encoder.display()
            )));
        };
        // Start and end are the last symbols of a vocabulary.
        let last = tokenizer.encode("").ids.into_iter().max().unwrap_or(0);
        if last as usize >= config.vocabulary {
            return Err(wrong(format!(
                "the vocabulary of {} has more symbols than the text encoder of {}, which knows {}: it is another model's; \
                 name the right one with --vocabulary",
                path.display(),
                encoder.display(),
                config.vocabulary
            )));
        }
        self.found.vocabulary = Some(absolute(&path));
        Ok(tokenizer.with_length(config.positions)?)
    }

    /// Opens the first place that has the part: the one that was typed, or else the model's own or the noted one.
    fn search<T>(
        &self,
        flag: &str,
        typed: Option<&Path>,
        noted: Option<&Path>,
        open: impl Fn(&Path) -> Result<T, Error>,
    ) -> anyhow::Result<Option<(T, PathBuf)>> {
        let mut missing = None;
        for path in places(typed.unwrap_or(&self.model)) {
            match open(&path) {
                Ok(found) => return Ok(Some((found, path))),
                Err(error @ Error::MissingPart { .. }) => {
                    missing.get_or_insert(error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        match (typed, missing, noted) {
            (Some(_), Some(missing), _) => Err(missing.into()),
            (None, _, Some(noted)) => {
                let found = open(noted).with_context(|| {
                    let note = self.model.with_file_name(NOTE);
                    format!(
                        "{} names a part that is not there any more, or cannot be used: name it with {flag}, or change the \
                         path in {}",
                        note.display(),
                        note.display()
                    )
                })?;
                Ok(Some((found, noted.to_path_buf())))
            }
            _ => Ok(None),
        }
    }
}

/// A path that means the same in any folder.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}
