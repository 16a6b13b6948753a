//! Where the parts of a model are looked for.

use super::autoencoder::AutoencoderFile;
use super::note::Note;
use super::place::places;
use super::text::TextEncoderFile;
use crate::Error;
use crate::text::Tokenizer;
use std::path::{Path, PathBuf};

/// Looks for the parts of one model; holds none of them.
///
/// Each part is where [`given`](Self::given) says, else in the model's own file or folder (a folder of a diffusers model
/// leads to the whole of it), else where the note beside the model says.
#[derive(Clone, Debug)]
pub struct Parts {
    model: PathBuf,
    /// What is known better than the model's own file, folder and note say.
    pub given: Note,
    noted: Note,
}

impl Parts {
    /// Those of the model in a file or folder, whose note is read.
    ///
    /// # Errors
    /// As [`Note::beside`].
    pub fn of(model: &Path) -> Result<Self, Error> {
        Ok(Self {
            model: model.to_path_buf(),
            given: Note::default(),
            noted: Note::beside(model)?,
        })
    }

    /// What the note beside the model says.
    pub fn noted(&self) -> &Note {
        &self.noted
    }

    /// The autoencoder.
    ///
    /// # Errors
    /// [`Error::MissingPart`] if there is none, and as [`AutoencoderFile::open`].
    pub fn autoencoder(&self) -> Result<AutoencoderFile, Error> {
        let places = (&self.given.autoencoder, &self.noted.autoencoder);
        Ok(self.search(places, AutoencoderFile::open)?.0)
    }

    /// The text encoder and its tokenizer.
    ///
    /// # Errors
    /// [`Error::MissingPart`] if one is missing, [`Error::Incompatible`] if the vocabulary has more symbols than the text
    /// encoder knows, and as [`TextEncoderFile::open`] and [`Tokenizer::read`].
    pub fn text_encoder(&self) -> Result<(TextEncoderFile, Tokenizer), Error> {
        let (encoder, path) = self.text()?;
        let (tokenizer, from) = self.vocabulary(&path)?;
        let config = encoder.config();
        if tokenizer.symbols() > config.vocabulary {
            return Err(Error::Incompatible {
                first: format!("the vocabulary of {}", from.display()),
                second: format!("the text encoder of {}", path.display()),
                remedy: format!("the latter knows {} symbols only", config.vocabulary),
            });
        }
        let tokenizer = tokenizer.with_length(config.positions)?;
        Ok((encoder, tokenizer))
    }

    /// The text encoder without its tokenizer, and where it is.
    ///
    /// # Errors
    /// [`Error::MissingPart`] if there is none, and as [`TextEncoderFile::open`].
    pub fn text(&self) -> Result<(TextEncoderFile, PathBuf), Error> {
        let places = (&self.given.text_encoder, &self.noted.text_encoder);
        self.search(places, |path| TextEncoderFile::open(path, None))
    }

    /// The vocabulary, beside the text encoder unless it was given.
    fn vocabulary(&self, encoder: &Path) -> Result<(Tokenizer, PathBuf), Error> {
        let beside = Self {
            model: encoder.to_path_buf(),
            ..self.clone()
        };
        let open = |path: &Path| {
            match path.is_dir() || path != encoder {
            true => Tokenizer::read(path),
            // The file of the text encoder holds none.
            false => Err(Error::MissingPart {
                path: path.to_path_buf(),
                part: "vocabulary",
                sought: "folder `tokenizer` beside it".into(),
                remedy: "give it separately, in `Parts::given`: the `tokenizer` folder of any Stable Diffusion 1.x \
                         model, or bpe_simple_vocab_16e6.txt.gz"
                    .into(),
            }),
        }
        };
        beside.search((&self.given.vocabulary, &self.noted.vocabulary), open)
    }

    /// Opens the first place that has a part, and says where that was.
    fn search<T>(
        &self,
        (given, noted): (&Option<PathBuf>, &Option<PathBuf>),
        open: impl Fn(&Path) -> Result<T, Error>,
    ) -> Result<(T, PathBuf), Error> {
        let mut missing = None;
        for path in places(given.as_deref().unwrap_or(&self.model)) {
            match open(&path) {
                Ok(found) => return Ok((found, path)),
                Err(error @ Error::MissingPart { .. }) => {
                    missing.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match (missing, given, noted) {
            (_, None, Some(noted)) => Ok((open(noted)?, noted.clone())),
            (Some(missing), ..) => Err(missing),
            // Never: there is one place at least.
            (None, ..) => Err(Error::invalid("model", self.model.display(), "a path")),
        }
    }
}
