//! The vocabulary of a tokenizer: symbols with their ids, and which two become one, the most frequent first.

use crate::Error;
use flate2::read::GzDecoder;
use serde_json::Value;
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Symbols and merges, as read from a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vocabulary {
    /// Id of each symbol; bytes are written as printable characters, and the last symbol of a word ends with `</w>`.
    pub ids: HashMap<String, u32>,
    /// Pairs of symbols that become one, the first to be applied first.
    pub merges: Vec<(String, String)>,
}

/// Merges of the full vocabulary: OpenAI's file has more, which are not used.
const MERGES: usize = 48_894;
/// What marks the end of a word.
pub(super) const END: &str = "</w>";
/// What a text starts and ends with.
pub(super) const SPECIAL: [&str; 2] = ["<|startoftext|>", "<|endoftext|>"];
/// Longest file that is read, unpacked: the full one has 4 MB as JSON.
const LONGEST: u64 = 64 << 20;

/// The printable character that stands for each byte: itself if it is one, else the next of those from 256 on.
pub(super) fn characters() -> [char; 256] {
    let mut other = 256..;
    std::array::from_fn(|byte| {
        let printable = matches!(byte, 33..=126 | 161..=172 | 174..=255);
        let code = if printable {
            byte as u32
        } else {
            other.next().unwrap_or(0)
        };
        char::from_u32(code).unwrap_or('\0')
    })
}

impl Vocabulary {
    /// Reads one of
    /// * OpenAI's merges `bpe_simple_vocab_16e6.txt.gz`, packed or not,
    /// * `tokenizer.json`,
    /// * `vocab.json` with `merges.txt` beside it,
    /// * a folder that holds one of them, or the folder of a diffusers model with such a folder `tokenizer`.
    ///
    /// # Errors
    /// [`Error::File`] if there is none, [`Error::Malformed`] if it is not what its name says.
    pub fn read(path: &Path) -> Result<Self, Error> {
        if path.is_dir() {
            return Self::read_folder(path);
        }
        match path.file_name().and_then(|name| name.to_str()) {
            Some("vocab.json" | "merges.txt") => {
                let folder = path.parent().unwrap_or(Path::new("."));
                Self::of_pair(&folder.join("vocab.json"), &folder.join("merges.txt"))
            }
            Some(name) if name.ends_with(".json") => Self::of_tokenizer(path),
            _ => Self::of_openai(path),
        }
    }

    fn read_folder(folder: &Path) -> Result<Self, Error> {
        let inner = folder.join("tokenizer");
        let folders = [folder, inner.as_path()];
        let names = [
            "vocab.json",
            "tokenizer.json",
            "bpe_simple_vocab_16e6.txt.gz",
            "bpe_simple_vocab_16e6.txt",
        ];
        let mut found = folders
            .iter()
            .flat_map(|folder| names.iter().map(|name| folder.join(name)));
        match found.find(|path: &PathBuf| path.is_file()) {
            Some(path) => Self::read(&path),
            None => Err(Error::MissingPart {
                path: folder.to_path_buf(),
                part: "tokenizer",
                sought: "vocab.json with merges.txt, tokenizer.json or bpe_simple_vocab_16e6.txt.gz, here or in tokenizer/"
                    .into(),
                remedy: "give the vocabulary separately: the `tokenizer` folder of any Stable Diffusion 1.x model, or \
                         bpe_simple_vocab_16e6.txt.gz from the PyPI package open_clip_torch"
                    .into(),
            }),
        }
    }

    /// OpenAI's list of merges, from which the ids follow.
    fn of_openai(path: &Path) -> Result<Self, Error> {
        let text = text(path)?;
        let lines: Vec<&str> = text.lines().skip(1).take(MERGES).collect();
        if lines.len() < MERGES {
            let reason = format!("it has {} merges, not {MERGES}", lines.len());
            return Err(malformed(path, reason));
        }
        let merges = merges(path, lines.into_iter())?;
        Self::of_merges(merges).map_err(|reason| malformed(path, reason))
    }

