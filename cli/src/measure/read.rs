//! Features of the images of a data set.

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
    let (mut left_out, mut first) = (0, String::new());
    stage.batches(batches.len(), make, |record| {
        collector.push(&record.rows)?;
        let lines = record.note.lines();
        left_out += lines.clone().count();
        if let (true, Some(line)) = (first.is_empty(), lines.clone().next()) {
            first = line.to_string();
        }
        progress.set(collector.count(), "");
        Ok(())
    })?;
    progress.finish();
    if left_out > 0 {
        reporter.warn(format!(
            "{left_out} images were left out, the first is {first}"
        ));
    }
    finish(collector)
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
            Err(Skipped { name, reason }) => {
                let said = format!("{}: {reason}", name.display());
                if !skip_unreadable {
                    return Err(wrong(said));
                }
                note += &said.replace('\n', " ");
                note.push('\n');
            }
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
