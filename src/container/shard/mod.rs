//! Weights in several files, with an index that says which tensor is in which, as transformers and diffusers write large
//! ones. Every tensor is read from its own file, and only when it is asked for.

mod original;
mod read;

use crate::Error;
use crate::container::source::LazyFile;
use crate::file::hash_bytes;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The key of a header whose text is the name of a file beside it, which has some of the weights as they were.
pub(crate) const ORIGINALS: &str = "fewstep-originals";
const WHAT: &str = "index of shards";
/// Largest index.
const LONGEST: u64 = 16 << 20;

/// The files of a checkpoint that is not one file.
#[derive(Debug, Default)]
pub(crate) struct Shards {
    files: Vec<LazyFile>,
    /// Which of them each tensor is in.
    owners: BTreeMap<String, usize>,
}

impl Shards {
    /// The file with a tensor; `None` where there is but one file.
    pub(crate) fn holder(&self, tensor: &str) -> Option<&LazyFile> {
        self.owners.get(tensor).map(|index| &self.files[*index])
    }

    /// Bytes of all of them; `None` where there is but one file.
    pub(crate) fn size(&self) -> Option<u64> {
        let sizes = self.files.iter().map(LazyFile::len);
        (!self.files.is_empty()).then(|| sizes.fold(0, u64::saturating_add))
    }

    /// One hash for all of them, of their names and hashes; `None` where there is but one file.
    pub(crate) fn hash(&self) -> Option<Result<String, Error>> {
        if self.files.is_empty() {
            return None;
        }
        let line = |file: &LazyFile| -> Result<String, Error> {
            let name = file.path().file_name().unwrap_or_default();
            Ok(format!("{} {}\n", name.to_string_lossy(), file.hash()?))
        };
        let lines: Result<String, Error> = self.files.iter().map(line).collect();
        Some(lines.map(|lines| hash_bytes(lines.as_bytes())))
    }
}

/// The first of these weight files that is in a folder, whole or as the index of its shards.
pub(crate) fn find(folder: &Path, files: &[&str]) -> Option<PathBuf> {
    let names = files.iter().flat_map(|file| {
        let (stem, end) = file.rsplit_once('.').unwrap_or((file, ""));
        std::iter::once((*file).to_string()).chain(index_names(stem, end))
    });
    let mut paths = names.map(|name| folder.join(name));
    paths.find(|path| path.is_file())
}

/// Whether a file has one of these names, or is a shard or an index of such a file.
pub(crate) fn is_named(path: &Path, files: &[&str]) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return false;
    };
    let whole = Shard::of(name).map(|shard| format!("{}.{}", shard.stem, shard.end));
    files.iter().any(|file| {
        let (stem, end) = file.rsplit_once('.').unwrap_or((file, ""));
        name == *file
            || whole.as_deref() == Some(file)
            || index_names(stem, end).iter().any(|index| index == name)
    })
}

/// The index that leads to all weights of which `path` names an index or a shard; `None` for other files.
///
/// # Errors
/// [`Error::Malformed`] for a shard without its index.
pub(crate) fn index_of(path: &Path) -> Result<Option<PathBuf>, Error> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Ok(None);
    };
    if name.ends_with(".json") && name.contains(".index.") {
        return Ok(Some(path.to_path_buf()));
    }
    let Some(shard) = Shard::of(name) else {
        return Ok(None);
    };
    if !path.is_file() {
        return Ok(None);
    }
    let names = index_names(shard.stem, shard.end);
    let mut places = names.iter().map(|name| path.with_file_name(name));
    match places.find(|path| path.is_file()) {
        Some(index) => Ok(Some(index)),
        None => {
            let Shard { number, count, .. } = shard;
            let reason = format!(
                "it is shard {number} of {count}, and {} is not beside it, which says what the others hold; put all of \
                 them into one folder",
                names[0]
            );
            Err(Error::malformed(path, "model file", reason))
        }
    }
}

/// `model-00001-of-00002.safetensors`
struct Shard<'a> {
    stem: &'a str,
    end: &'a str,
    number: u32,
    count: u32,
}

impl<'a> Shard<'a> {
    fn of(name: &'a str) -> Option<Self> {
        let (rest, end) = name.rsplit_once('.')?;
        let (rest, count) = rest.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let digits = |text: &str| match text.len() {
            5 => text.parse().ok(),
            _ => None,
        };
        let (number, count) = (digits(number)?, digits(count)?);
        (count > 1).then_some(Self {
            stem,
            end,
            number,
            count,
        })
    }
}

/// Names of the index of `stem.end`: beside it, and with a variant (`.fp16`) where diffusers puts it.
fn index_names(stem: &str, end: &str) -> Vec<String> {
    let mut names = vec![format!("{stem}.{end}.index.json")];
    if let Some((stem, variant)) = stem.split_once('.') {
        names.push(format!("{stem}.{end}.index.{variant}.json"));
    }
    names
}

/// The files that an index names, each once.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let map = weight_map(&LazyFile::open(path)?)?;
    let names: BTreeSet<&str> = map.values().filter_map(Value::as_str).collect();
    let plain = names.into_iter().filter(|name| is_plain(name));
    Ok(plain.map(|name| path.with_file_name(name)).collect())
}

fn weight_map(source: &LazyFile) -> Result<Map<String, Value>, Error> {
    if source.len() > LONGEST {
        let reason = format!("it is longer than {} MB", LONGEST >> 20);
        return Err(source.broken(WHAT, reason));
    }
    let text = source.read(source.whole())?;
    let index: Value = serde_json::from_slice(&text).map_err(|e| source.broken(WHAT, e))?;
    match index {
        Value::Object(mut index) => match index.remove("weight_map") {
            Some(Value::Object(map)) => Ok(map),
            _ => Err(source.broken(WHAT, "it has no table `weight_map`")),
        },
        _ => Err(source.broken(WHAT, "it has no table `weight_map`")),
    }
}

/// Whether it is a name and no path.
fn is_plain(name: &str) -> bool {
    Path::new(name).file_name().is_some_and(|own| own == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_shards_and_indices() {
        let files = ["diffusion_pytorch_model.fp16.safetensors", "model.bin"];
        for (name, is) in [
            ("model.bin", true),
            ("model.bin.index.json", true),
            ("model-00002-of-00003.bin", true),
            ("diffusion_pytorch_model.safetensors.index.fp16.json", true),
            (
                "diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
                true,
            ),
            ("model-1-of-2.bin", false),
            ("model-00001-of-00001.bin", false),
            ("other-00001-of-00002.bin", false),
            ("model.bin.json", false),
        ] {
            assert_eq!(is_named(Path::new(name), &files), is, "{name}");
        }
        assert_eq!(index_of(Path::new("model.safetensors")).unwrap(), None);
        let index = Path::new("a/model.safetensors.index.json");
        assert_eq!(index_of(index).unwrap().as_deref(), Some(index));
        for (name, plain) in [
            ("a.bin", true),
            ("../a.bin", false),
            ("/a", false),
            ("", false),
        ] {
            assert_eq!(is_plain(name), plain, "{name}");
        }
    }
}
