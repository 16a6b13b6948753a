//! Weights in several files with an index, as diffusers and transformers write large ones.

#[path = "support/foreign.rs"]
mod foreign;
#[path = "support/latent.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod latent;
#[path = "support/torch.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod torch;

use burn::tensor::{DType, Device, TensorData};
use fewstep::autoencoder::{AutoencoderConfig, Bottleneck};
use fewstep::import::{
    AutoencoderFile, Checkpoint, Export, Layout, Scalar, TextEncoderFile, diffusers_settings,
    globals, open,
};
use fewstep::model::File;
use fewstep::noise::{Domain, Stream};
use fewstep::text::TextEncoderConfig;
use latent::teacher;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

type Tensors = BTreeMap<String, TensorData>;

fn random(keys: &[(String, Vec<usize>)]) -> Tensors {
    let tensor = |(i, (name, shape)): (usize, &(String, Vec<usize>))| {
        let len: usize = shape.iter().product();
        let values = Stream::new(5, Domain::Test, i as u64).normals(len);
        (name.clone(), TensorData::new(values, shape.clone()))
    };
    keys.iter().enumerate().map(tensor).collect()
}

/// Cuts weights into `count` files by turns and writes them with their index; `name` is `model.safetensors` or the like.
fn shards(folder: &Path, name: &str, tensors: &Tensors, count: usize) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    let (stem, end) = name.rsplit_once('.').unwrap();
    let file = |i: usize| format!("{stem}-{:05}-of-{count:05}.{end}", i + 1);
    let mut map = Map::new();
    for i in 0..count {
        let own = tensors.iter().skip(i).step_by(count);
        let own: Tensors = own
            .map(|(name, data)| (name.clone(), data.clone()))
            .collect();
        for name in own.keys() {
            map.insert(name.clone(), file(i).into());
        }
        write(&folder.join(file(i)), &own);
    }
    let index = match stem.split_once('.') {
        Some((stem, variant)) => format!("{stem}.{end}.index.{variant}.json"),
        None => format!("{name}.index.json"),
    };
    let text = json!({"metadata": {"total_size": 1}, "weight_map": map});
    let path = folder.join(index);
    fs::write(&path, text.to_string()).unwrap();
    path
}

fn write(path: &Path, tensors: &Tensors) {
    if path.extension().is_some_and(|end| end == "bin") {
        let all = tensors.iter().map(|(name, data)| {
            let values = data.iter::<f32>().collect();
            (name.clone(), data.shape().to_vec(), values)
        });
        let all: Vec<torch::Tensor> = all.collect();
        fs::write(path, torch::zip(&all, "little")).unwrap();
        return;
    }
    let file = File {
        tensors: tensors.clone(),
        ..File::default()
    };
    file.write(path).unwrap();
}

/// The U-Net under diffusers' names, and its settings.
fn unet(folder: &Path) -> (Tensors, String) {
    let model = teacher(true);
    let ours = folder.join("ours.safetensors");
    model.write(&ours).unwrap();
    let file = Checkpoint::read(&ours).unwrap();
    let export = Export {
        layout: Layout::Diffusers,
        scalar: None,
    };
    let theirs = folder.join("theirs.safetensors");
    export
        .write(&file, Some(&file.card().unwrap()), &theirs)
        .unwrap();
    let settings = diffusers_settings(&model.card.network).unwrap();
    (File::read(&theirs).unwrap().tensors, settings.to_string())
}

fn autoencoder() -> AutoencoderConfig {
    AutoencoderConfig {
        channels: 3,
        model_channels: 32,
        channel_multipliers: vec![1, 2],
        blocks: 1,
        attention_levels: Vec::new(),
        inner_channels: 4,
        latent_channels: 4,
        bottleneck: Bottleneck::Normal {},
        scale: 0.18215,
    }
}

fn text_encoder() -> TextEncoderConfig {
    TextEncoderConfig {
        vocabulary: 60,
        width: 64,
        inner_width: 32,
        layers: 1,
        heads: 1,
        positions: 9,
    }
}

