//! State dicts in PyTorch's two formats.

use super::foreign::{LEGACY_START, Pickler, values};
use fewstep::network::NetworkConfig;
use std::io::{Cursor, Result, Write};
use zip::write::{SimpleFileOptions, ZipWriter};

/// Name, shape and numbers.
pub type Tensor = (String, Vec<usize>, Vec<f32>);

/// A network as named tensors, in the order of the table.
pub fn state(network: &NetworkConfig) -> Vec<Tensor> {
    let keys = network.keys().into_iter();
    keys.map(|key| (key.name.clone(), key.shape.clone(), values(&key)))
        .collect()
}

/// Of torch's pickles.
const PROTOCOL: u8 = 2;

/// The dictionary, with a storage of its own for each tensor; `view` is what legacy files say of it besides.
fn dictionary(p: &mut Pickler<'_>, tensors: &[Tensor], view: &[u8]) -> Result<()> {
    p.start()?;
    p.raw(b"}(X\x0a\0\0\0state_dict}(")?;
    for (i, (name, shape, values)) in tensors.iter().enumerate() {
        p.text(name)?;
        p.tensor(shape, &mut |p| {
            p.raw(b"(X\x07\0\0\0storagectorch\nFloatStorage\n")?;
            p.text(&i.to_string())?;
            p.text("cuda:0")?;
            p.int(values.len())?;
            p.raw(view)?;
            p.raw(b"tQ")
        })?;
    }
    p.raw(b"uX\x0b\0\0\0global_stepK\x07u.")
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// As torch writes it before version 1.6.
pub fn legacy(tensors: &[Tensor]) -> Vec<u8> {
    let mut out = LEGACY_START.to_vec();
    dictionary(&mut Pickler::new(&mut out, PROTOCOL), tensors, b"N").unwrap();
    out.extend(b"\x80\x02](");
    for i in 0..tensors.len() {
        Pickler::new(&mut out, PROTOCOL)
            .text(&i.to_string())
            .unwrap();
    }
    out.extend(b"e.");
    for (_, _, values) in tensors {
        out.extend((values.len() as u64).to_le_bytes());
        out.extend(bytes(values));
    }
    out
}

/// As torch writes it since version 1.6.
pub fn zip(tensors: &[Tensor], byte_order: &str) -> Vec<u8> {
    let mut pickle = Vec::new();
    dictionary(&mut Pickler::new(&mut pickle, PROTOCOL), tensors, b"").unwrap();
    let mut entries = vec![
        ("data.pkl".to_string(), pickle),
        ("byteorder".to_string(), byte_order.as_bytes().to_vec()),
        ("version".to_string(), b"3\n".to_vec()),
    ];
    for (i, (_, _, values)) in tensors.iter().enumerate() {
        entries.push((format!("data/{i}"), bytes(values)));
    }
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in entries {
        zip.start_file(format!("archive/{name}"), options).unwrap();
        zip.write_all(&bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}
