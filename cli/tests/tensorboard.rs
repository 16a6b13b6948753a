//! What TensorBoard reads: by a reader of our own, which trusts no checksum of the writer, and by TensorBoard's.

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use support::World;

const FILE: &str = "events.out.tfevents.fewstep";
const TRAIN: &str = "train teacher.toml --data data --tick 10";

/// CRC-32C bit by bit, masked as TensorFlow does.
fn masked(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc = (crc >> 1) ^ (low * 0x82f6_3b78);
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().unwrap())
}

/// The messages of a file, each with both checksums right and nothing left over.
fn messages(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(number(&bytes[8..]), masked(&bytes[..8]));
        let message = &bytes[12..12 + length];
        assert_eq!(number(&bytes[12 + length..]), masked(message));
        found.push(message.to_vec());
        bytes = &bytes[16 + length..];
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for place in 0.. {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 127) << (7 * place);
        if byte < 128 {
            break;
        }
    }
    value
}

/// The fields of a message by number: the bytes of what has a length or a fixed one, the number of what has none.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                found.push((key >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            5 => 4,
            other => panic!("type {other}"),
        };
        found.push((key >> 3, bytes[..length].to_vec()));
        bytes = &bytes[length..];
    }
    found
}

fn field(message: &[u8], wanted: u64) -> Option<Vec<u8>> {
    let mut all = fields(message).into_iter();
    all.find(|(key, _)| *key == wanted).map(|(_, bytes)| bytes)
}

/// Scalars by name: step and value; and the pictures with their steps.
type Found = (BTreeMap<String, Vec<(u64, f32)>>, Vec<(u64, Vec<u8>)>);

fn read(world: &World, run: &str) -> Found {
    let mut scalars: BTreeMap<String, Vec<(u64, f32)>> = BTreeMap::new();
    let mut pictures = Vec::new();
    let messages = messages(&world.bytes(format!("{run}/{FILE}")));
    assert_eq!(field(&messages[0], 3).unwrap(), b"brain.Event:2");
    for message in &messages[1..] {
        let step = field(message, 2).unwrap();
        let step = u64::from_le_bytes(step.try_into().unwrap());
        for (_, value) in fields(&field(message, 5).unwrap()) {
            let tag = String::from_utf8(field(&value, 1).unwrap()).unwrap();
            match field(&value, 2) {
                Some(bytes) => {
                    let value = f32::from_le_bytes(bytes.try_into().unwrap());
                    scalars.entry(tag).or_default().push((step, value));
                }
                None => {
                    assert_eq!(tag, "preview");
                    let image = field(&value, 4).unwrap();
                    pictures.push((step, field(&image, 4).unwrap()));
                }
            }
        }
    }
    (scalars, pictures)
}

fn metrics(world: &World, run: &str) -> Vec<Value> {
    let text = String::from_utf8(world.bytes(format!("{run}/metrics.jsonl"))).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

#[test]
fn numbers_and_previews_are_those_of_the_run() {
    let world = World::with_teacher();
    world.prints(&format!("{TRAIN} --out t"));
    world.prints("distill student.toml --teacher teacher.safetensors --tick 10 --out s");
    for (run, tag, key) in [
        ("t", "training/loss", "/loss"),
        ("s", "distance/after step 3", "/distances/2"),
        ("s", "training/learning rate", "/learning-rate"),
    ] {
        let (scalars, pictures) = read(&world, run);
        let lines = metrics(&world, run);
        assert!(lines.len() > 1, "{run}");
        let wanted = lines.iter().map(|line| {
            let value = line.pointer(key).unwrap().as_f64().unwrap();
            (line["round"].as_u64().unwrap(), value as f32)
        });
        assert_eq!(scalars[tag], wanted.collect::<Vec<_>>(), "{run}: {tag}");
        assert!(!pictures.is_empty());
        for (step, picture) in pictures {
            assert!(picture == world.bytes(format!("{run}/preview-{step:07}.png")));
        }
    }
}

#[test]
fn a_run_that_goes_on_has_each_step_once() {
    let world = World::new();
    world.prints(&format!("{TRAIN} --stop-after 20 --out run"));
    let path = world.path(format!("run/{FILE}"));
    let until_there = world.bytes(format!("run/{FILE}"));
    // As after a kill: steps behind the checkpoint, and half a record.
    let metrics_path = world.path("run/metrics.jsonl");
    let mut text = std::fs::read_to_string(&metrics_path).unwrap();
    text += "{\"round\": 25, \"loss\": 9.0, \"images\": 1, \"seconds\": 1.0}\n";
    std::fs::write(&metrics_path, text).unwrap();
    std::fs::write(&path, [&until_there[..], &until_there[31..90]].concat()).unwrap();
    world.prints(&format!("{TRAIN} --resume --out run"));
    assert!(world.bytes(format!("run/{FILE}")).starts_with(&until_there));
    let steps = |run: &str| -> Vec<u64> {
        let losses = &read(&world, run).0["training/loss"];
        losses.iter().map(|(step, _)| *step).collect()
    };
    assert_eq!(steps("run"), [10, 20, 30, 40]);
    // A run of a version that wrote none gets one, of all that it has done.
    std::fs::remove_file(&path).unwrap();
    world.prints(&format!("{TRAIN} --resume --out run"));
    assert_eq!(steps("run"), [10, 20, 30, 40]);
    assert_eq!(read(&world, "run").1.len(), 4);
    // One that starts anew has nothing of the old one.
    world.prints(&format!("{TRAIN} --overwrite --stop-after 10 --out run"));
    assert_eq!(steps("run"), [10]);
}

/// Needs the Python package `tensorboard`; says so and passes where it is missing. `FEWSTEP_PYTHON` names another Python.
#[test]
fn tensorboard_reads_it() {
    let world = World::new();
    world.prints(&format!("{TRAIN} --stop-after 20 --out run"));
    world.prints(&format!("{TRAIN} --resume --out run"));
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/python/tensorboard_events.py");
    let python = std::env::var("FEWSTEP_PYTHON").unwrap_or_default();
    let python = if python.is_empty() {
        "python3"
    } else {
        &python
    };
    let mut command = Command::new(python);
    command.arg(script).arg(world.path("run"));
    let Ok(output) = command.output() else {
        return println!("skipped: there is no {python}");
    };
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    println!("{text}");
    assert!(matches!(output.status.code(), Some(0 | 77)), "{text}");
    assert!(
        text.contains("skipped") || text.contains("4 steps, 4 pictures"),
        "{text}"
    );
}
