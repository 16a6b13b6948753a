//! Loading takes little more memory than the network itself: tensors go from the file to their place one by one.

#[path = "support/counting.rs"]
mod counting;
#[path = "support/foreign.rs"]
mod foreign;

use burn::tensor::{Device, TensorData};
use counting::{Counting, peak};
use fewstep::import::{Checkpoint, Export, Layout, open};
use fewstep::model::File;
use fewstep::network::{NetworkConfig, Precision, SongUNetConfig};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The same tensors in four files, and the index of them.
fn shards(folder: &Path, whole: &Checkpoint) -> PathBuf {
    let mut map = serde_json::Map::new();
    for number in 1..=4 {
        let name = format!("x-{number:05}-of-00004.safetensors");
        let own = whole.tensors().iter().skip(number - 1).step_by(4);
        let tensors = own.map(|(tensor, info)| {
            let values = whole.values(tensor).unwrap();
            (tensor.clone(), TensorData::new(values, info.shape.clone()))
        });
        let file = File {
            tensors: tensors.collect(),
            ..File::default()
        };
        file.write(&folder.join(&name)).unwrap();
        map.extend(
            file.tensors
                .keys()
                .map(|t| (t.clone(), name.clone().into())),
        );
    }
    let index = folder.join("x.safetensors.index.json");
    let text = serde_json::json!({ "weight_map": map });
    std::fs::write(&index, text.to_string()).unwrap();
    index
}

#[test]
fn loading_and_converting() {
    // The network of CIFAR-10 at half its width: 14 million weights.
    let network = NetworkConfig::SongUnet(SongUNetConfig {
        resolution: 32,
        channels: 3,
        classes: 0,
        model_channels: 64,
        channel_multipliers: vec![2, 2, 2],
        blocks: 4,
        attention_resolutions: vec![16],
        augment_labels: 9,
        dropout: 0.13,
        step_branch: false,
        ..SongUNetConfig::default()
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("half.pkl");
    let mut file = BufWriter::new(std::fs::File::create(&path).unwrap());
    foreign::edm_pickle(&mut file, &network, &mut foreign::values).unwrap();
    file.flush().unwrap();
    let len = std::fs::metadata(&path).unwrap().len() as usize;
    assert!(len > 50 << 20, "{len}");

    let (checkpoint, used) = peak(|| Checkpoint::read(&path).unwrap());
    println!("opening a file of {len} bytes took {used}");
    assert!(used < len / 10, "{used}");
    drop(checkpoint);
    let (model, used) = peak(|| open(&path, &Device::flex()).unwrap());
    println!(
        "loading it took {used}: {:.2} of the file",
        used as f64 / len as f64
    );
    assert!(used as f64 <= 2.2 * len as f64, "{used} for {len}");
    drop(model);
    // Held in half precision they are never there as a whole in single.
    let (model, used) = peak(|| {
        let checkpoint = Checkpoint::read(&path).unwrap();
        let card = checkpoint.card().unwrap();
        checkpoint
            .model_in(card, Precision::F16, &Device::flex())
            .unwrap()
    });
    println!("loading it in half precision took {used}");
    assert!(used as f64 <= 0.65 * len as f64, "{used} for {len}");
    drop(model);
    let (_, used) = peak(|| {
        let checkpoint = Checkpoint::read(&path).unwrap();
        let card = checkpoint.card().unwrap();
        let export = Export {
            layout: Layout::Model,
            scalar: None,
        };
        export
            .write(
                &checkpoint,
                Some(&card),
                &folder.path().join("x.safetensors"),
            )
            .unwrap();
    });
    println!("converting it took {used}");
    assert!(used < len / 4, "{used}");

    let index = shards(folder.path(), &Checkpoint::read(&path).unwrap());
    let (checkpoint, used) = peak(|| Checkpoint::read(&index).unwrap());
    println!("opening the same in shards took {used}");
    assert!(used < len / 10, "{used}");
    drop(checkpoint);
    let (_, used) = peak(|| open(&index, &Device::flex()).unwrap());
    println!("loading them took {used}");
    assert!(used as f64 <= 2.2 * len as f64, "{used} for {len}");
}
