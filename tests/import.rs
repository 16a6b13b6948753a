//! Foreign files of every format: the same tensors, networks and images.

#[path = "support/foreign.rs"]
mod foreign;
#[path = "support/torch.rs"]
mod torch;

use burn::tensor::Device;
use fewstep::Error;
use fewstep::import::{Checkpoint, Export, Format, Layout, Scalar, open};
use fewstep::model::{Kind, Model};
use fewstep::network::{
    Decoder, DhariwalUNetConfig, Encoder, NetworkConfig, SongUNetConfig, parameters,
};
use fewstep::solver::SolverConfig;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The same without dropout, which only arguments tell.
fn undropped() -> NetworkConfig {
    NetworkConfig::SongUnet(SongUNetConfig {
        dropout: 0.0,
        ..foreign::sizes()
    })
}

fn edm(network: &NetworkConfig) -> Vec<u8> {
    let mut bytes = Vec::new();
    foreign::edm_pickle(&mut bytes, network, &mut foreign::values).unwrap();
    bytes
}

fn parse(bytes: Vec<u8>) -> Result<Checkpoint, Error> {
    Checkpoint::from_bytes(bytes, Path::new("x.pt"))
}

/// All weights of a model by name.
fn weights(model: &Model) -> BTreeMap<String, Vec<f32>> {
    let all = parameters(&model.network).into_iter();
    all.map(|p| (p.name, p.data.iter::<f32>().collect()))
        .collect()
}

fn expected(network: &NetworkConfig) -> BTreeMap<String, Vec<f32>> {
    let keys = network.keys().into_iter().filter(|key| !key.buffer);
    keys.map(|key| (key.name.clone(), foreign::values(&key)))
        .collect()
}

#[test]
fn the_same_network_from_every_format() {
    let network = foreign::small();
    let state = torch::state(&network);
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: Vec<u8>| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let files = [
        (write("a.pkl", edm(&network)), Format::EdmPersistent),
        (write("a.ckpt", torch::legacy(&state)), Format::TorchLegacy),
        (
            write("a.pth", torch::zip(&state, "little")),
            Format::TorchZip,
        ),
    ];
    for (path, format) in &files {
        let checkpoint = Checkpoint::read(path).unwrap();
        assert_eq!(checkpoint.format, *format);
        // Only the pickle of EDM says the dropout rate.
        let wanted = match format {
            Format::EdmPersistent => foreign::small(),
            _ => undropped(),
        };
        assert_eq!(checkpoint.network_config().unwrap(), wanted);
        let (model, hash) = open(path, &Device::flex()).unwrap();
        assert_eq!(weights(&model), expected(&network));
        assert_eq!(model.card.kind, Kind::Teacher);
        assert_eq!(model.card.recipe["sha256"], hash.as_str());
        let sampling = &model.card.sampling;
        assert_eq!((sampling.sigma_min, sampling.sigma_max), (0.002, 80.0));
    }
}

#[test]
fn round_trips_are_exact() {
    let network = foreign::small();
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("in.pkl"), edm(&network)).unwrap();
    let convert = |from: &str, to: &str, layout, scalar| {
        let checkpoint = Checkpoint::read(&path(from)).unwrap();
        let (card, _) = checkpoint.described().unwrap();
        let export = Export { layout, scalar };
        export.write(&checkpoint, Some(&card), &path(to)).unwrap();
        card
    };
    let card = convert("in.pkl", "ours.safetensors", Layout::Model, None);
    let (ours, _) = Model::read(&path("ours.safetensors"), &device).unwrap();
    assert_eq!(ours.card, card);
    assert_eq!(weights(&ours), expected(&network));
    // Written in parts or at once, it is the same file.
    ours.write(&path("again.safetensors")).unwrap();
    let bytes = |name: &str| std::fs::read(path(name)).unwrap();
    assert!(bytes("ours.safetensors") == bytes("again.safetensors"));

    for step_branch in [false, true] {
        let layout = Layout::StateDict { step_branch };
        convert("ours.safetensors", "official.safetensors", layout, None);
        let official = Checkpoint::read(&path("official.safetensors")).unwrap();
        let keys: BTreeMap<_, _> = network
            .with_step_branch(step_branch)
            .keys()
            .into_iter()
            .map(|k| (k.name, k.shape))
            .collect();
        let found = official.tensors().iter();
        let found: BTreeMap<_, _> = found.map(|(n, t)| (n.clone(), t.shape.clone())).collect();
        assert_eq!(found, keys);
        let filter = "model.enc.4x4_down.skip.resample_filter";
        assert_eq!(official.values(filter).unwrap(), [0.25; 4]);
        if step_branch {
            let name = "model.enc.8x8_block0.affine_step.weight";
            assert!(official.values(name).unwrap().iter().all(|v| *v == 0.0));
            continue;
        }
        convert(
            "official.safetensors",
            "back.safetensors",
            Layout::Model,
            None,
        );
        assert!(bytes("ours.safetensors") == bytes("back.safetensors"));
    }

    for (scalar, rounding) in [(Scalar::F16, 1e-3), (Scalar::BF16, 8e-3)] {
        convert("in.pkl", "half.safetensors", Layout::Model, Some(scalar));
        let half = Checkpoint::read(&path("half.safetensors")).unwrap();
        assert!(half.tensors().values().all(|t| t.scalar == scalar));
        let (model, _) = open(&path("half.safetensors"), &device).unwrap();
        for (name, want) in expected(&network) {
            let got = &weights(&model)[&name];
            for (got, want) in got.iter().zip(&want) {
                assert!(
                    (got - want).abs() <= rounding * want.abs() + 1e-6,
                    "{name}: {got} {want}"
                );
            }
        }
        // Rounded once, it is exact from then on.
        convert("half.safetensors", "twice.safetensors", Layout::Model, None);
        assert!(bytes("half.safetensors") == bytes("twice.safetensors"));
    }
}

