//! From a text to ids.

use super::bpe::Encoder;
use super::split::{Piece, chunks, clean, parts};
use super::vocabulary::{SPECIAL, Vocabulary};
use crate::Error;
use crate::file::hexadecimal;
use sha2::{Digest, Sha256};
use std::path::Path;

/// CLIP's tokenizer.
///
/// Texts are cleaned as the fast tokenizer of `transformers` does, which diffusers uses: characters are composed (NFC),
/// put into lower case one by one, and white space only separates; nothing is repaired or dropped.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    encoder: Encoder,
    special: [u32; 2],
    /// The id of [`Padding::Exclamation`].
    exclamation: Option<u32>,
    digest: String,
    length: usize,
}

/// What texts are filled with up to the number of ids that a text encoder takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Padding {
    /// The id that ends them: OpenAI's CLIP.
    #[default]
    End,
    /// That of an exclamation mark, 0 in the published vocabulary: OpenCLIP.
    Exclamation,
}

/// The ids of one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Start, the text, end, and ends up to [`Tokenizer::length`].
    pub ids: Vec<u32>,
    /// How many of them are not padding.
    pub used: usize,
    /// Where the text was cut off, if it was.
    pub truncation: Option<Truncation>,
}

/// Where a text that has too many tokens was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// Byte of the text at which the first token starts that is left out.
    pub byte: usize,
    /// The same place in characters.
    pub character: usize,
}

/// Tokens of the published text encoder.
const LENGTH: usize = 77;
/// Characters shown on either side of a cut.
const SHOWN: usize = 30;

impl Tokenizer {
    /// Reads a vocabulary from a file or a folder, as [`Vocabulary::read`] does.
    ///
    /// # Errors
    /// As [`Vocabulary::read`], and [`Error::Malformed`] if symbols are missing.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let vocabulary = Vocabulary::read(path)?;
        Self::new(&vocabulary).map_err(|reason| Error::malformed(path, "CLIP vocabulary", reason))
    }

    /// # Errors
    /// The symbol that is missing.
    fn new(vocabulary: &Vocabulary) -> Result<Self, String> {
        let special = SPECIAL.map(|symbol| {
            let id = vocabulary.ids.get(symbol).copied();
            id.ok_or_else(|| format!("there is no id for {symbol:?}"))
        });
        let [start, end] = special;
        let mut digest = Sha256::new();
        let mut symbols: Vec<(u32, &str)> = vocabulary
            .ids
            .iter()
            .map(|(s, id)| (*id, s.as_str()))
            .collect();
        symbols.sort_unstable();
        for (id, symbol) in symbols {
            digest.update(format!("{id} {symbol}\n"));
        }
        for (a, b) in &vocabulary.merges {
            digest.update(format!("{a} {b}\n"));
        }
        Ok(Self {
            encoder: Encoder::new(vocabulary)?,
            special: [start?, end?],
            exclamation: vocabulary.ids.get("!").copied(),
            digest: hexadecimal(&digest.finalize()),
            length: LENGTH,
        })
    }

    /// The same with another number of ids for each text: the text encoder's
    /// [`positions`](super::TextEncoderConfig::positions).
    ///
    /// # Errors
    /// [`Error::InvalidValue`] below 2, for start and end.
    pub fn with_length(self, length: usize) -> Result<Self, Error> {
        if length < 2 {
            return Err(Error::invalid("number of tokens", length, "at least 2"));
        }
        Ok(Self { length, ..self })
    }

    /// How many symbols there are: ids are below it.
    pub fn symbols(&self) -> usize {
        // Start and end are the last symbols of a vocabulary.
        self.special.into_iter().max().unwrap_or(0) as usize + 1
    }

    /// How many ids each text has, 77 unless it was set.
    pub fn length(&self) -> usize {
        self.length
    }

    /// SHA-256 of the vocabulary, in hexadecimal: equal if texts get equal ids, however it was stored.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The ids of a text with another filling behind its end.
    ///
    /// # Errors
    /// [`Error::Incompatible`] if the vocabulary does not have it.
    pub fn filled(&self, tokens: &Tokens, padding: Padding) -> Result<Vec<u32>, Error> {
        let mut ids = tokens.ids.clone();
        if padding == Padding::End {
            return Ok(ids);
        }
        let id = self.exclamation.ok_or_else(|| Error::Incompatible {
            first: "a text encoder whose texts are filled with \"!\"".into(),
            second: "a vocabulary without it".into(),
            remedy: "use the vocabulary of the same model".into(),
        })?;
        ids[tokens.used..].fill(id);
        Ok(ids)
    }

    /// The ids of a text, cut off where it has more than fit.
    pub fn encode(&self, text: &str) -> Tokens {
        let [start, end] = self.special;
        let mut ids = vec![start];
        let room = self.length - 1;
        let mut truncation = None;
        'text: for (at, chunk) in chunks(text) {
            let cleaned = clean(chunk);
            // Bytes of the clean chunk that have ids.
            let mut done = 0;
            for part in parts(&cleaned) {
                let symbols = match part {
                    Piece::Special(i) => vec![(self.special[i], SPECIAL[i].len())],
                    Piece::Word(word) => self.encoder.encode(word),
                };
                for (id, length) in symbols {
                    if ids.len() == room {
                        let byte = at + origin(chunk, done);
                        truncation = Some(Truncation {
                            byte,
                            character: text[..byte].chars().count(),
                        });
                        break 'text;
                    }
                    ids.push(id);
                    done += length;
                }
            }
        }
        ids.push(end);
        let used = ids.len();
        ids.resize(self.length, end);
        Tokens {
            ids,
            used,
            truncation,
        }
    }
}

