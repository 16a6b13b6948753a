//! Parts of a data set, by the names of their folders.

use super::super::Split;
use crate::Error;
use std::collections::BTreeSet;
use std::path::Path;

/// The part that a folder's name stands for, if any.
fn part(name: &str) -> Option<NamedSplit> {
    match name.to_ascii_lowercase().as_str() {
        "train" | "training" => Some(NamedSplit::Train),
        "test" | "testing" => Some(NamedSplit::Test),
        "val" | "valid" | "validation" => Some(NamedSplit::Validation),
        _ => None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamedSplit {
    Train,
    Test,
    Validation,
}

/// The folder of the wanted part, where the folders are parts.
pub(super) fn choose<'a>(
    path: &Path,
    taken: &Path,
    tops: &BTreeSet<&'a str>,
    split: Split,
) -> Result<Option<&'a str>, Error> {
    let of = |wanted: NamedSplit| tops.iter().find(|top| part(top) == Some(wanted)).copied();
    let [train, test, validation] =
        [NamedSplit::Train, NamedSplit::Test, NamedSplit::Validation].map(of);
    let place = path.join(taken);
    if let Some(odd) = tops.iter().find(|top| part(top).is_none()) {
        // `train` may be a class beside bus and tram; a test part beside it may not be trained on.
        if let (Some(train), Some(test)) = (train, test) {
            let reason = format!(
                "it has folders `{train}` and `{test}`, which are parts of a data set, and `{odd}` beside them; name the \
                 one to read, such as {}, or move the others",
                place.join(train).display()
            );
            return Err(Error::malformed(place, "image data set", reason));
        }
        return Ok(None);
    }
    let wanted = match split {
        Split::Train => train,
        Split::Test => test.or(validation),
    };
    if wanted.is_none() {
        let name = if split == Split::Train {
            "train"
        } else {
            "test"
        };
        let found: Vec<String> = tops.iter().map(|top| format!("`{top}`")).collect();
        let expected = format!(
            "a split the data have; pictures need folders `train` and `test`, and {} has {}",
            place.display(),
            found.join(", ")
        );
        return Err(Error::invalid("split", name, expected));
    }
    Ok(wanted)
}

/// Whether the part that `root` is below is this one. Both lie equally deep, and differ in the part's folder only.
pub(super) fn has_part(root: &Path, taken: &Path, wanted: NamedSplit) -> bool {
    let pairs = root.components().zip(taken.components());
    let mut differing = pairs.filter(|(a, b)| a != b);
    differing
        .next()
        .and_then(|(name, _)| part(name.as_os_str().to_str()?))
        == Some(wanted)
}
