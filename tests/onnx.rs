//! What we write as ONNX, run by onnxruntime beside our own network.

#[path = "support/onnx_golden.rs"]
mod golden;
#[path = "support/onnx_input.rs"]
mod input;
#[path = "support/onnx.rs"]
mod onnx;

use burn::tensor::Device;
use fewstep::Request;
use fewstep::denoiser::{Preconditioning, one_hot};
use fewstep::export::{Onnx, OnnxGraph};
use fewstep::grid::{LogAlphaTable, Spacing};
use fewstep::model::{Model, Sampling};
use fewstep::network::{
    Added, Decoder, DhariwalUNetConfig, Embedding, Encoder, LatentAttention, LatentUNetConfig,
    NetworkConfig, Precision, ResampleFilter, SongUNetConfig, TransformerConfig,
};
use fewstep::solver::SolverConfig;
use input::{CLASSES, TEXT, denoiser_case, texts};
use onnx::{Cases, model};

fn sampling() -> Sampling {
    Sampling {
        solver: SolverConfig::Euler {},
        steps: 3,
        spacing: Spacing::default(),
        sigma_max: 80.0,
        sigma_min: 0.006,
        analytic_first_step: true,
        step_condition: false,
        step_range: None,
        guidance: 1.0,
    }
}

/// The same for a network, which is told the number of timestamps if it can be.
fn sampling_of(network: &NetworkConfig) -> Sampling {
    Sampling {
        step_condition: network.has_step_branch(),
        ..sampling()
    }
}

fn ddpmpp() -> SongUNetConfig {
    SongUNetConfig {
        resolution: 8,
        channels: 2,
        classes: CLASSES,
        model_channels: 8,
        channel_multipliers: vec![1, 2, 2],
        blocks: 1,
        attention_resolutions: vec![4],
        dropout: 0.1,
        step_branch: true,
        ..SongUNetConfig::default()
    }
}

fn latent() -> LatentUNetConfig {
    LatentUNetConfig {
        resolution: 8,
        channels: 2,
        model_channels: 64,
        channel_multipliers: vec![1, 2],
        blocks: 1,
        attention_factors: vec![2],
        attention: LatentAttention::Pixels { head_channels: 16 },
        ..LatentUNetConfig::default()
    }
}

fn text(linear: bool, depth: usize) -> LatentAttention {
    LatentAttention::Text {
        heads: vec![1, 4].into(),
        width: TEXT[1],
        depth: vec![0, depth].into(),
        linear,
    }
}

fn xl() -> LatentUNetConfig {
    LatentUNetConfig {
        attention: text(true, 2),
        added: Some(Added { text: 8, waves: 4 }),
        ..latent()
    }
}

fn transformer() -> TransformerConfig {
    TransformerConfig {
        resolution: 8,
        channels: 2,
        classes: CLASSES,
        patch: 2,
        width: 16,
        depth: 2,
        heads: 4,
        dropout: 0.0,
        step_branch: true,
    }
}

fn table() -> LogAlphaTable {
    LogAlphaTable::scaled_linear(0.00085, 0.012, 1000).unwrap()
}

/// Networks of all kinds, with all kinds of parts, and what each predicts.
fn networks() -> Vec<(&'static str, NetworkConfig, Preconditioning)> {
    let edm = || Preconditioning::Edm(0.5);
    let ncsnpp = SongUNetConfig {
        embedding: Embedding::Fourier,
        noise_multiplier: 2,
        encoder: Encoder::Residual,
        resample_filter: ResampleFilter::Binomial,
        classes: 0,
        ..ddpmpp()
    };
    let residual = SongUNetConfig {
        encoder: Encoder::Residual,
        step_branch: false,
        ..ddpmpp()
    };
    let skip = SongUNetConfig {
        encoder: Encoder::Skip,
        decoder: Decoder::Skip,
        resample_filter: ResampleFilter::Binomial,
        ..ddpmpp()
    };
    let adm = DhariwalUNetConfig {
        resolution: 8,
        channels: 2,
        classes: CLASSES,
        model_channels: 64,
        channel_multipliers: vec![1, 2],
        blocks: 1,
        attention_resolutions: vec![4],
        augment_labels: 9,
        dropout: 0.0,
        step_branch: true,
    };
    let stepped = LatentUNetConfig {
        step_branch: true,
        ..latent()
    };
    let sd = LatentUNetConfig {
        attention: text(false, 1),
        step_branch: true,
        ..latent()
    };
    let sd2 = LatentUNetConfig {
        attention: text(true, 1),
        ..latent()
    };
    let plain = TransformerConfig {
        classes: 0,
        step_branch: false,
        ..transformer()
    };
    vec![
        ("ddpmpp", NetworkConfig::SongUnet(ddpmpp()), edm()),
        ("ncsnpp", NetworkConfig::SongUnet(ncsnpp), edm()),
        ("residual", NetworkConfig::SongUnet(residual), edm()),
        ("skip", NetworkConfig::SongUnet(skip), Preconditioning::Flow),
        ("adm", NetworkConfig::DhariwalUnet(adm), edm()),
        ("ldm", NetworkConfig::LatentUnet(latent()), table().into()),
        (
            "ldm-steps",
            NetworkConfig::LatentUnet(stepped),
            table().into(),
        ),
        ("sd", NetworkConfig::LatentUnet(sd), table().into()),
        (
            "sd2",
            NetworkConfig::LatentUnet(sd2),
            Preconditioning::Velocity(table()),
        ),
        ("xl", NetworkConfig::LatentUnet(xl()), table().into()),
        ("dit", NetworkConfig::Transformer(transformer()), edm()),
        (
            "dit-plain",
            NetworkConfig::Transformer(plain),
            Preconditioning::Velocity(table()),
        ),
    ]
}

