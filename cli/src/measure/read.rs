//! Features of the images of a data set.

use crate::measure::clip::Eye;
use crate::measure::feature_set::{Collector, FeatureSet};
use crate::measure::keep::Stage;
use crate::measure::record::Record;
use crate::screen::failure::wrong;
use crate::screen::progress::Reporter;
use anyhow::Context as _;
use fewstep::Device;
use fewstep::data::{Dataset, Pictures, Skipped};
use fewstep::metric::Extract;

/// Images that are read together.
pub const BATCH: usize = 250;
/// Pictures at their own sizes, which may be large.
pub const BATCH_PICTURES: usize = 64;

/// Collects the features of some images of a data set.
pub fn read_into(
    mut collector: Collector<'_>,
    data: &Dataset,
    indices: &[usize],
    stage: Stage<'_>,
    (device, reporter): (&Device, Reporter),
) -> anyhow::Result<FeatureSet> {
    let mut progress = reporter.start("images of the data set", 0, indices.len() as u64);
    let batches: Vec<&[usize]> = indices.chunks(BATCH).collect();
    let features = collector.features();
    let make = |index: usize| {
        let images = data.batch(batches[index], &[], device);
        Ok(Record {
            rows: features.extract(images)?,
            ..Record::default()
        })
    };
    stage.batches(batches.len(), make, |record| {
        collector.push(&record.rows)?;
        progress.set(collector.count(), "");
        Ok(())
    })?;
    progress.finish();
    finish(collector)
}

/// Collects the features of some pictures, each at its own size, as they are read.
pub fn read_pictures_into(
    mut collector: Collector<'_>,
    pictures: &Pictures,
    indices: &[usize],
    skip_unreadable: bool,
    stage: Stage<'_>,
    (device, reporter): (&Device, Reporter),
) -> anyhow::Result<FeatureSet> {
    let mut progress = reporter.start("images of the data set", 0, indices.len() as u64);
    let batches: Vec<&[usize]> = indices.chunks(BATCH_PICTURES).collect();
    let features = collector.features();
    let make = |index: usize| rows_of(pictures, batches[index], features, skip_unreadable, device);
    let mut notes = Notes::default();
    stage.batches(batches.len(), make, |record| {
        collector.push(&record.rows)?;
        notes.add(&record.note);
        progress.set(collector.count(), "");
        Ok(())
    })?;
    progress.finish();
    notes.tell(reporter);
    finish(collector)
}

/// The cosines of pictures with their prompts.
pub fn read_scores(
    eye: &Eye,
    pictures: &Pictures,
    chosen: &[(usize, usize)],
    skip_unreadable: bool,
    stage: Stage<'_>,
    reporter: Reporter,
) -> anyhow::Result<Vec<f64>> {
    let mut progress = reporter.start("pictures and prompts", 0, chosen.len() as u64);
    let batches: Vec<&[(usize, usize)]> = chosen.chunks(BATCH_PICTURES).collect();
    let make = |index: usize| {
        let (indices, prompts): (Vec<usize>, Vec<usize>) = batches[index].iter().copied().unzip();
        let mut record = Record::default();
        let (mut read, mut of) = (Vec::new(), Vec::new());
        for (picture, prompt) in pictures.read(&indices).into_iter().zip(prompts) {
            match picture {
                Ok(picture) => {
                    read.push(picture);
                    of.push(prompt);
                }
                Err(skipped) => record.note += &left_out(skipped, skip_unreadable)?,
            }
        }
        let shapes = read.iter().map(|p| (p.shape, p.bytes.as_slice()));
        record.numbers = eye.cosines(&shapes.collect::<Vec<_>>(), &of)?;
        Ok(record)
    };
    let (mut cosines, mut notes) = (Vec::new(), Notes::default());
    stage.batches(batches.len(), make, |record| {
        cosines.extend(&record.numbers);
        notes.add(&record.note);
        progress.set(cosines.len() as u64, "");
        Ok(())
    })?;
    progress.finish();
    notes.tell(reporter);
    Ok(cosines)
}

/// Pictures that were left out.
#[derive(Default)]
struct Notes {
    count: usize,
    first: String,
}

impl Notes {
    fn add(&mut self, note: &str) {
        if let (0, Some(line)) = (self.count, note.lines().next()) {
            self.first = line.into();
        }
        self.count += note.lines().count();
    }

    fn tell(&self, reporter: Reporter) {
        if self.count > 0 {
            let Self { count, first } = self;
            reporter.warn(format!(
                "{count} images were left out, the first is {first}"
            ));
        }
    }
}

/// A line for a picture that cannot be read, unless that is an error.
fn left_out(Skipped { name, reason }: Skipped, skip_unreadable: bool) -> anyhow::Result<String> {
    let said = format!("{}: {reason}", name.display());
    match skip_unreadable {
        true => Ok(said.replace('\n', " ") + "\n"),
        false => Err(wrong(said)),
    }
}

/// The features of a batch of pictures, and a line for each that is left out.
fn rows_of(
    pictures: &Pictures,
    indices: &[usize],
    features: &dyn Extract,
    skip_unreadable: bool,
    device: &Device,
) -> anyhow::Result<Record> {
    let mut record = Record::default();
    // Neighbours of one size go through the network together.
    let mut together: Vec<u8> = Vec::new();
    let mut shape = [0; 3];
    let mut flush = |bytes: Vec<u8>, shape: [usize; 3]| -> anyhow::Result<()> {
        if !bytes.is_empty() {
            let rows = features.extract_bytes(bytes, shape, device)?;
            record.rows.extend(rows);
        }
        Ok(())
    };
    let mut note = String::new();
    for picture in pictures.read(indices) {
        match picture {
            Ok(picture) if picture.shape == shape => together.extend(picture.bytes),
            Ok(picture) => {
                flush(std::mem::replace(&mut together, picture.bytes), shape)?;
                shape = picture.shape;
            }
            Err(skipped) => note += &left_out(skipped, skip_unreadable)?,
        }
    }
    flush(together, shape)?;
    record.note = note;
    Ok(record)
}

fn finish(collector: Collector<'_>) -> anyhow::Result<FeatureSet> {
    let found = collector.finish();
    found
        .map_err(|e| wrong(e.to_string()))
        .context("the data set")
}
