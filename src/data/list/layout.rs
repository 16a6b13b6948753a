//! Which of the pictures below a folder are taken, and which class each has: by wrappers, parts, `dataset.json` and class
//! folders.

use super::super::Split;
use super::labels::Labels;
use super::order::sort;
use super::part::{NamedSplit, choose, has_part};
use crate::Error;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// The file of labels of EDM's and StyleGAN's data sets.
pub(super) const LABEL_FILE: &str = "dataset.json";

/// Where the classes of a data set come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LabelSource {
    /// There are none.
    #[default]
    None,
    /// A folder for each class.
    Folders,
    /// A file `dataset.json`, as EDM and StyleGAN write it.
    DatasetJson,
    /// A label file of IDX.
    Idx,
}

/// What is taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::data) struct Layout {
    /// The folder that holds it, relative to the data set.
    pub(in crate::data) taken: PathBuf,
    pub(in crate::data) is_part: bool,
    /// Pictures by their place in the list, each with its class.
    pub(in crate::data) items: Vec<(usize, Option<usize>)>,
    pub(in crate::data) classes: Vec<String>,
    pub(in crate::data) labels: LabelSource,
    pub(in crate::data) unused_labels: usize,
    /// The file with the labels, relative to the data set.
    pub(in crate::data) json: Option<PathBuf>,
}

/// The first folder on the way to a file.
fn first(inside: &Path) -> Option<&str> {
    let mut parts = inside.components();
    let first = parts.next()?;
    parts.next()?;
    match first {
        Component::Normal(name) => name.to_str(),
        _ => None,
    }
}

/// Gives the content of a file of the data set, if there is one of that name.
pub(super) type ReadFile<'a> = dyn FnMut(&Path) -> Option<Result<Vec<u8>, Error>> + 'a;

/// Looks at the names of all pictures (sorted, relative to `path`).
pub(super) fn arrange(
    path: &Path,
    pictures: &[PathBuf],
    split: Split,
    read: &mut ReadFile<'_>,
) -> Result<Layout, Error> {
    let mut taken = PathBuf::new();
    // Below a part: the others' folders, whose insides are looked at together with its own.
    let mut beside: Vec<PathBuf> = Vec::new();
    let mut is_part = false;
    loop {
        let json = taken.join(LABEL_FILE);
        if let Some(content) = read(&json)
            && let Some(labels) = Labels::parse(&path.join(&json), &content?)?
        {
            return labelled(path, pictures, (taken, is_part), &labels, json);
        }
        let roots = std::iter::once(&taken).chain(&beside);
        let inside = roots.flat_map(|root| {
            pictures
                .iter()
                .filter_map(move |p| p.strip_prefix(root).ok())
        });
        let tops: Option<BTreeSet<&str>> = inside.map(first).collect();
        // Pictures that lie here, or none at all: there is nothing to look through.
        let Some(tops) = tops.filter(|tops| !tops.is_empty()) else {
            break;
        };
        if !is_part && let Some(chosen) = choose(path, &taken, &tops, split)? {
            beside = tops
                .iter()
                .filter(|top| **top != chosen)
                .map(|top| taken.join(top))
                .collect();
            taken.push(chosen);
            is_part = true;
        } else if let Some(only) = tops.first().filter(|_| tops.len() == 1) {
            beside.iter_mut().for_each(|root| root.push(only));
            taken.push(only);
        } else {
            break;
        }
    }
    if split == Split::Test && !is_part {
        let expected = "a split the data have; pictures need folders `train` and `test`";
        return Err(Error::invalid("split", "test", expected));
    }
    in_folders(path, pictures, (taken, is_part), &beside)
}

