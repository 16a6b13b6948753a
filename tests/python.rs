//! What we write for PyTorch and for diffusers, loaded by them. Needs `python3` with torch, and with diffusers; says so and
//! passes where they are missing. `FEWSTEP_PYTHON` names another Python.

#[path = "support/foreign.rs"]
mod foreign;
#[path = "support/latent.rs"]
mod latent;
#[path = "support/torch.rs"]
mod torch;

use burn::tensor::{Device, Tensor, TensorData};
use fewstep::adapter::{AdapterFile, AdapterLayout, Layers, Lora};
use fewstep::denoiser::Condition;
use fewstep::distill::{Distiller, Recipe};
use fewstep::import::{
    Checkpoint, DIFFUSERS_FILE, DIFFUSERS_SETTINGS, Export, Layout, Scalar, diffusers_settings,
};
use fewstep::model::{File, Model};
use fewstep::network::{Inputs, NetworkConfig, SongUNetConfig};
use fewstep::noise::{Domain, Stream, latents};
use fewstep::sampler::{Sampler, Trajectory};
use fewstep::solver::Euler;
use safetensors::tensor::{Dtype, TensorView};
use std::path::Path;
use std::process::Command;

/// Runs a script of `tests/python`; panics unless it says that all is well or that something is not installed.
fn python(script: &str, arguments: [&Path; 2]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    let python = std::env::var("FEWSTEP_PYTHON").unwrap_or_default();
    let mut command = Command::new(if python.is_empty() {
        "python3"
    } else {
        &python
    });
    command.arg(folder.join(script)).args(arguments);
    let Ok(output) = command.output() else {
        return eprintln!("skipped: there is no python3");
    };
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0 | 77) => println!("{script}: {text}"),
        _ => panic!("{script}: {text}"),
    }
}

#[test]
fn plain_torch_loads_our_export() {
    let network = NetworkConfig::SongUnet(SongUNetConfig {
        dropout: 0.0,
        step_branch: true,
        ..foreign::sizes()
    });
    let state = torch::state(&network);
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        ("zip.pt", torch::zip(&state, "little")),
        ("legacy.pt", torch::legacy(&state)),
    ] {
        let source = folder.path().join(name);
        std::fs::write(&source, bytes).unwrap();
        let export = folder.path().join("export.safetensors");
        let checkpoint = Checkpoint::read(&source).unwrap();
        let card = checkpoint.card().unwrap();
        let layout = Layout::StateDict { step_branch: false };
        let how = Export {
            layout,
            scalar: None,
        };
        how.write(&checkpoint, Some(&card), &export).unwrap();
        python("load_export.py", [&source, &export]);
    }
}

/// A student for several numbers of calls, after one round.
fn student() -> Model {
    let (device, recipe) = (Device::flex(), latent::recipe());
    let recipe = Recipe {
        trajectories: 3,
        guidance: 7.5,
        ..recipe
    };
    let teacher = latent::teacher(true);
    let source = fewstep::distill::TrajectorySource::new(
        &recipe.for_teacher(&teacher.card).unwrap(),
        &teacher,
        &device,
    )
    .unwrap()
    .with_contexts(fewstep::denoiser::Contexts::new(texts(5, 0), None).unwrap())
    .unwrap();
    let mut distiller = Distiller::new(
        recipe.for_teacher(&teacher.card).unwrap(),
        &teacher,
        "p".into(),
        &device,
    )
    .unwrap();
    let (target, told) = source.round(0).unwrap();
    distiller.round(&target, &told).unwrap();
    distiller.model().unwrap()
}

fn texts(count: usize, index: u64) -> Tensor<3> {
    let [tokens, width] = latent::TEXT;
    let values = Stream::new(9, Domain::Test, index).normals(count * tokens * width);
    let data = TensorData::new(values, [count, tokens, width]);
    Tensor::from_data(data, &Device::flex())
}

/// Writes what `load_diffusers.py` compares with.
fn write_case(path: &Path, path_taken: &Trajectory, told: &Condition, weight: f64) {
    let numbers = |data: TensorData| -> Vec<u8> {
        let values = data.try_to_vec::<f32>().unwrap();
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    };
    let states: Tensor<5> = Tensor::stack(path_taken.states.clone(), 0);
    let levels = path_taken.grid.levels().to_vec();
    let text = |text: &Option<Tensor<3>>| text.clone().unwrap().into_data();
    let all: Vec<(&str, Dtype, Vec<usize>, Vec<u8>)> = [
        ("states", states.into_data()),
        ("context", text(&told.context)),
        ("negative", text(&told.negative)),
    ]
    .map(|(name, data)| (name, Dtype::F32, data.shape().to_vec(), numbers(data)))
    .into_iter()
    .chain([(
        "levels",
        Dtype::F64,
        vec![levels.len()],
        levels.iter().flat_map(|v| v.to_le_bytes()).collect(),
    )])
    .collect();
    let views = all.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).unwrap();
        (*name, view)
    });
    let header = [("weight".to_owned(), weight.to_string())];
    let header = Some(header.into_iter().collect());
    safetensors::serialize_to_file(views, header, path).unwrap();
}