#[test]
fn differences_are_listed() {
    let network = foreign::small();
    let of = |change: &dyn Fn(&mut Vec<torch::Tensor>)| {
        let mut state = torch::state(&network);
        change(&mut state);
        parse(torch::legacy(&state))
            .unwrap()
            .card()
            .unwrap_err()
            .to_string()
    };
    let missing = of(&|s| s.retain(|(name, ..)| !name.ends_with("4x4_in0.proj.bias")));
    assert!(
        missing.contains("missing: model.dec.4x4_in0.proj.bias"),
        "{missing}"
    );
    let unexpected = of(&|s| s.push(("model.extra".into(), vec![2], vec![0.0; 2])));
    assert!(
        unexpected.contains("unexpected: model.extra"),
        "{unexpected}"
    );
    let shape = of(&|s| {
        let bias = s
            .iter_mut()
            .find(|(name, ..)| name.ends_with("map_layer1.bias"))
            .unwrap();
        (bias.1, bias.2) = (vec![3], vec![0.0; 3]);
    });
    assert!(
        shape.contains("map_layer1.bias: file [3], network [32]"),
        "{shape}"
    );
    // Half a step branch is none.
    let branch = torch::state(&network.with_step_branch(true));
    let half = of(&|s| {
        s.extend(
            branch
                .iter()
                .filter(|(name, ..)| name.contains("map_step_layer"))
                .cloned(),
        );
    });
    assert!(half.contains("affine_step"), "{half}");
    // Constants may be missing, and other people's prefixes are understood.
    let plain: Vec<_> = torch::state(&network)
        .into_iter()
        .filter(|(name, ..)| !name.ends_with("resample_filter"))
        .map(|(name, shape, values)| (name.replace("model.", "module."), shape, values))
        .collect();
    assert!(parse(torch::zip(&plain, "little")).unwrap().card().is_ok());
}

#[test]
fn the_network_of_imagenet_is_told_as_well() {
    let config = DhariwalUNetConfig {
        resolution: 8,
        channels: 3,
        classes: 5,
        model_channels: 8,
        channel_multipliers: vec![1, 8],
        blocks: 1,
        // Blocks of less than 64 channels have no attention, whatever the list says.
        attention_resolutions: vec![4],
        dropout: 0.1,
        ..DhariwalUNetConfig::default()
    };
    let network = NetworkConfig::DhariwalUnet(config.clone());
    let checkpoint = parse(edm(&network)).unwrap();
    assert_eq!(checkpoint.network.as_deref(), Some("DhariwalUNet"));
    assert_eq!(checkpoint.network_config().unwrap(), network);
    checkpoint.check_keys(&network).unwrap();
    let inferred = parse(torch::zip(&torch::state(&network), "little")).unwrap();
    let undropped = NetworkConfig::DhariwalUnet(DhariwalUNetConfig {
        dropout: 0.0,
        ..config
    });
    assert_eq!(inferred.network_config().unwrap(), undropped);
}