    /// The vocabulary in which every byte, every byte that ends a word, every merge, start and end have an id, in this
    /// order.
    pub(super) fn of_merges(merges: Vec<(String, String)>) -> Result<Self, String> {
        let table = characters();
        // Printable bytes first, each part in the order of the bytes.
        let (mut bytes, rest): (Vec<char>, Vec<char>) =
            table.iter().partition(|c| (**c as u32) < 256);
        bytes.extend(rest);
        let single = bytes.iter().map(char::to_string);
        let ends = bytes.iter().map(|c| format!("{c}{END}"));
        let pairs = merges.iter().map(|(a, b)| format!("{a}{b}"));
        let special = SPECIAL.iter().map(|s| (*s).to_string());
        let all = single.chain(ends).chain(pairs).chain(special);
        let mut ids = HashMap::new();
        for (id, symbol) in (0..).zip(all) {
            if let Some(first) = ids.insert(symbol, id) {
                return Err(format!("merges {} and {} give the same", first, id));
            }
        }
        Ok(Self { ids, merges })
    }

    fn of_pair(vocabulary: &Path, list: &Path) -> Result<Self, Error> {
        let json = json(vocabulary)?;
        let ids = ids(&json).ok_or_else(|| malformed(vocabulary, "it is no list of ids"))?;
        let text = text(list)?;
        let lines = text.lines().filter(|line| !line.starts_with("#version"));
        let merges = merges(list, lines.filter(|line| !line.is_empty()))?;
        Ok(Self { ids, merges })
    }

    /// `tokenizer.json`, of which only vocabulary and merges are read: the rules of CLIP are taken for granted.
    fn of_tokenizer(path: &Path) -> Result<Self, Error> {
        let json = json(path)?;
        let model = &json["model"];
        let ends = model["end_of_word_suffix"].as_str() == Some(END);
        let (Some(mut ids), Some(list), true) =
            (ids(&model["vocab"]), model["merges"].as_array(), ends)
        else {
            let reason =
                format!("its `model` is no byte pair encoding with {END:?} at the end of words");
            return Err(malformed(path, reason));
        };
        for token in json["added_tokens"].as_array().into_iter().flatten() {
            let id = token["id"].as_u64().and_then(|id| u32::try_from(id).ok());
            if let (Some(text), Some(id)) = (token["content"].as_str(), id) {
                ids.insert(text.to_string(), id);
            }
        }
        let pair = |entry: &Value| match entry {
            Value::String(text) => split(text),
            entry => Some((
                entry.get(0)?.as_str()?.to_string(),
                entry.get(1)?.as_str()?.to_string(),
            )),
        };
        let merges: Option<Vec<_>> = list.iter().map(pair).collect();
        let merges = merges.ok_or_else(|| malformed(path, "one of its merges is no pair"))?;
        Ok(Self { ids, merges })
    }
}

/// A text file, unpacked if it starts like gzip.
fn text(path: &Path) -> Result<String, Error> {
    let read = |source: &mut dyn Read| {
        let mut bytes = Vec::new();
        source
            .take(LONGEST + 1)
            .read_to_end(&mut bytes)
            .map(|_| bytes)
    };
    let mut file = std::fs::File::open(path).map_err(Error::file("read", path))?;
    let mut bytes = read(&mut file).map_err(Error::file("read", path))?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut packed = GzDecoder::new(bytes.as_slice());
        bytes = read(&mut packed).map_err(|e| malformed(path, e))?;
    }
    if bytes.len() as u64 > LONGEST {
        return Err(malformed(
            path,
            format!("it is longer than {} MB", LONGEST >> 20),
        ));
    }
    String::from_utf8(bytes).map_err(|e| malformed(path, e))
}

fn json(path: &Path) -> Result<Value, Error> {
    serde_json::from_str(&text(path)?).map_err(|e| malformed(path, e))
}

fn ids(json: &Value) -> Option<HashMap<String, u32>> {
    let entries = json.as_object()?.iter();
    entries
        .map(|(symbol, id)| Some((symbol.clone(), u32::try_from(id.as_u64()?).ok()?)))
        .collect()
}

