//! A folder of pictures; each sub-folder is a class, if there are any.

use super::super::kind::{self, HEAD, Kind, is_passed_over};
use super::super::{Skipped, Split, idx};
use super::layout::arrange;
use super::listing::{Found, Listing, Names, Place};
use crate::Error;
use rayon::prelude::*;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use walkdir::{DirEntry, WalkDir};

/// All files below a folder, sorted, and what could not be followed.
fn files(folder: &Path) -> Result<(Vec<PathBuf>, Vec<Skipped>), Error> {
    let visible = |entry: &DirEntry| entry.depth() == 0 || !is_passed_over(entry.file_name());
    let (mut files, mut broken) = (Vec::new(), Vec::new());
    let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name();
    for entry in walk.into_iter().filter_entry(visible) {
        match entry {
            Ok(entry) if entry.file_type().is_file() => {
                let inside = entry.path().strip_prefix(folder).unwrap_or(entry.path());
                files.push(inside.to_owned());
            }
            Ok(_) => {}
            Err(error) => {
                let name = error.path().unwrap_or(folder).to_owned();
                if name == folder {
                    return Err(Error::file("read", folder)(error.into()));
                }
                if !name.file_name().is_some_and(is_passed_over) {
                    let reason = reason(&name, &error);
                    broken.push(Skipped { name, reason });
                }
            }
        }
    }
    files.sort();
    Ok((files, broken))
}

/// Why an entry could not be followed, without its path.
fn reason(name: &Path, error: &walkdir::Error) -> String {
    if let Some(ancestor) = error.loop_ancestor() {
        return format!(
            "the link leads back to {}, which it is in",
            ancestor.display()
        );
    }
    let is_link = name.symlink_metadata().is_ok_and(|data| data.is_symlink());
    match (error.io_error(), std::fs::read_link(name)) {
        (Some(cause), Ok(aim)) if is_link && cause.kind() == std::io::ErrorKind::NotFound => {
            format!("the link leads nowhere: there is no {}", aim.display())
        }
        (Some(cause), _) => cause.to_string(),
        (None, _) => error.to_string(),
    }
}

/// The first bytes of a file, as many as can be read.
fn head(path: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(HEAD as u64).read_to_end(&mut head);
    }
    head
}

/// Lists all pictures below a folder.
pub(super) fn find(folder: &Path, split: Split) -> Result<Found, Error> {
    let (files, broken) = files(folder)?;
    let kinds: Vec<Kind> = files
        .par_iter()
        .map(|name| kind::of(name, &head(&folder.join(name))))
        .collect();
    let files = files.into_iter().zip(kinds);
    let names = Names::sort(files);
    if names.pictures.is_empty()
        && let Some(found) = idx_inside(folder, &names.others, split)
    {
        return Ok(found);
    }
    let layout = arrange(folder, &names.pictures, split, &mut |name| {
        let path = folder.join(name);
        path.is_file()
            .then(|| std::fs::read(&path).map_err(Error::file("read", &path)))
    })?;
    let taken = folder.join(&layout.taken);
    let broken = broken.into_iter();
    let broken = broken.filter(|skipped| skipped.name.starts_with(&taken));
    let broken = broken.collect();
    Ok(Found::Files(Box::new(Listing::new(
        Place::Folder(folder.to_owned()),
        names,
        layout,
        broken,
    ))))
}

/// IDX files in a folder further inside, as torchvision keeps them: `FashionMNIST/raw/train-images-idx3-ubyte`.
fn idx_inside(folder: &Path, others: &[(PathBuf, String)], split: Split) -> Option<Found> {
    let mut places: Vec<&Path> = others
        .iter()
        .filter_map(|(name, _)| name.parent())
        .collect();
    places.dedup();
    let found = places.into_iter().filter_map(|place| {
        let images = idx::find(&folder.join(place), split)?;
        Some(Found::Idx {
            images,
            taken: place.to_owned(),
        })
    });
    let mut found: Vec<_> = found.collect();
    found.pop().filter(|_| found.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dataset, LabelSource, Options, SHEET};
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
        assert_eq!(data.report().labels, LabelSource::Folders);
        assert_eq!(data.report().left_out[0].to_string(), "1 .txt (notes.txt)");
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
        std::fs::write(folder.path().join("empty.jpg"), "").unwrap();
        let mut options = Options::new(4, 1);
        let error = Dataset::open(folder.path(), &options)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("broken.png") && error.contains("--skip-unreadable"),
            "{error}"
        );
        options.skip_unreadable = true;
        let data = Dataset::open(folder.path(), &options).unwrap();
        assert_eq!(first_bytes(&data), [1, 2]);
        assert_eq!(data.skipped().len(), 2);
        assert_eq!(data.skipped()[0].name, broken);
        assert_eq!(data.skipped()[1].reason, "the file is empty");
    }

    #[cfg(unix)]
    #[test]
    fn links_that_lead_nowhere_or_back_are_named_once_or_skipped() {
        use std::os::unix::fs::symlink;
        for (aim, reason) in [
            ("gone.png", "leads nowhere: there is no gone.png"),
            (".", "leads back to"),
        ] {
            let folder = folder(&[("1.png", 1)]);
            let link = folder.path().join("link");
            symlink(aim, &link).unwrap();
            let mut options = Options::new(4, 1);
            let error = Dataset::open(folder.path(), &options)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(reason) && error.contains("--skip-unreadable"),
                "{error}"
            );
            assert_eq!(error.matches(link.to_str().unwrap()).count(), 1, "{error}");
            options.skip_unreadable = true;
            let data = Dataset::open(folder.path(), &options).unwrap();
            assert_eq!((data.len(), &data.skipped()[0].name), (1, &link));
        }
        // A link that leads somewhere is followed.
        let (here, there) = (folder(&[("1.png", 1)]), folder(&[("2.png", 2)]));
        symlink(there.path().join("2.png"), here.path().join("2.png")).unwrap();
        assert_eq!(
            first_bytes(&Dataset::open(here.path(), &Options::new(4, 1)).unwrap()),
            [1, 2]
        );
    }

    #[test]
    fn empty_mixed_and_oversized_folders_are_errors() {
        let message = |pictures: &[(&str, u8)], size| {
            let folder = folder(pictures);
            std::fs::write(folder.path().join("x.heic"), b"\0\0\0\x18ftypheic").unwrap();
            let error = Dataset::open(folder.path(), &Options::new(size, 1)).unwrap_err();
            error.to_string()
        };
        let empty = message(&[], 4);
        assert!(
            empty.contains("holds no image") && empty.contains("1 HEIC (x.heic)"),
            "{empty}"
        );
        let mixed = message(&[("1.png", 1), ("a/2.png", 2)], 4);
        assert!(
            mixed.contains("class folders") && mixed.contains("1.png"),
            "{mixed}"
        );
        let oversized = message(&[("big.png", 1)], 3);
        assert!(
            oversized.contains("big.png") && oversized.contains("--resize"),
            "{oversized}"
        );
    }

    #[test]
    fn idx_files_further_inside_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let raw = folder.path().join("FashionMNIST/raw");
        std::fs::create_dir_all(&raw).unwrap();
        let file = [&[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1][..], &[7]].concat();
        std::fs::write(raw.join("train-images-idx3-ubyte"), file).unwrap();
        let data = Dataset::open(folder.path(), &Options::new(1, 1)).unwrap();
        assert_eq!(
            (first_bytes(&data), data.report().taken.to_str()),
            (vec![7], Some("FashionMNIST/raw"))
        );
    }
}