/// Classes by folders, or none.
fn in_folders(
    path: &Path,
    pictures: &[PathBuf],
    (taken, is_part): (PathBuf, bool),
    beside: &[PathBuf],
) -> Result<Layout, Error> {
    let inside = |root: &Path| {
        let root = root.to_owned();
        pictures
            .iter()
            .enumerate()
            .filter_map(move |(i, p)| Some((i, p.strip_prefix(&root).ok()?)))
    };
    let all: Vec<(usize, &Path)> = inside(&taken).collect();
    let class = |file: &Path| {
        let mut parts = file.components();
        let first = parts.next()?;
        parts.next()?;
        Some(first.as_os_str().to_string_lossy().into_owned())
    };
    let mut classes: Vec<String> = all.iter().filter_map(|(_, file)| class(file)).collect();
    sort(&mut classes);
    if !classes.is_empty()
        && let Some((_, stray)) = all.iter().find(|(_, file)| class(file).is_none())
    {
        let reason = format!(
            "some images are in class folders and some are not: {} is in `{}`, but {} in none",
            path.join(&taken)
                .join(
                    all.iter()
                        .find(|(_, f)| class(f).is_some())
                        .map_or(Path::new(""), |(_, f)| f)
                )
                .display(),
            classes[0],
            path.join(&taken).join(stray).display()
        );
        return Err(Error::malformed(path, "image data set", reason));
    }
    // A part that lacks a class numbers the others as the first part does.
    if is_part
        && let Some(train) = beside
            .iter()
            .find(|root| has_part(root, &taken, NamedSplit::Train))
    {
        let mut known: Vec<String> = inside(train).filter_map(|(_, file)| class(file)).collect();
        sort(&mut known);
        let new = classes.into_iter().filter(|name| !known.contains(name));
        classes = known
            .iter()
            .cloned()
            .chain(new.collect::<Vec<_>>())
            .collect();
    }
    let numbers: BTreeMap<&str, usize> = classes
        .iter()
        .enumerate()
        .map(|(i, name)| (name.as_str(), i))
        .collect();
    let items = all.iter().map(|(i, file)| {
        (
            *i,
            class(file).and_then(|name| numbers.get(name.as_str()).copied()),
        )
    });
    Ok(Layout {
        items: items.collect(),
        labels: if classes.is_empty() {
            LabelSource::None
        } else {
            LabelSource::Folders
        },
        taken,
        is_part,
        classes,
        ..Layout::default()
    })
}

/// Classes as a file gives them.
fn labelled(
    path: &Path,
    pictures: &[PathBuf],
    (taken, is_part): (PathBuf, bool),
    labels: &Labels,
    json: PathBuf,
) -> Result<Layout, Error> {
    let mut items = Vec::new();
    let mut used = 0;
    for (i, picture) in pictures.iter().enumerate() {
        let Ok(inside) = picture.strip_prefix(&taken) else {
            continue;
        };
        let label = match &labels.of {
            None => None,
            Some(of) => {
                let label = of.get(&*slashes(inside)).copied();
                if label.is_none() {
                    let reason = format!(
                        "it has no label for {}, which lies beside it",
                        inside.display()
                    );
                    return Err(Error::malformed(path.join(&json), "file of labels", reason));
                }
                used += 1;
                label
            }
        };
        items.push((i, label));
    }
    let of = labels.of.as_ref();
    let classes = of
        .and_then(|of| of.values().max())
        .map_or(0, |highest| highest + 1);
    Ok(Layout {
        taken,
        is_part,
        items,
        classes: (0..classes).map(|class| class.to_string()).collect(),
        labels: LabelSource::DatasetJson,
        unused_labels: of.map_or(0, |of| of.len() - used),
        json: Some(json),
    })
}