fn split(line: &str) -> Option<(String, String)> {
    let (a, b) = line.split_once(' ')?;
    let fine = !a.is_empty() && !b.is_empty() && !b.contains(' ');
    fine.then(|| (a.to_string(), b.to_string()))
}

fn merges<'a>(
    path: &Path,
    lines: impl Iterator<Item = &'a str>,
) -> Result<Vec<(String, String)>, Error> {
    let pair = |line: &str| {
        let reason = || format!("the merge {line:?} is no pair of symbols");
        split(line).ok_or_else(|| malformed(path, reason()))
    };
    lines.map(pair).collect()
}

fn malformed(path: &Path, reason: impl ToString) -> Error {
    Error::malformed(path, "CLIP vocabulary", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_characters_of_their_own() {
        let table = characters();
        assert_eq!((table[b'a' as usize], table[b'!' as usize]), ('a', '!'));
        // The first byte that cannot be printed, and the space.
        assert_eq!(
            (table[0], table[32], table[173]),
            ('\u{100}', '\u{120}', '\u{143}')
        );
        let all: std::collections::HashSet<char> = table.into_iter().collect();
        assert_eq!(all.len(), 256);
    }

    #[test]
    fn forms_agree() {
        let merges = vec![("c".into(), "a".into()), ("ca".into(), "t</w>".into())];
        let vocabulary = Vocabulary::of_merges(merges).unwrap();
        let id = |symbol: &str| vocabulary.ids[symbol];
        // 33 is the first printable byte, 0 the first of the rest.
        assert_eq!((id("!"), id("\u{100}"), id("!</w>")), (0, 188, 256));
        assert_eq!(
            (id("ca"), id("cat</w>"), id("<|endoftext|>")),
            (512, 513, 515)
        );
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("tokenizer");
        std::fs::create_dir(&inner).unwrap();
        let write = |name: &str, text: String| std::fs::write(inner.join(name), text).unwrap();
        let ids = serde_json::to_value(&vocabulary.ids).unwrap();
        for list in [
            serde_json::json!(["c a", "ca t</w>"]),
            serde_json::json!([["c", "a"], ["ca", "t</w>"]]),
        ] {
            let mut symbols = ids.clone();
            symbols.as_object_mut().unwrap().remove("<|endoftext|>");
            let whole = serde_json::json!({
                "added_tokens": [{"id": 515, "content": "<|endoftext|>"}],
                "model": {"vocab": symbols, "merges": list, "end_of_word_suffix": "</w>"},
            });
            write("tokenizer.json", whole.to_string());
            assert_eq!(Vocabulary::read(folder.path()).unwrap(), vocabulary);
        }
        write("vocab.json", ids.to_string());
        write("merges.txt", "#version: 0.2\nc a\nca t</w>\n".into());
        assert_eq!(Vocabulary::read(folder.path()).unwrap(), vocabulary);
        assert_eq!(
            Vocabulary::read(&inner.join("merges.txt")).unwrap(),
            vocabulary
        );
    }

    #[test]
    fn broken_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let message = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            Vocabulary::read(&path).unwrap_err().to_string()
        };
        assert!(message("a.txt", "x\nc a\n").contains("it has 1 merges"));
        assert!(message("tokenizer.json", "{}").contains("no byte pair encoding"));
        assert!(message("b.json", "[").contains("b.json"));
        assert!(message("c.txt.gz", "\u{1f}").contains("0 merges"));
        let missing = Vocabulary::read(&folder.path().join("x")).unwrap_err();
        assert!(matches!(missing, Error::File { .. }), "{missing}");
        let empty = tempfile::tempdir().unwrap();
        let none = Vocabulary::read(empty.path()).unwrap_err().to_string();
        assert!(none.contains("open_clip_torch"), "{none}");
        assert!(Vocabulary::of_merges(vec![("c".into(), "a".into()); 2]).is_err());
    }
}