/// The byte of a chunk whose character became the one at byte `cleaned` of the clean chunk: the end of the longest start of
/// the chunk that becomes no more than this.
fn origin(chunk: &str, cleaned: usize) -> usize {
    let ends: Vec<usize> = chunk.char_indices().map(|(i, _)| i).collect();
    let index = ends.partition_point(|end| clean(&chunk[..*end]).len() <= cleaned);
    ends[index.saturating_sub(1)]
}

impl Truncation {
    /// What to tell a user: the place, and the words on either side.
    pub fn describe(&self, text: &str) -> String {
        let byte = self.byte.min(text.len());
        let (kept, lost) = text.split_at_checked(byte).unwrap_or((text, ""));
        let from = kept.char_indices().rev().nth(SHOWN - 1);
        let kept_end = &kept[from.map_or(0, |(i, _)| i)..];
        let to = lost.char_indices().nth(SHOWN);
        let lost_start = &lost[..to.map_or(lost.len(), |(i, _)| i)];
        format!(
            "cut off at character {}: {kept_end:?} is still read, {lost_start:?} and what follows is not",
            self.character
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer(length: usize) -> Tokenizer {
        let merges = [("c", "a"), ("ca", "t</w>"), ("d", "o"), ("do", "g</w>")];
        let merges = merges.iter().map(|(a, b)| ((*a).into(), (*b).into()));
        let vocabulary = Vocabulary::of_merges(merges.collect()).unwrap();
        let tokenizer = Tokenizer::new(&vocabulary).unwrap();
        tokenizer.with_length(length).unwrap()
    }

    const CAT: u32 = 513;
    const DOG: u32 = 515;
    const START: u32 = 516;
    const END: u32 = 517;

    #[test]
    fn texts_start_end_and_are_padded() {
        let tokenizer = tokenizer(6);
        let tokens = tokenizer.encode(" Cat\n DOG ");
        assert_eq!(tokens.ids, [START, CAT, DOG, END, END, END]);
        assert_eq!((tokens.used, tokens.truncation), (4, None));
        assert_eq!(tokenizer.encode("").ids, [START, END, END, END, END, END]);
        assert_eq!(tokenizer.encode("").used, 2);
    }

    #[test]
    fn what_is_behind_the_end_may_be_something_else() {
        let tokenizer = tokenizer(5);
        let tokens = tokenizer.encode("cat");
        let filled = |padding| tokenizer.filled(&tokens, padding).unwrap();
        assert_eq!(filled(Padding::End), [START, CAT, END, END, END]);
        // It is the first printable byte.
        assert_eq!(filled(Padding::Exclamation), [START, CAT, END, 0, 0]);
        let full = tokenizer.encode("cat cat cat");
        let full = tokenizer.filled(&full, Padding::Exclamation).unwrap();
        assert_eq!(full, [START, CAT, CAT, CAT, END]);
    }

    #[test]
    fn a_cut_is_where_the_first_token_is_lost() {
        let tokenizer = tokenizer(4);
        let cut = |text: &str| {
            let tokens = tokenizer.encode(text);
            assert_eq!((tokens.ids.len(), tokens.ids[3], tokens.used), (4, END, 4));
            tokens.truncation.unwrap()
        };
        assert_eq!(tokenizer.encode("cat dog").truncation, None);
        assert_eq!(cut("cat dog  cat").byte, 9);
        // In the middle of a word: `do` is one token, `x` the next.
        assert_eq!(cut("cat doxy").byte, 6);
        // What is composed of two characters is one; the capital I with a dot becomes two.
        let accent = cut("e\u{301} cat");
        assert_eq!((accent.byte, accent.character), (4, 3));
        let dotted = cut("\u{130}x");
        assert_eq!(dotted.byte, 0);
        let said = cut("cat dog cat").describe("cat dog cat");
        assert!(
            said.contains("character 8: \"cat dog \" is still read, \"cat\""),
            "{said}"
        );
    }

    #[test]
    fn vocabularies_are_told_apart() {
        let other = Vocabulary::of_merges(vec![("c".into(), "a".into())]).unwrap();
        let other = Tokenizer::new(&other).unwrap();
        assert_ne!(other.digest(), tokenizer(5).digest());
        assert_eq!(tokenizer(6).digest(), tokenizer(5).digest());
        assert!(tokenizer(5).with_length(1).is_err());
    }
}
