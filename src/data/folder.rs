//! A folder of pictures; each sub-folder is a class, if there are any.

use super::{Dataset, Options, SHEET, Skipped, Split, fit};
use crate::Error;
use rayon::prelude::*;
use std::path::{Component, Path, PathBuf};
use walkdir::{DirEntry, WalkDir};

/// Whether a file name looks like a picture's. Hidden files are not, nor is the sheet of all samples in a folder of samples.
pub(super) fn is_picture(path: &Path) -> bool {
    let hidden = path.components().any(|part| match part {
        Component::Normal(name) => name.as_encoded_bytes().starts_with(b".") || name == "__MACOSX",
        _ => false,
    });
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    let known = ["png", "jpg", "jpeg", "webp", "bmp"];
    let sheet = path.file_name().is_some_and(|name| name == SHEET);
    !hidden && !sheet && known.iter().any(|k| extension.eq_ignore_ascii_case(k))
}

/// The class of a picture: the first folder on the way to it.
pub(super) fn class(inside: &Path) -> Option<String> {
    let mut parts = inside.components();
    let first = parts.next()?;
    parts.next()?;
    Some(first.as_os_str().to_string_lossy().into_owned())
}

/// Narrows down paths inside a data set to a split: where all pictures lie under `train` or `test`, those of one of
/// them, without that folder's name.
pub(super) fn choose<'a>(
    inside: impl Iterator<Item = &'a Path> + Clone,
    split: Split,
) -> Result<Option<&'static str>, Error> {
    let parts = |path: &Path| path.starts_with("train") || path.starts_with("test");
    let divided = inside.clone().next().is_some() && inside.clone().all(parts);
    let part = match split {
        Split::Train => "train",
        Split::Test => "test",
    };
    if divided && inside.clone().any(|path| path.starts_with(part)) {
        Ok(Some(part))
    } else if split == Split::Train && !(divided && inside.clone().all(|p| p.starts_with("test"))) {
        Ok(None)
    } else {
        let expected = "a split the data have; pictures need folders `train` and `test`";
        Err(Error::invalid("split", part, expected))
    }
}

/// Reads all pictures below a folder.
pub(super) fn open(folder: &Path, options: &Options) -> Result<Dataset, Error> {
    let paths = walk(folder)?;
    if let Some(part) = choose(paths.iter().map(|path| path.as_path()), options.split)? {
        return open_part(&folder.join(part), &paths, part, options);
    }
    open_part(folder, &paths, "", options)
}

/// The pictures of a part of a folder, in the same order.
pub(super) fn list(folder: &Path, split: Split) -> Result<Vec<PathBuf>, Error> {
    let paths = walk(folder)?;
    let part = choose(paths.iter().map(|path| path.as_path()), split)?;
    let inside = paths
        .iter()
        .filter(|path| path.starts_with(part.unwrap_or_default()));
    Ok(inside.map(|path| folder.join(path)).collect())
}

/// The pictures in a folder and below, relative to it, in the order of their names.
fn walk(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let visible = |entry: &DirEntry| {
        entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".")
    };
    let mut paths = Vec::new();
    let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name();
    for entry in walk.into_iter().filter_entry(visible) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(folder).to_owned();
            Error::file("read", path)(error.into())
        })?;
        let inside = entry.path().strip_prefix(folder).unwrap_or(entry.path());
        if entry.file_type().is_file() && is_picture(inside) {
            paths.push(inside.to_owned());
        }
    }
    Ok(paths)
}