#[test]
fn diffusers_samples_our_students() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("student.safetensors");
    let student = student();
    for calls in [1, 2] {
        let folded = student.fold(calls, "p".into()).unwrap();
        folded.write(&path).unwrap();
        // As `fewstep convert --to diffusers` does.
        let unet = folder.path().join(format!("folder-{calls}/unet"));
        std::fs::create_dir_all(&unet).unwrap();
        let how = Export {
            layout: Layout::Diffusers,
            scalar: None,
        };
        let checkpoint = Checkpoint::read(&path).unwrap();
        how.write(&checkpoint, Some(&folded.card), &unet.join(DIFFUSERS_FILE))
            .unwrap();
        let settings = diffusers_settings(&folded.card.network).unwrap();
        std::fs::write(unet.join(DIFFUSERS_SETTINGS), settings.to_string()).unwrap();

        // The student itself, not the folded one: folding is checked as well.
        let sampling = student.card.sampling_with(calls).unwrap();
        assert!(sampling.analytic_first_step && sampling.told_steps().is_some());
        let (grid, guided) = (sampling.grid().unwrap(), student.guided());
        let told = Condition {
            context: Some(texts(3, 1)),
            negative: Some(texts(1, 2)),
            steps: sampling.told_steps(),
            ..Condition::default()
        };
        let sampler = Sampler {
            denoiser: &guided,
            solver: &Euler,
            grid: &grid,
            analytic_first_step: true,
            denoise_to_zero: false,
        };
        let shape = student.card.network.image_shape();
        let noise = latents(&[1, 2, 3], shape, &Device::flex());
        let taken = sampler.trajectory(noise.mul_scalar(grid.sigma_max()), &told);
        let case = folder.path().join(format!("case-{calls}.safetensors"));
        write_case(&case, &taken, &told, guided.weight);
        let exported = folder.path().join(format!("folder-{calls}"));
        python("load_diffusers.py", [&exported, &case]);
    }
}

/// A student of adapters in all layers, after one round, in both layouts that diffusers reads.
#[test]
fn diffusers_loads_our_adapters() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (device, teacher) = (Device::flex(), latent::teacher(true));
    let recipe = Recipe {
        trajectories: 3,
        variable_steps: None,
        lora: Some(Lora {
            rank: 4,
            alpha: Some(6.0),
            layers: Layers::All,
        }),
        // Far enough to be told from rounding.
        learning_rate: 0.02,
        ..latent::recipe()
    };
    let recipe = recipe.for_teacher(&teacher.card).unwrap();
    let source = fewstep::distill::TrajectorySource::new(&recipe, &teacher, &device)
        .unwrap()
        .with_contexts(fewstep::denoiser::Contexts::new(texts(5, 0), None).unwrap())
        .unwrap();
    let mut distiller = Distiller::new(recipe, &teacher, "base".into(), &device).unwrap();
    let (target, condition) = source.round(0).unwrap();
    distiller.round(&target, &condition).unwrap();
    let student = distiller.model().unwrap();
    student.write(&at("student.safetensors")).unwrap();
    let file = AdapterFile::open(&at("student.safetensors")).unwrap();
    let network = &student.card.network;
    let factors = file.factors(network, None).unwrap();
    for (layout, name) in [
        (AdapterLayout::Diffusers, "diffusers.safetensors"),
        (AdapterLayout::Kohya, "kohya.safetensors"),
    ] {
        let (card, path) = (Some(&student.card), at(name));
        factors
            .write(layout, network, card, Scalar::F32, &path)
            .unwrap();
    }
    teacher.write(&at("teacher.safetensors")).unwrap();
    let checkpoint = Checkpoint::read(&at("teacher.safetensors")).unwrap();
    let how = Export {
        layout: Layout::Diffusers,
        scalar: None,
    };
    let unet = at("unet");
    how.write(&checkpoint, Some(&teacher.card), &unet.join(DIFFUSERS_FILE))
        .unwrap();
    let settings = diffusers_settings(network).unwrap();
    std::fs::write(unet.join(DIFFUSERS_SETTINGS), settings.to_string()).unwrap();
    let (noisy, context) = (latents(&[1, 2], [4, 8, 8], &device), texts(2, 1));
    let times = [12.0, 700.0];
    let inputs = Inputs {
        noise: &times,
        context: Some(&context),
        ..Inputs::default()
    };
    let answer = student.network.forward(noisy.clone(), inputs);
    let case = [
        ("noisy", noisy.into_data()),
        ("context", context.into_data()),
        (
            "times",
            TensorData::new(times.map(|t| t as f32).to_vec(), [2]),
        ),
        ("answer", answer.into_data()),
    ];
    let case = File {
        tensors: case
            .into_iter()
            .map(|(name, data)| (name.to_string(), data))
            .collect(),
        ..File::default()
    };
    case.write(&at("case.safetensors")).unwrap();
    python("load_lora.py", [folder.path(), &at("case.safetensors")]);
}
