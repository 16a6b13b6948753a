//! Which images to read, and what is said of them: how many of which class, what was done to them, what was left out.

use crate::context::Context;
use crate::run::folder::Folder;
use crate::screen::progress::Reporter;
use clap::Args;
use fewstep::Error;
use fewstep::data::{Dataset, LabelSource, Options, Padding, Split};
use fewstep::model::State;
use std::path::{Path, PathBuf};

/// Which images to train on.
#[derive(Args, Clone, Debug)]
pub struct DataArgs {
    /// Images: MNIST-style IDX files, a folder (a sub-folder for each class, or none), EDM's or StyleGAN's data sets, or a
    /// zip of one
    #[arg(long, value_name = "PATH")]
    pub data: PathBuf,
    #[command(flatten)]
    pub read: ReadArgs,
}

/// How images are read.
#[derive(Args, Clone, Debug)]
pub struct ReadArgs {
    /// Cut and scale images of another size to the network's, instead of padding them
    #[arg(long)]
    pub resize: bool,
    /// Leave out images that cannot be read, and links that lead nowhere
    #[arg(long)]
    pub skip_unreadable: bool,
    /// The colour under what is transparent: white, black, grey or #rrggbb [default: white; for Inception features and
    /// CLIP none, and pictures with alpha are refused]
    #[arg(long, value_name = "COLOUR", value_parser = colour)]
    pub background: Option<[u8; 3]>,
}

fn colour(text: &str) -> Result<[u8; 3], String> {
    match text {
        "white" => return Ok([255; 3]),
        "black" => return Ok([0; 3]),
        "grey" | "gray" => return Ok([128; 3]),
        _ => {}
    }
    let digits = text.strip_prefix('#').unwrap_or(text);
    let whole = digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = u32::from_str_radix(digits, 16).ok().filter(|_| whole);
    let [_, red, green, blue] = number
        .ok_or("write white, black, grey or #rrggbb")?
        .to_be_bytes();
    Ok([red, green, blue])
}

impl DataArgs {
    /// Reads the images for a network of `size` and `channels`, and says what was seen.
    pub fn open(
        &self,
        size: usize,
        channels: usize,
        split: Split,
        context: &Context,
    ) -> anyhow::Result<Dataset> {
        let padding = if self.read.resize {
            Padding::Resize
        } else {
            Padding::Pad
        };
        let options = Options {
            padding,
            split,
            skip_unreadable: self.read.skip_unreadable,
            background: self.read.background.unwrap_or([255; 3]),
            ..Options::new(size, channels)
        };
        let data = Dataset::open(&self.data, &options)?;
        tell(&self.data, &data, context.reporter);
        Ok(data)
    }

    /// Cuts and scales pictures whatever was typed, if `on`.
    #[must_use]
    pub fn resizing(mut self, on: bool) -> Self {
        self.read.resize |= on;
        self
    }

    /// Says if the images of a run that goes on cannot be compared with those that it was begun with.
    pub fn compare(&self, folder: &Folder, state: &State, context: &Context) {
        if state.progress.data.is_none() {
            context.reporter.say(format!(
                "{}: begun by an earlier version, which did not note its images; nobody knows whether {} still holds them",
                folder.path().display(),
                self.data.display()
            ));
        }
    }

    /// What a run says that was begun with other images.
    pub fn others(&self, folder: &Folder) -> String {
        let (run, data) = (folder.path().display(), self.data.display());
        format!("{run} cannot go on with what {data} holds now")
    }