fn open_part(
    root: &Path,
    paths: &[PathBuf],
    part: &str,
    options: &Options,
) -> Result<Dataset, Error> {
    let images = paths
        .par_iter()
        .filter_map(|path| path.strip_prefix(part).ok())
        .map(|inside| {
            let name = root.join(inside);
            let image = std::fs::read(&name)
                .map_err(|error| error.to_string())
                .and_then(|file| fit::decode(&file, options))
                .map_err(|reason| Skipped { name, reason });
            (class(inside), image)
        })
        .collect();
    Dataset::assemble(root, options, images)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};

    /// Pictures of one colour each.
    fn folder(pictures: &[(&str, u8)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, value) in pictures {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            RgbImage::from_pixel(4, 4, Rgb([*value; 3]))
                .save(path)
                .unwrap();
        }
        folder
    }

    fn first_bytes(data: &Dataset) -> Vec<u8> {
        (0..data.len()).map(|i| data.pixels(i)[0]).collect()
    }

    #[test]
    fn a_sheet_of_samples_is_no_sample() {
        let folder = folder(&[("000000.png", 1), ("000001.png", 2), (SHEET, 3)]);
        let data = Dataset::open(folder.path(), &Options::new(4, 3)).unwrap();
        assert_eq!(first_bytes(&data), [1, 2]);
    }

    #[test]
    fn sub_folders_are_classes_in_the_order_of_their_names() {
        let folder = folder(&[
            ("b/2.png", 2),
            ("b/deep/1.bmp", 1),
            ("a/x.webp", 3),
            (".git/n.png", 9),
        ]);
        std::fs::write(folder.path().join("notes.txt"), "no picture").unwrap();
        let data = Dataset::open(folder.path(), &Options::new(4, 3)).unwrap();
        assert_eq!(data.classes(), ["a", "b"]);
        assert_eq!(data.labels(), Some(&[0, 1, 1][..]));
        assert_eq!(first_bytes(&data), [3, 2, 1]);
        assert_eq!(data.shape(), [3, 4, 4]);
    }

    #[test]
    fn a_flat_folder_has_no_labels() {
        let folder = folder(&[("2.png", 2), ("1.JPG", 128)]);
        let data = Dataset::open(folder.path(), &Options::new(4, 1)).unwrap();
        assert_eq!((data.labels(), data.classes().len()), (None, 0));
        assert_eq!(first_bytes(&data), [128, 2]);
    }

    #[test]
    fn train_and_test_are_splits() {
        let folder = folder(&[
            ("train/a/1.png", 1),
            ("test/a/2.png", 2),
            ("train/b/3.png", 3),
        ]);
        let mut options = Options::new(4, 1);
        let train = Dataset::open(folder.path(), &options).unwrap();
        assert_eq!(
            (first_bytes(&train), train.classes()),
            (vec![1, 3], &["a".to_owned(), "b".to_owned()][..])
        );
        options.split = Split::Test;
        assert_eq!(
            first_bytes(&Dataset::open(folder.path(), &options).unwrap()),
            [2]
        );
        let error = Dataset::open(&folder.path().join("train"), &options).unwrap_err();
        assert!(error.to_string().contains("`split` is test"), "{error}");
    }

    #[test]
    fn an_unreadable_picture_is_named_or_skipped() {
        let folder = folder(&[("1.png", 1), ("2.png", 2)]);
        let broken = folder.path().join("broken.png");
        let whole = std::fs::read(folder.path().join("1.png")).unwrap();
        std::fs::write(&broken, &whole[..whole.len() / 2]).unwrap();
        let mut options = Options::new(4, 1);
        let error = Dataset::open(folder.path(), &options).unwrap_err();
        assert!(error.to_string().contains("broken.png"), "{error}");
        options.skip_unreadable = true;
        let data = Dataset::open(folder.path(), &options).unwrap();
        assert_eq!(first_bytes(&data), [1, 2]);
        assert_eq!(data.skipped().len(), 1);
        assert_eq!(data.skipped()[0].name, broken);
    }

    #[test]
    fn empty_mixed_and_oversized_folders_are_errors() {
        let message = |pictures: &[(&str, u8)], size| {
            let folder = folder(pictures);
            let error = Dataset::open(folder.path(), &Options::new(size, 1)).unwrap_err();
            error.to_string()
        };
        assert!(message(&[], 4).contains("holds no image"));
        assert!(message(&[("1.png", 1), ("a/2.png", 2)], 4).contains("class folders"));
        let oversized = message(&[("big.png", 1)], 3);
        assert!(
            oversized.contains("big.png") && oversized.contains("resize"),
            "{oversized}"
        );
    }
}
