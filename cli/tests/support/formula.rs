//! Files of the published sizes whose numbers are a short cycle, written part by part: nothing of them is in memory as a whole.

use burn::tensor::f16;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Numbers of a cycle; odd, so that rows of a power of two differ.
const CYCLE: usize = 65_537;

/// Numbers of about [-1.7, 1.7], of mean 0 and variance 1, in no order that is seen.
fn cycle() -> Vec<f32> {
    let step = 3.4 / CYCLE as f32;
    let place = |i: usize| i * 28_183 % CYCLE;
    (0..CYCLE).map(|i| place(i) as f32 * step - 1.7).collect()
}

/// Writes tensors of these names and shapes in half precision: norms near one, biases near zero, matrices that keep the variance.
pub fn write(path: &Path, keys: &[(String, Vec<usize>)]) {
    let mut end = 0;
    let infos = keys.iter().map(|(name, shape)| {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        let info = json!({"dtype": "F16", "shape": shape, "data_offsets": [start, end]});
        (name.clone(), info)
    });
    let infos: Map<String, Value> = infos.collect();
    let mut header = serde_json::to_vec(&infos).unwrap();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(&header).unwrap();
    let cycle = cycle();
    for (name, shape) in keys {
        let count: usize = shape.iter().product();
        let (middle, deviation) = match shape.len() {
            0 | 1 if name.ends_with("weight") => (1.0, 0.1),
            0 | 1 => (0.0, 0.1),
            _ => (0.0, (shape[0] as f32 / count as f32).sqrt()),
        };
        let numbers = cycle.iter().map(|v| f16::from_f32(middle + deviation * v));
        let bytes: Vec<u8> = numbers.flat_map(f16::to_le_bytes).collect();
        let mut left = 2 * count;
        while left > 0 {
            let part = left.min(bytes.len());
            file.write_all(&bytes[..part]).unwrap();
            left -= part;
        }
    }
    file.flush().unwrap();
}
