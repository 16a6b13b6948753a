//! What `inspect` says of a file of adapters.

use fewstep::adapter::{AdapterFile, Part};
use fewstep::import::Checkpoint;
use serde_json::{Value, json};
use std::path::Path;

/// What it holds for which network, or why it is of no use; nothing for a file of anything else.
pub fn facts(path: &Path, file: &Checkpoint) -> Vec<(String, Value)> {
    if !AdapterFile::is_one(file) {
        return Vec::new();
    }
    let file = match AdapterFile::open(path) {
        Ok(file) => file,
        Err(error) => return vec![("adapters".into(), json!(format!("cannot be used: {error}")))],
    };
    let parts = file.parts().into_iter().map(|(part, layers)| {
        let name = match part {
            Part::TextEncoder(0) => "text encoder".into(),
            Part::TextEncoder(n) => format!("text encoder {}", n + 1),
            _ => "denoising network".into(),
        };
        let rank = match file.ranks(part) {
            Some((least, most)) if least == most => format!("rank {least}"),
            Some((least, most)) => format!("ranks {least} to {most}"),
            None => "no rank".into(),
        };
        format!("{layers} layers of the {name}, {rank}")
    });
    let parts: Vec<String> = parts.collect();
    vec![("adapters".into(), json!(parts.join("; ")))]
}
