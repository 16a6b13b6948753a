//! Small random parts of a latent model, and the note that says where they are.

use burn::tensor::TensorData;
use fewstep::autoencoder::{AutoencoderConfig, Bottleneck};
use fewstep::import::{AutoencoderFile, Note};
use fewstep::model::File;
use fewstep::noise::{Domain, Stream};
use fewstep::text::TextEncoderConfig;
use std::collections::BTreeMap;
use std::path::Path;

/// Width of the text's tokens; one head of CLIP's.
pub const WIDTH: usize = 64;

/// Random numbers for names and shapes.
fn write(path: &Path, keys: &[(String, Vec<usize>)]) {
    let tensor = |(index, (name, shape)): (usize, &(String, Vec<usize>))| {
        let len: usize = shape.iter().product();
        let inputs = (len as f32 / shape[0] as f32).sqrt();
        let values = Stream::new(7, Domain::Test, index as u64).normals(len);
        // Norms near one and biases near zero, so that nothing grows on the way.
        let values = values.into_iter().map(|v| match (shape.len(), name) {
            (1, name) if name.ends_with("weight") => 1.0 + 0.1 * v,
            (1, _) => 0.1 * v,
            _ => v / inputs,
        });
        let data = TensorData::new(values.collect::<Vec<f32>>(), shape.clone());
        (name.clone(), data)
    };
    let tensors = keys.iter().enumerate().map(tensor).collect();
    let file = File {
        tensors,
        ..File::default()
    };
    file.write(path).unwrap();
}

/// 16 x 16 pixels of 8 x 8 latents.
fn autoencoder(latent_channels: usize) -> AutoencoderConfig {
    AutoencoderConfig {
        channels: 3,
        model_channels: 32,
        channel_multipliers: vec![1, 2],
        blocks: 1,
        attention_levels: Vec::new(),
        inner_channels: latent_channels,
        latent_channels,
        bottleneck: Bottleneck::Normal {},
        scale: 0.18215,
    }
}

/// Writes an autoencoder, a text encoder, a vocabulary and the note about them into a folder.
pub fn parts(folder: &Path) {
    let note = Note {
        base: None,
        autoencoder: Some(folder.join("autoencoder.safetensors")),
        text_encoder: Some(folder.join("text-encoder.safetensors")),
        vocabulary: Some(folder.join("words")),
    };
    let keys = autoencoder(4).keys().unwrap();
    write(note.autoencoder.as_ref().unwrap(), &keys);
    let config = TextEncoderConfig {
        vocabulary: 516,
        width: WIDTH,
        inner_width: 32,
        layers: 1,
        heads: 1,
        positions: 77,
    };
    let keys = config.keys().unwrap();
    write(note.text_encoder.as_ref().unwrap(), &keys);
    tokenizer(note.vocabulary.as_ref().unwrap());
    note.write(folder).unwrap();
}

/// The autoencoder of a model of two channels.
pub fn other(folder: &Path) -> AutoencoderFile {
    let path = folder.join("other.safetensors");
    write(&path, &autoencoder(2).keys().unwrap());
    AutoencoderFile::open(&path).unwrap()
}

/// A vocabulary of 516 symbols in which `cat` is one.
fn tokenizer(folder: &Path) {
    // Bytes that print stand for themselves, the others for the characters from 256 on.
    let mut rest = 256..;
    let bytes = (0..256u32).map(|byte| match byte {
        33..=126 | 161..=172 | 174..=255 => byte,
        _ => rest.next().unwrap(),
    });
    let symbols: Vec<char> = bytes.map(|code| char::from_u32(code).unwrap()).collect();
    let single = symbols.iter().map(char::to_string);
    let ends = symbols.iter().map(|c| format!("{c}</w>"));
    let more = ["ca", "cat</w>", "<|startoftext|>", "<|endoftext|>"].map(str::to_string);
    let ids: BTreeMap<String, usize> = single.chain(ends).chain(more).zip(0..).collect();
    std::fs::create_dir_all(folder).unwrap();
    let text = serde_json::to_string(&ids).unwrap();
    std::fs::write(folder.join("vocab.json"), text).unwrap();
    std::fs::write(folder.join("merges.txt"), "#version: 0.2\nc a\nca t</w>\n").unwrap();
}