#[test]
fn every_part_of_a_folder_may_be_in_shards() {
    let root = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let (tensors, settings) = unet(root.path());
    let whole = root.path().join("whole");
    let single = whole.join("unet/diffusion_pytorch_model.safetensors");
    fs::create_dir_all(single.parent().unwrap()).unwrap();
    write(&single, &tensors);
    fs::write(single.with_file_name("config.json"), &settings).unwrap();
    let (expected, _) = open(&whole, &device).unwrap();
    let expected = expected.to_file().unwrap().tensors;
    let vae = random(&autoencoder().keys().unwrap());
    let text = random(&text_encoder().keys().unwrap());
    for (variant, end) in [("", "safetensors"), (".fp16", "safetensors"), ("", "bin")] {
        let folder = root.path().join(format!("sd{variant}-{end}"));
        let name = format!("diffusion_pytorch_model{variant}.{end}");
        let index = shards(&folder.join("unet"), &name, &tensors, 3);
        fs::write(index.with_file_name("config.json"), &settings).unwrap();
        let shard = format!("diffusion_pytorch_model{variant}-00002-of-00003.{end}");
        let shard = index.with_file_name(shard);
        // The whole model, its part, the index and any shard all lead to the same.
        for path in [&folder, &folder.join("unet"), &index, &shard] {
            let (model, hash) = open(path, &device).unwrap();
            assert!(
                model.to_file().unwrap().tensors == expected,
                "{}",
                path.display()
            );
            assert_eq!(hash.len(), 64);
            assert_eq!(globals(path).is_ok(), path.is_file());
        }
        assert_eq!(globals(&index).unwrap().is_empty(), end == "safetensors");

        let index = shards(&folder.join("vae"), &name, &vae, 2);
        for path in [&folder, &index] {
            let file = AutoencoderFile::open(path).unwrap();
            assert_eq!(*file.config(), autoencoder());
            file.load(&device).unwrap();
        }
        let name = match end {
            "bin" => "pytorch_model.bin".to_string(),
            _ => format!("model{variant}.safetensors"),
        };
        let index = shards(&folder.join("text_encoder"), &name, &text, 2);
        fs::write(
            index.with_file_name("config.json"),
            json!({"num_attention_heads": 2}).to_string(),
        )
        .unwrap();
        for path in [&folder, &index] {
            let file = TextEncoderFile::open(path, None).unwrap();
            // Its settings are those beside the index.
            assert_eq!(file.config().heads, 2);
            file.load(&device).unwrap();
        }
    }
}

#[test]
fn a_copy_of_shards_is_one_file() {
    let root = tempfile::tempdir().unwrap();
    let (tensors, _) = unet(root.path());
    let index = shards(root.path(), "a.safetensors", &tensors, 4);
    let file = Checkpoint::read(&index).unwrap();
    let copy = root.path().join("copy.safetensors");
    let export = Export {
        layout: Layout::Tensors,
        scalar: Some(Scalar::F32),
    };
    export.write(&file, None, &copy).unwrap();
    assert!(File::read(&copy).unwrap().tensors == tensors);
}

/// Changes the index.
fn edit(index: &Path, change: impl FnOnce(&mut Map<String, Value>)) {
    let text = fs::read_to_string(index).unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    change(value["weight_map"].as_object_mut().unwrap());
    fs::write(index, value.to_string()).unwrap();
}

#[test]
fn shards_that_do_not_fit_their_index_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let data = |value: f32| TensorData::new(vec![value; 2], [2]).convert_dtype(DType::F32);
    let names = ["a", "b", "c", "d"];
    let tensors: Tensors = names
        .iter()
        .map(|n| ((*n).to_string(), data(1.0)))
        .collect();
    let fresh = |name: &str| {
        let folder = root.path().join(name);
        let index = shards(&folder, "x.safetensors", &tensors, 2);
        assert_eq!(Checkpoint::read(&index).unwrap().tensors().len(), 4);
        index
    };
    let said = |index: &Path| Checkpoint::read(index).unwrap_err().to_string();
    let second = "x-00002-of-00002.safetensors";

    let index = fresh("missing");
    fs::remove_file(index.with_file_name(second)).unwrap();
    let missing = said(&index);
    assert!(
        missing.contains(second) && missing.contains("b..."),
        "{missing}"
    );

    let index = fresh("elsewhere");
    edit(&index, |map| {
        map.insert("b".into(), "x-00001-of-00002.safetensors".into());
    });
    let elsewhere = said(&index);
    assert!(
        elsewhere.contains('b') && elsewhere.contains("no such tensor"),
        "{elsewhere}"
    );

    let index = fresh("unknown");
    edit(&index, |map| {
        map.remove("d");
    });
    let unknown = said(&index);
    assert!(
        unknown.contains("d is in") && unknown.contains("does not name it"),
        "{unknown}"
    );

    let index = fresh("double");
    write(
        &index.with_file_name(second),
        &["a", "b", "d"].map(|n| (n.to_string(), data(2.0))).into(),
    );
    let double = said(&index);
    assert!(
        double.contains("a is in") && double.contains("00001"),
        "{double}"
    );

    let index = fresh("outside");
    edit(&index, |map| {
        map.insert("b".into(), "../missing/x-00001-of-00002.safetensors".into());
    });
    let outside = said(&index);
    assert!(outside.contains("no name of a file beside it"), "{outside}");

    let index = fresh("alone");
    fs::remove_file(&index).unwrap();
    let alone = said(&index.with_file_name(second));
    assert!(
        alone.contains("shard 2 of 2") && alone.contains("x.safetensors.index.json"),
        "{alone}"
    );

    let index = fresh("broken");
    for (text, word) in [
        ("{", "EOF"),
        ("{}", "weight_map"),
        ("{\"weight_map\": {}}", "0 files"),
    ] {
        fs::write(&index, text).unwrap();
        let broken = said(&index);
        assert!(
            broken.contains(word) && broken.contains("x.safetensors.index"),
            "{broken}"
        );
    }
    let index = fresh("pointer");
    fs::write(
        index.with_file_name(second),
        "version https://git-lfs.github.com/spec/v1\n",
    )
    .unwrap();
    let pointer = said(&index);
    assert!(
        pointer.contains("Git LFS") && pointer.contains(second),
        "{pointer}"
    );
}