/// EDM's `ve` files, and the skip variants that its code has as well.
#[test]
fn the_variants_of_songunet_are_told_and_go_there_and_back() {
    let skip = NetworkConfig::SongUnet(SongUNetConfig {
        encoder: Encoder::Skip,
        decoder: Decoder::Skip,
        dropout: 0.0,
        ..foreign::sizes()
    });
    let ncsnpp = |dropout| {
        foreign::ncsnpp(SongUNetConfig {
            dropout,
            ..foreign::sizes()
        })
    };
    let told = parse(edm(&ncsnpp(0.1))).unwrap();
    assert_eq!(told.network_config().unwrap(), ncsnpp(0.1));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("official.safetensors");
    for network in [ncsnpp(0.0), skip] {
        let state = torch::state(&network);
        let inferred = parse(torch::zip(&state, "little")).unwrap();
        assert_eq!(inferred.network_config().unwrap(), network);
        let card = inferred.card().unwrap();
        let export = Export {
            layout: Layout::StateDict { step_branch: false },
            scalar: None,
        };
        export.write(&inferred, Some(&card), &path).unwrap();
        let written = Checkpoint::read(&path).unwrap();
        assert_eq!(written.tensors().len(), state.len());
        for (name, shape, values) in &state {
            assert_eq!(&written.tensors()[name].shape, shape, "{name}");
            assert_eq!(&written.values(name).unwrap(), values, "{name}");
        }
        let (model, _) = open(&path, &Device::flex()).unwrap();
        assert_eq!(weights(&model), expected(&network));
    }
    // Without its constants a residual encoder is taken for the published one.
    let mut state = torch::state(&ncsnpp(0.0));
    state.retain(|(name, ..)| !name.ends_with("resample_filter"));
    let bare = parse(torch::zip(&state, "little")).unwrap();
    assert_eq!(bare.network_config().unwrap(), ncsnpp(0.0));
}

#[test]
fn other_filters_are_refused() {
    let error = |shape: Vec<usize>, values: Vec<f32>| {
        let mut state = torch::state(&foreign::small());
        for (name, s, v) in &mut state {
            if name.ends_with("resample_filter") {
                (*s, *v) = (shape.clone(), values.clone());
            }
        }
        let error = parse(torch::legacy(&state)).unwrap().card();
        error.unwrap_err().to_string()
    };
    let taps = error(vec![1, 1, 3, 3], vec![0.1; 9]);
    assert!(
        taps.contains("resample_filter: file [1, 1, 3, 3], network [1, 1, 2, 2]"),
        "{taps}"
    );
    let values = error(vec![1, 1, 2, 2], vec![0.1, 0.2, 0.3, 0.4]);
    assert!(
        values.contains("resample_filter is [0.1, 0.2, 0.3, 0.4]"),
        "{values}"
    );
}

fn golden(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/golden")
        .join(name);
    if !path.exists() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "{} is missing",
            path.display()
        );
        eprintln!("skipped: no {}", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn an_official_student_samples_as_it_was_trained() {
    let Some(path) = golden("pickle_sfd_song.pkl") else {
        return;
    };
    let (model, _) = open(&path, &Device::flex()).unwrap();
    let sampling = &model.card.sampling;
    assert_eq!(model.card.kind, Kind::Student);
    assert_eq!(sampling.solver, SolverConfig::Euler {});
    assert_eq!(
        (sampling.steps, sampling.sigma_min, sampling.sigma_max),
        (3, 0.006, 80.0)
    );
    assert!(sampling.analytic_first_step && sampling.step_condition);
}

#[test]
fn golden_files_are_the_same_networks_as_their_safetensors_twins() {
    let device = Device::flex();
    for (file, twin) in [
        ("pickle_edm_song.pkl", "weights_song_tiny.safetensors"),
        ("pickle_sfd_song.pkl", "weights_song_tiny.safetensors"),
        ("ckpt_zip_f16.ckpt", "weights_song_tiny_cond.safetensors"),
    ] {
        let (Some(file), Some(twin)) = (golden(file), golden(twin)) else {
            return;
        };
        let (file, _) = open(&file, &device).unwrap();
        let twin = Checkpoint::read(&twin).unwrap();
        let ours = weights(&file);
        let extra = ours
            .keys()
            .filter(|name| twin.values(&format!("w/{name}")).is_err())
            .count();
        assert_eq!(extra, 0);
        for (name, values) in ours {
            assert_eq!(values, twin.values(&format!("w/{name}")).unwrap(), "{name}");
        }
    }
}

#[test]
fn tensors_of_anything_can_be_written_as_they_are() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let checkpoint = Checkpoint::read(&folder.join("ckpt_zip_tricky.pt")).unwrap();
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("x.safetensors");
    let export = Export {
        layout: Layout::Tensors,
        scalar: None,
    };
    export.write(&checkpoint, None, &path).unwrap();
    let written = Checkpoint::read(&path).unwrap();
    assert_eq!(written.tensors().len(), 19);
    for (name, info) in checkpoint.tensors() {
        assert_eq!(written.tensors()[name].scalar, info.scalar, "{name}");
        assert_eq!(
            written.bytes(name).unwrap(),
            checkpoint.bytes(name).unwrap(),
            "{name}"
        );
    }
    let state = [("x".to_string(), vec![1], vec![1e6])];
    let checkpoint = parse(torch::legacy(&state)).unwrap();
    let export = Export {
        layout: Layout::Tensors,
        scalar: Some(Scalar::F16),
    };
    let error = export
        .write(&checkpoint, None, &path)
        .unwrap_err()
        .to_string();
    assert!(error.contains("65520"), "{error}");
    assert_eq!(Checkpoint::read(&path).unwrap().tensors().len(), 19);
}
