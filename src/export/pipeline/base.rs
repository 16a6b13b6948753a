//! The folder of a pipeline that a student's U-Net is put into: where it is, and its parts without those that are the teacher's.

use super::index::Index;
use crate::Error;
use crate::container::{Checkpoint, Scalar};
use crate::export::safetensors::{self, Entry, From, Texts};
use crate::import::places;
use std::path::{Path, PathBuf};

/// Names of files of weights in a part's folder, the best first, and what each is called in ours.
const WEIGHTS: [(&str, &str); 8] = [
    ("diffusion_pytorch_model.safetensors", DIFFUSERS),
    ("diffusion_pytorch_model.fp16.safetensors", DIFFUSERS),
    ("diffusion_pytorch_model.bin", DIFFUSERS),
    ("diffusion_pytorch_model.fp16.bin", DIFFUSERS),
    ("model.safetensors", TRANSFORMERS),
    ("model.fp16.safetensors", TRANSFORMERS),
    ("pytorch_model.bin", TRANSFORMERS),
    ("pytorch_model.fp16.bin", TRANSFORMERS),
];
const DIFFUSERS: &str = "diffusion_pytorch_model.safetensors";
const TRANSFORMERS: &str = "model.safetensors";
/// Ends of names of files that hold weights, or say where they are.
const HEAVY: [&str; 11] = [
    "safetensors",
    "bin",
    "ckpt",
    "pt",
    "pth",
    "msgpack",
    "h5",
    "onnx",
    "pb",
    "xml",
    "gguf",
];
/// What comes along from the folder itself.
const KEPT: [&str; 4] = ["license", "licence", "notice", "copying"];

/// The first of these paths that is a folder of a pipeline, or lies in one.
pub fn find<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Option<PathBuf> {
    let all = paths.into_iter().flat_map(places);
    let mut folders = all.filter(|path| path.is_dir());
    folders.find(|path| is_pipeline(path))
}

/// Whether a folder is that of a pipeline of diffusers.
pub fn is_pipeline(folder: &Path) -> bool {
    let part = |name: &str| folder.join(name).is_dir();
    folder.join(super::index::NAME).is_file() || part("vae") && part("text_encoder")
}

/// Puts all parts of a base but the U-Net and the scheduler into a folder, their weights in one type. What is large and is in that
/// type already is linked, or copied where that is not possible. With `all`, what belongs to no part comes along.
pub(super) fn parts(
    (base, all): (&Path, bool),
    index: &Index,
    scalar: Scalar,
    folder: &Path,
) -> Result<(), Error> {
    for name in index.parts() {
        let from = base.join(name);
        if from.is_dir() {
            part(&from, scalar, &folder.join(name))?;
        }
    }
    let ours = |name: &str| {
        index.parts().any(|part| part == name)
            || ["unet", "scheduler", super::index::NAME, super::page::NAME].contains(&name)
    };
    for entry in entries(base)? {
        let name = entry
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let lower = name.to_lowercase();
        let kept = all || KEPT.iter().any(|start| lower.starts_with(start)) && entry.is_file();
        if kept && !ours(&name) {
            copy(&entry, &folder.join(&name))?;
        }
    }
    Ok(())
}

/// A folder of settings as it is, if it is there.
pub(super) fn folder(from: &Path, to: &Path) -> Result<(), Error> {
    match from.is_dir() {
        true => copy(from, to),
        false => Ok(()),
    }
}

/// A part of it: one file of weights, and all that are none.
fn part(from: &Path, scalar: Scalar, to: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(to).map_err(Error::file("create", to))?;
    for entry in entries(from)? {
        let name = entry.file_name().unwrap_or_default();
        if !is_heavy(&entry) {
            copy(&entry, &to.join(name))?;
        }
    }
    let mut found = None;
    for (name, ours) in WEIGHTS {
        let Some(path) = crate::container::shard::find(from, &[name]) else {
            continue;
        };
        let checkpoint = Checkpoint::read(&path)?;
        let floats = checkpoint.tensors().values().map(|info| info.scalar);
        let same = floats.filter(|s| s.is_float()).all(|s| s == scalar);
        // One file, not the index of several.
        if same
            && path.file_name().is_some_and(|file| file == name)
            && name.ends_with(".safetensors")
        {
            return link(&path, &to.join(ours));
        }
        found = found.or(Some((checkpoint, ours)));
    }
    match found {
        Some((checkpoint, ours)) => convert(&checkpoint, scalar, &to.join(ours)),
        None => Ok(()),
    }
}

/// The tensors of a file in another type, as a file for PyTorch.
fn convert(checkpoint: &Checkpoint, scalar: Scalar, to: &Path) -> Result<(), Error> {
    let entries = checkpoint.tensors().iter().map(|(name, info)| Entry {
        name: name.clone(),
        shape: info.shape.clone(),
        scalar: match info.scalar.is_float() {
            true => scalar,
            false => info.scalar,
        },
        from: From::File(name.clone()),
    });
    let texts = Texts::from([safetensors::pytorch()]);
    safetensors::write(checkpoint, entries.collect(), &texts, to)
}

/// Whether a file holds weights: by its name.
fn is_heavy(path: &Path) -> bool {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let end = name.rsplit('.').next().unwrap_or_default();
    path.is_file() && (HEAVY.contains(&end) || name.contains(".index.") && end == "json")
}

/// What is in a folder, in the order of names, without what is hidden.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let read = |e| Error::file("read", folder)(e);
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(Error::file("read", folder))?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            all.push(entry.path());
        }
    }
    all.sort();
    Ok(all)
}

/// A file or folder again. Weights are linked; what is small is copied, so that who edits the one does not edit the other.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    if from.is_dir() {
        std::fs::create_dir_all(to).map_err(Error::file("create", to))?;
        let inside = entries(from)?;
        return inside.iter().try_for_each(|path| {
            let name = path.file_name().unwrap_or_default();
            copy(path, &to.join(name))
        });
    }
    match is_heavy(from) {
        true => link(from, to),
        false => std::fs::copy(from, to)
            .map(drop)
            .map_err(Error::file("write", to)),
    }
}

/// The same file by another name, or a copy where the file system has no such thing.
fn link(from: &Path, to: &Path) -> Result<(), Error> {
    // Of a symbolic link, as the cache of a hub has them, the file itself.
    let from = &std::fs::canonicalize(from).map_err(Error::file("read", from))?;
    if std::fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    std::fs::copy(from, to)
        .map(drop)
        .map_err(Error::file("write", to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_heavy_is_told_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for (name, heavy) in [
            ("model.safetensors", true),
            ("model.safetensors.index.json", true),
            ("pytorch_model.bin", true),
            ("config.json", false),
            ("merges.txt", false),
            ("vocab.json", false),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, "x").unwrap();
            assert_eq!(is_heavy(&path), heavy, "{name}");
        }
    }

    #[test]
    fn a_part_leads_to_its_pipeline() {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("sd");
        for part in ["vae", "text_encoder"] {
            std::fs::create_dir_all(whole.join(part)).unwrap();
        }
        let file = whole.join("vae/model.safetensors");
        std::fs::write(&file, "x").unwrap();
        assert_eq!(find([file.as_path()]), Some(whole.clone()));
        assert_eq!(find([Path::new("nowhere"), &whole]), Some(whole));
        assert_eq!(find([folder.path()]), None);
    }
}