#[test]
fn every_denoiser_is_the_same_in_onnxruntime() {
    let cases = Cases::new();
    let how = Onnx::new(OnnxGraph::Denoiser);
    for (name, network, preconditioning) in networks() {
        let model = model(&network, preconditioning, sampling_of(&network));
        for (level, sigmas) in [("mean", [0.7, 3.0]), ("ends", [0.002, 80.0])] {
            let case = denoiser_case(&model, sigmas);
            let written = cases.add(&format!("{name}-{level}"), how, &model, case);
            assert_eq!(written.len(), 1);
        }
    }
    cases.compare();
}

#[test]
fn weights_of_f16_and_weights_beside_the_file() {
    let cases = Cases::new();
    for (name, network, preconditioning) in networks() {
        let model = model(&network, preconditioning, sampling_of(&network));
        let half = model
            .network
            .clone()
            .with_precision(Precision::F16)
            .unwrap();
        let half = Model::new(model.card, half);
        let how = Onnx {
            weights: fewstep::import::Scalar::F16,
            largest: 0,
            ..Onnx::new(OnnxGraph::Denoiser)
        };
        let case = denoiser_case(&half, [0.7, 3.0]);
        let written = cases.add(name, how, &half, case);
        let sizes = written
            .iter()
            .map(|path| std::fs::metadata(path).unwrap().len());
        let [graph, data] = sizes.collect::<Vec<_>>()[..] else {
            panic!("{written:?}");
        };
        let numbers = network.parameter_count();
        assert!(
            graph < 400_000 && data > numbers,
            "{name}: {graph} {data} {numbers}"
        );
    }
    cases.compare();
}

/// Noise to images, or latents, with solvers of all kinds, guided and not.
#[test]
fn the_whole_way_is_the_same_in_onnxruntime() {
    let cases = Cases::new();
    let device = Device::flex();
    let solver = |text: &str| -> SolverConfig { toml::from_str(text).unwrap() };
    let song = || NetworkConfig::SongUnet(ddpmpp());
    let edm = || Preconditioning::Edm(0.5);
    let sd = || {
        NetworkConfig::LatentUnet(LatentUNetConfig {
            attention: text(false, 1),
            step_branch: true,
            ..latent()
        })
    };
    let dit = NetworkConfig::Transformer(transformer());
    let ldm = NetworkConfig::LatentUnet(latent());
    let xl = NetworkConfig::LatentUnet(xl());
    let all = [
        ("euler", song(), edm(), "kind = 'euler'", 1.0),
        ("guided", song(), edm(), "kind = 'euler'", 2.5),
        ("ipndm", song(), edm(), "kind = 'ipndm'\norder = 2", 1.0),
        ("dpm", dit, edm(), "kind = 'dpm-solver-pp'", 1.0),
        ("heun", ldm, table().into(), "kind = 'heun'", 1.0),
        ("sd", sd(), table().into(), "kind = 'euler'", 1.0),
        ("sd-guided", sd(), table().into(), "kind = 'euler'", 7.5),
        ("xl-guided", xl, table().into(), "kind = 'euler'", 4.0),
    ];
    let seeds = [4, 9];
    for (name, network, preconditioning, kind, guidance) in all {
        let latent = preconditioning.table().is_some();
        let sampling = Sampling {
            solver: solver(kind),
            guidance,
            // Levels that the network was trained on.
            sigma_max: if latent { 14.6 } else { 80.0 },
            sigma_min: if latent { 0.1 } else { 0.006 },
            ..sampling_of(&network)
        };
        let model = model(&network, preconditioning, sampling);
        let noise = fewstep::noise::latents(&seeds, network.image_shape(), &device);
        let mut inputs = vec![("noise", noise.into_data())];
        let mut request = Request::default();
        if let Some(classes) = model.classes_of(&seeds, &request).unwrap() {
            let labels = one_hot(&classes, CLASSES, &device).unwrap();
            inputs.push(("labels", labels.into_data()));
        }
        let texts = texts(&network, guidance, &mut inputs);
        request.texts = texts.as_ref();
        let wanted = model.latents(&seeds, &request).unwrap();
        let output = match model.card.is_latent() {
            true => "latents",
            false => "images",
        };
        let how = Onnx::new(OnnxGraph::Whole);
        cases.add(name, how, &model, (inputs, (output, wanted.into_data())));
    }
    cases.compare();
}

/// Cases of the official implementation, through the graph.
#[test]
fn golden_answers_come_out_of_onnxruntime() {
    let cases = Cases::new();
    let folders = ["golden", "golden-latent", "golden-modern"].map(golden::folder);
    let [Some(pixels), Some(latents), Some(modern)] = folders else {
        return;
    };
    for (case, config) in golden::networks() {
        golden::pixels(&cases, &pixels, case, config);
    }
    golden::latent(&cases, &latents);
    golden::xl(&cases, &modern);
    cases.compare();
}