/// A path as `dataset.json` writes it.
fn slashes(inside: &Path) -> String {
    let parts = inside
        .components()
        .map(|part| part.as_os_str().to_string_lossy());
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(pictures: &[&str], split: Split, json: Option<(&str, &str)>) -> Result<Layout, String> {
        let mut pictures: Vec<PathBuf> = pictures.iter().map(PathBuf::from).collect();
        pictures.sort();
        let mut read = |name: &Path| {
            let (at, text) = json.filter(|(at, _)| Path::new(at) == name)?;
            let _ = at;
            Some(Ok(text.as_bytes().to_vec()))
        };
        arrange(Path::new("data"), &pictures, split, &mut read).map_err(|e| e.to_string())
    }

    fn train(pictures: &[&str]) -> Layout {
        look(pictures, Split::Train, None).unwrap()
    }

    fn labels(layout: &Layout) -> Vec<Option<usize>> {
        layout.items.iter().map(|(_, label)| *label).collect()
    }

    #[test]
    fn lone_wrappers_are_looked_through() {
        let layout = train(&["a/b/cat/1.png", "a/b/dog/1.png"]);
        assert_eq!(
            (layout.taken.to_str().unwrap(), layout.is_part),
            ("a/b", false)
        );
        assert_eq!(layout.classes, ["cat", "dog"]);
        let layout = train(&["photos/1.png", "photos/2.png"]);
        assert_eq!(
            (layout.taken.to_str().unwrap(), layout.classes.len()),
            ("photos", 0)
        );
        assert_eq!(labels(&layout), [None, None]);
        assert_eq!(train(&["1.png"]).taken, Path::new(""));
    }

    #[test]
    fn parts_below_wrappers_are_seen() {
        let pictures = ["w/train/a/1.png", "w/train/b/2.png", "w/test/b/3.png"];
        let layout = train(&pictures);
        assert_eq!(
            (layout.taken.to_str().unwrap(), layout.is_part),
            ("w/train", true)
        );
        assert_eq!(labels(&layout), [Some(0), Some(1)]);
        let layout = look(&pictures, Split::Test, None).unwrap();
        assert_eq!(layout.taken, Path::new("w/test"));
        // `b` has the number that it has in training.
        assert_eq!(
            (labels(&layout), layout.classes),
            (vec![Some(1)], vec!["a".into(), "b".into()])
        );
    }

    #[test]
    fn other_names_of_parts_are_known() {
        let pictures = [
            "Training/a/1.png",
            "Training/b/1.png",
            "validation/a/1.png",
            "validation/b/1.png",
        ];
        assert_eq!(train(&pictures).taken, Path::new("Training"));
        assert_eq!(
            look(&pictures, Split::Test, None).unwrap().taken,
            Path::new("validation")
        );
        assert!(
            look(&["test/1.png"], Split::Train, None)
                .unwrap_err()
                .contains("`split` is train")
        );
        assert!(
            look(&["train/1.png"], Split::Test, None)
                .unwrap_err()
                .contains("`split` is test")
        );
        assert!(
            look(&["1.png"], Split::Test, None)
                .unwrap_err()
                .contains("`split` is test")
        );
    }

    #[test]
    fn a_test_part_is_never_a_class() {
        let error = look(
            &["train/1.png", "test/1.png", "more/1.png"],
            Split::Train,
            None,
        )
        .unwrap_err();
        assert!(
            error.contains("`more`") && error.contains("data/train"),
            "{error}"
        );
        // Vehicles.
        assert_eq!(
            train(&["bus/1.png", "train/1.png"]).classes,
            ["bus", "train"]
        );
    }

    #[test]
    fn wrappers_inside_parts_are_the_same_in_all() {
        assert_eq!(
            train(&["train/img/1.png", "test/img/2.png"]).taken,
            Path::new("train/img")
        );
        let layout = train(&["train/cat/1.png", "test/cat/2.png", "test/dog/3.png"]);
        assert_eq!(
            (layout.taken.to_str().unwrap(), layout.classes),
            ("train", vec!["cat".to_owned()])
        );
    }

    #[test]
    fn labels_come_from_a_file_where_there_is_one() {
        let pictures = ["w/00000/img00000000.png", "w/00000/img00000001.png"];
        let json = r#"{"labels": [["00000/img00000000.png", 6], ["00000/img00000001.png", 0], ["gone.png", 1]]}"#;
        let layout = look(&pictures, Split::Train, Some(("w/dataset.json", json))).unwrap();
        assert_eq!(
            (labels(&layout), layout.classes.len(), layout.unused_labels),
            (vec![Some(6), Some(0)], 7, 1)
        );
        assert_eq!(layout.taken, Path::new("w"));
        let layout = look(
            &pictures,
            Split::Train,
            Some(("w/dataset.json", r#"{"labels": null}"#)),
        )
        .unwrap();
        assert_eq!(
            (labels(&layout), layout.classes.len()),
            (vec![None, None], 0)
        );
        let short = r#"{"labels": [["00000/img00000000.png", 6]]}"#;
        let error = look(&pictures, Split::Train, Some(("w/dataset.json", short))).unwrap_err();
        assert!(
            error.contains("img00000001.png") && error.contains("w/dataset.json"),
            "{error}"
        );
    }
}
