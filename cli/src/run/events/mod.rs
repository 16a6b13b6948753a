//! The file that TensorBoard reads, beside the metrics: the same numbers, and the previews.
//!
//! It says nothing that metrics and previews do not say, so that it can be made anew from them whenever a run goes on: no step
//! is in it twice, and none is lost. Its clock counts the seconds of work, as the metrics do.

mod message;
mod record;

use fewstep::model::write_atomically;
use message::{Content, Event, Image, Summary, Value, What};
use serde_json::Value as Json;
use std::io::Write;
use std::path::{Path, PathBuf};

/// TensorBoard knows such files by `tfevents` in their names.
pub const FILE: &str = "events.out.tfevents.fewstep";
/// What begins every file.
const VERSION: &str = "brain.Event:2";

/// Makes the file of a run anew from the lines of its metrics and from its previews; takes it away if there are no lines.
pub fn rebuild(
    folder: &Path,
    metrics: &str,
    preview: impl Fn(u64) -> PathBuf,
) -> anyhow::Result<()> {
    let path = folder.join(FILE);
    let lines = metrics.lines();
    let lines: Vec<Json> = lines.filter_map(|l| serde_json::from_str(l).ok()).collect();
    if lines.is_empty() {
        if path.exists() {
            fs_err::remove_file(&path)?;
        }
        return Ok(());
    }
    let mut bytes = Vec::new();
    begin(&mut bytes);
    for line in &lines {
        record::put(&scalars(line), &mut bytes);
        let picture = preview(line["round"].as_u64().unwrap_or(0));
        if picture.exists() {
            bytes.extend(shown(&picture, line)?);
        }
    }
    Ok(write_atomically(&path, &bytes)?)
}

/// Adds the numbers of a line of metrics.
pub fn append(folder: &Path, line: &Json) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    record::put(&scalars(line), &mut bytes);
    add(folder, bytes)
}

/// Adds a preview, if it is there; `line` is that of the metrics of its round.
pub fn append_preview(folder: &Path, picture: &Path, line: &Json) -> anyhow::Result<()> {
    match picture.exists() {
        true => add(folder, shown(picture, line)?),
        false => Ok(()),
    }
}

fn add(folder: &Path, records: Vec<u8>) -> anyhow::Result<()> {
    let path = folder.join(FILE);
    let mut file = fs_err::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?;
    let mut bytes = Vec::new();
    if file.metadata()?.len() == 0 {
        begin(&mut bytes);
    }
    bytes.extend(records);
    file.write_all(&bytes)?;
    Ok(())
}

fn begin(bytes: &mut Vec<u8>) {
    let first = Event {
        wall_time: 0.0,
        step: 0,
        what: Some(What::FileVersion(VERSION.into())),
    };
    record::put(&first, bytes);
}

/// The numbers of a line, each under a name that TensorBoard sorts by what is before its slash.
fn scalars(line: &Json) -> Event {
    let mut value = Vec::new();
    let mut put = |tag: String, number: &Json| {
        if let Some(number) = number.as_f64() {
            value.push(Value {
                tag,
                content: Some(Content::Scalar(number as f32)),
            });
        }
    };
    put("training/loss".into(), &line["loss"]);
    if let Some(distances) = line["distances"].as_array() {
        for (at, number) in distances.iter().enumerate() {
            let tag = match distances.len() {
                1 => "distance/at the end".into(),
                _ => format!("distance/after step {}", at + 1),
            };
            put(tag, number);
        }
    }
    put("training/learning rate".into(), &line["learning-rate"]);
    for unit in ["images", "trajectories"] {
        put(format!("training/{unit}"), &line[unit]);
        if line.get(unit).is_some() {
            put(format!("speed/{unit} a second"), &line["rate"]);
        }
    }
    at(line, Summary { value })
}

/// The record of a preview.
fn shown(picture: &Path, line: &Json) -> anyhow::Result<Vec<u8>> {
    let encoded = fs_err::read(picture)?;
    // Width, height and the type of colour are at these places of every PNG file.
    let number = |from: usize| {
        let bytes = encoded.get(from..from + 4)?;
        i32::try_from(u32::from_be_bytes(bytes.try_into().ok()?)).ok()
    };
    let sizes = number(16).zip(number(20)).zip(encoded.get(25).copied());
    let Some(((width, height), colour)) = sizes else {
        // Not a whole picture; the next one will be.
        return Ok(Vec::new());
    };
    let image = Image {
        height,
        width,
        colorspace: if colour == 0 { 1 } else { 3 },
        encoded,
    };
    let value = Value {
        tag: "preview".into(),
        content: Some(Content::Image(image)),
    };
    let mut bytes = Vec::new();
    record::put(&at(line, Summary { value: vec![value] }), &mut bytes);
    Ok(bytes)
}

/// A summary at the time of a line.
fn at(line: &Json, summary: Summary) -> Event {
    Event {
        wall_time: line["seconds"].as_f64().unwrap_or(0.0),
        step: line["round"].as_i64().unwrap_or(0),
        what: Some(What::Summary(summary)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep::image::Picture;
    use serde_json::json;

    #[test]
    fn made_anew_it_has_the_bytes_that_it_had() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let preview = |round: u64| folder.join(format!("{round}.png"));
        let picture = Picture {
            width: 3,
            height: 2,
            channels: 3,
            pixels: vec![7; 18],
        };
        let mut metrics = String::new();
        for round in [4, 8, 12] {
            let line = json!({"round": round, "seconds": 0.5 * round as f64, "distances": [1.5, 2.5],
                "trajectories": 8 * round, "rate": 3.0, "learning-rate": 0.1});
            append(folder, &line).unwrap();
            metrics += &format!("{line}\n");
            if round == 8 {
                picture.write_png(&preview(8), &[]).unwrap();
            }
            append_preview(folder, &preview(round), &line).unwrap();
        }
        let written = fs_err::read(folder.join(FILE)).unwrap();
        rebuild(folder, &metrics, preview).unwrap();
        assert!(fs_err::read(folder.join(FILE)).unwrap() == written);
        // Without the last line it is shorter, and what is left is the same.
        let two: String = metrics.lines().take(2).map(|l| format!("{l}\n")).collect();
        rebuild(folder, &two, preview).unwrap();
        let shorter = fs_err::read(folder.join(FILE)).unwrap();
        assert!(shorter.len() < written.len() && written.starts_with(&shorter));
        rebuild(folder, "", preview).unwrap();
        assert!(!folder.join(FILE).exists());
    }
}