    /// Reads the test images, where there are any.
    pub fn open_test(
        &self,
        size: usize,
        channels: usize,
        context: &Context,
    ) -> anyhow::Result<Option<Dataset>> {
        match self.open(size, channels, Split::Test, context) {
            Ok(data) => Ok(Some(data)),
            Err(error) if matches!(error.downcast_ref(), Some(Error::InvalidValue { .. })) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// How many unreadable images are named.
const NAMED: usize = 10;

/// How many classes are named.
const CLASSES: usize = 12;

/// Says what was read, and what people would not expect of it.
fn tell(path: &Path, data: &Dataset, reporter: Reporter) {
    for line in lines(path, data) {
        reporter.say(line);
    }
    for skipped in data.skipped().iter().take(NAMED) {
        let name = skipped.name.display();
        reporter.warn(format!("left out {name}: {}", skipped.reason));
    }
    if data.skipped().len() > NAMED {
        let more = data.skipped().len() - NAMED;
        reporter.warn(format!("left out {more} more that cannot be read"));
    }
    for warning in warnings(path, data) {
        reporter.warn(warning);
    }
}

/// What was read and done.
fn lines(path: &Path, data: &Dataset) -> Vec<String> {
    let report = data.report();
    let place = path.join(&report.taken);
    let from = match report.labels {
        LabelSource::DatasetJson => " by its dataset.json",
        _ => "",
    };
    let mut lines = vec![format!(
        "{}: {} images, {}{from}",
        place.display(),
        data.len(),
        classes(data)
    )];
    let count = |count: usize, what: &str| {
        (count > 0).then(|| format!("{}: {count} {what}", path.display()))
    };
    lines.extend(count(
        report.transparent,
        "with transparent parts, laid on the colour of --background",
    ));
    lines.extend(count(
        report.turned,
        "turned as their orientation (EXIF, XMP) says",
    ));
    lines.extend(count(
        report.moving,
        "with several frames or pages, of which the first is taken",
    ));
    lines.extend(count(
        report.unused_labels,
        "labels in dataset.json without an image",
    ));
    let [channels, ..] = data.shape();
    if channels == 3 && report.coloured == 0 {
        lines.push(format!(
            "{}: all images are grey; `channels` = 1 would do",
            path.display()
        ));
    }
    let others = report
        .left_out
        .iter()
        .filter(|left| !is_picture(&left.kind));
    let others: Vec<String> = others.map(ToString::to_string).collect();
    if !others.is_empty() {
        lines.push(format!(
            "{}: left out {}, which are no images",
            path.display(),
            others.join(", ")
        ));
    }
    lines
}

/// Whether a kind of file is one that people know as pictures.
fn is_picture(kind: &str) -> bool {
    !kind.starts_with('.') && !["without an ending", "video", "zip", "gzip", "PDF"].contains(&kind)
}

/// What was lost.
fn warnings(path: &Path, data: &Dataset) -> Vec<String> {
    let report = data.report();
    let mut warnings = Vec::new();
    let pictures = report.left_out.iter().filter(|left| is_picture(&left.kind));
    let pictures: Vec<String> = pictures.map(ToString::to_string).collect();
    if !pictures.is_empty() {
        warnings.push(format!(
            "{}: left out {}, which are not read; save them as PNG to have them",
            path.display(),
            pictures.join(", ")
        ));
    }
    let [channels, ..] = data.shape();
    if channels == 1 && report.coloured > 0 {
        warnings.push(format!(
            "{}: {} of {} images have colour, of which only the brightness is kept; `channels` = 3 keeps it",
            path.display(),
            report.coloured,
            data.len()
        ));
    }
    warnings
}

/// The classes of images in the order of their numbers, with how many there are of each.
pub fn classes(data: &Dataset) -> String {
    let Some(labels) = data.labels() else {
        return "without classes".into();
    };
    let names = data.classes();
    let mut counts = vec![0; names.len()];
    labels.iter().for_each(|label| counts[*label] += 1);
    let each = names.iter().zip(counts).enumerate().take(CLASSES);
    let each: Vec<String> = each
        .map(|(i, (name, count))| match *name == i.to_string() {
            true => format!("{i} ({count})"),
            false => format!("{i} {name} ({count})"),
        })
        .collect();
    let more = match names.len().saturating_sub(CLASSES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{} classes: {}{more}", names.len(), each.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_typed_by_name_or_in_hexadecimal() {
        assert_eq!(colour("white"), Ok([255; 3]));
        assert_eq!(colour("#0a141E"), Ok([10, 20, 30]));
        for bad in ["", "#fff", "#12345g", "blue", "+12345"] {
            assert!(colour(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn classes_are_told_in_their_order() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let data = |labels: Vec<usize>, classes| {
            Dataset::new(vec![0; labels.len()], [1, 1, 1], Some(labels), classes).unwrap()
        };
        let told = classes(&data(vec![1, 0, 1], names(&["cat", "dog"])));
        assert_eq!(told, "2 classes: 0 cat (1), 1 dog (2)");
        let told = classes(&data(vec![1, 0, 1], names(&["0", "1"])));
        assert_eq!(told, "2 classes: 0 (1), 1 (2)");
        let many = (0..100).map(|i| format!("x{i}")).collect();
        assert!(classes(&data(vec![0], many)).ends_with("11 x11 (0) and 88 more"));
    }
}
