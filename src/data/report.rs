//! What was seen while a data set was read, so that nothing is taken, changed or left out unseen.

use super::list::layout::{LabelSource, Layout};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What was seen while a data set was read. All counts are of pictures that were taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The folder inside the data set whose pictures were taken, relative to it; empty if that is all of it.
    pub taken: PathBuf,
    /// Whether [`taken`](Self::taken) ends in one of several parts, such as `train`.
    pub is_part: bool,
    /// Where the classes come from.
    pub labels: LabelSource,
    /// Files that are no pictures or of a kind that is not read, by kind. Hidden files are not counted.
    pub left_out: Vec<LeftOut>,
    /// Labels in a `dataset.json` for which there is no picture.
    pub unused_labels: usize,
    /// Pictures that were transparent in places, and were laid on the background.
    pub transparent: usize,
    /// Pictures that were turned as their metadata (EXIF, XMP) say.
    pub turned: usize,
    /// Pictures that are the first of several frames or pages.
    pub moving: usize,
    /// Pictures that were not all grey.
    pub coloured: usize,
}

/// An image that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The file, or the name inside the archive.
    pub name: PathBuf,
    /// Why it could not be used.
    pub reason: String,
}

/// Files of one kind that were not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// What they are: `HEIC`, `.txt`.
    pub kind: String,
    /// How many there are.
    pub count: usize,
    /// The first of them, relative to the data set.
    pub first: Vec<PathBuf>,
}

/// How many files of a kind are named.
const NAMED: usize = 3;

/// Files that are left out, for the part that a layout takes.
pub(super) fn left_out(others: &[(PathBuf, String)], layout: &Layout) -> Vec<LeftOut> {
    let mut kinds: BTreeMap<&str, Vec<&Path>> = BTreeMap::new();
    for (name, kind) in others {
        let read =
            layout.labels == LabelSource::DatasetJson && layout.json.as_deref() == Some(name);
        if name.starts_with(&layout.taken) && !read {
            kinds.entry(kind).or_default().push(name);
        }
    }
    let of = |(kind, names): (&str, Vec<&Path>)| LeftOut {
        kind: kind.into(),
        count: names.len(),
        first: names.iter().take(NAMED).map(PathBuf::from).collect(),
    };
    kinds.into_iter().map(of).collect()
}

impl std::fmt::Display for LeftOut {
    /// `4 HEIC (a.heic, b.heic, c.heic, ...)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<String> = self
            .first
            .iter()
            .map(|name| name.display().to_string())
            .collect();
        let more = if self.count > self.first.len() {
            ", ..."
        } else {
            ""
        };
        write!(
            f,
            "{} {} ({}{more})",
            self.count,
            self.kind,
            names.join(", ")
        )
    }
}
