//! Latent models in the files of others.

#[path = "support/latent.rs"]
mod latent;

use burn::tensor::{DType, Device, Tensor, TensorData};
use fewstep::Request;
use fewstep::denoiser::{Contexts, Preconditioning};
use fewstep::import::{Checkpoint, Export, Layout, Scalar, diffusers_settings, open};
use fewstep::model::{File, Model, Sampling};
use fewstep::network::{Precision, parameters};
use latent::{TEXT, table, teacher};
use std::collections::BTreeMap;

#[test]
fn a_student_goes_to_diffusers_names_and_back() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let model = teacher(true);
    let ours = folder.path().join("ours.safetensors");
    model.write(&ours).unwrap();
    let file = Checkpoint::read(&ours).unwrap();
    let card = file.card().unwrap();
    let unet = folder
        .path()
        .join("sd/unet/diffusion_pytorch_model.safetensors");
    let export = Export {
        layout: Layout::Diffusers,
        scalar: None,
    };
    export.write(&file, Some(&card), &unet).unwrap();
    let back = Checkpoint::read(&folder.path().join("sd")).unwrap();
    assert!(
        back.tensors()
            .contains_key("mid_block.attentions.0.proj_in.weight")
    );
    assert!(
        !back
            .tensors()
            .keys()
            .any(|name| name.contains("diffusion_model"))
    );
    assert_eq!(back.metadata["format"], "pt");
    let (again, _) = open(&folder.path().join("sd"), &device).unwrap();
    assert!(
        again.to_file().unwrap().to_bytes().unwrap()
            == model.to_file().unwrap().to_bytes().unwrap()
    );

    // The same without a card: names and shapes tell, and the settings beside the file.
    let stripped = folder
        .path()
        .join("plain/unet/diffusion_pytorch_model.safetensors");
    let tensors = Export {
        layout: Layout::Tensors,
        scalar: None,
    };
    tensors.write(&back, None, &stripped).unwrap();
    let settings = diffusers_settings(&card.network).unwrap();
    assert_eq!(settings["attention_head_dim"], 8);
    let settings = settings.to_string();
    std::fs::write(stripped.with_file_name("config.json"), settings).unwrap();
    let (again, _) = open(&folder.path().join("plain"), &device).unwrap();
    assert_eq!(again.card.network, model.card.network);
    assert_eq!(
        again.card.answer.preconditioning,
        model.card.answer.preconditioning
    );
    let weights = |model: &Model| -> Vec<_> {
        let all = parameters(&model.network).into_iter();
        all.map(|p| (p.name, p.data)).collect()
    };
    assert_eq!(weights(&again), weights(&model));

    // What diffusers has no names for.
    for (network, word) in [
        (card.network.with_step_branch(true), "fold"),
        (teacher(false).card.network, "Stable Diffusion"),
    ] {
        let error = diffusers_settings(&network).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

/// A file as CompVis' code writes it: networks, averaged weights (here twice the others) and schedule in one.
fn compvis(model: &Model) -> File {
    let mut tensors = BTreeMap::new();
    for p in parameters(&model.network) {
        let values: Vec<f32> = p.data.iter::<f32>().map(|v| 2.0 * v).collect();
        let short = p.name.strip_prefix("model.").unwrap().replace('.', "");
        let averaged = TensorData::new(values, p.shape);
        tensors.insert(format!("model_ema.{short}"), averaged);
        tensors.insert(p.name, p.data);
    }
    let betas = (0..1000).map(|k| {
        let root = 0.00085f64.sqrt() + (0.012f64.sqrt() - 0.00085f64.sqrt()) * f64::from(k) / 999.0;
        (root * root) as f32
    });
    tensors.insert("betas".into(), betas.collect::<Vec<_>>().as_slice().into());
    let odd = TensorData::new(vec![1f32], [1]);
    tensors.insert("first_stage_model.decoder.conv_in.bias".into(), odd.clone());
    tensors.insert("model_ema.decay".into(), odd);
    File {
        tensors,
        ..File::default()
    }
}

#[test]
fn a_compvis_file_is_read_with_its_averaged_weights_and_its_schedule() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let model = teacher(true);
    let whole = compvis(&model);
    whole.write(&path).unwrap();
    let (read, _) = open(&path, &device).unwrap();
    assert_eq!(
        read.card.answer.preconditioning,
        Preconditioning::Discrete(table())
    );
    assert_eq!(read.card.sampling.sigma_max, table().sigma_max());
    assert_eq!(read.card.network.context_width(), Some(TEXT[1]));
    let firsts = |model: &Model| -> Vec<f32> {
        let all = parameters(&model.network).into_iter();
        all.map(|p| p.data.iter::<f32>().next().unwrap()).collect()
    };
    let twice: Vec<f32> = firsts(&model).iter().map(|v| 2.0 * v).collect();
    assert_eq!(firsts(&read), twice);
    let raw = Checkpoint::read(&path).unwrap().without_average();
    let raw = raw.model(raw.card().unwrap(), &device).unwrap();
    assert_eq!(firsts(&raw), firsts(&model));

    let refused = |change: &dyn Fn(&mut File)| {
        let mut file = whole.clone();
        change(&mut file);
        file.write(&path).unwrap();
        open(&path, &device).unwrap_err().to_string()
    };
    // A mixture of averaged weights and others is no network.
    let missing = refused(&|f| {
        drop(f.tensors.remove("model_ema.diffusion_modelout2bias"));
    });
    assert!(
        missing.contains("model.diffusion_model.out.2.bias"),
        "{missing}"
    );
    let odd = refused(&|f| {
        let betas = (1..=1000).map(|k| k as f32 * 1e-5).collect::<Vec<_>>();
        f.tensors.insert("betas".into(), betas.as_slice().into());
    });
    assert!(odd.contains("`betas`"), "{odd}");
    let extra = refused(&|f| {
        let odd = TensorData::new(vec![1f32], [1]);
        f.tensors
            .insert("model.diffusion_model.extra".into(), odd.clone());
        f.tensors
            .insert("model_ema.diffusion_modelextra".into(), odd);
    });
    assert!(
        extra.contains("unexpected: model.diffusion_model.extra"),
        "{extra}"
    );
}

/// A safetensors file of any type of numbers, which the library does not write.
fn raw(tensors: &[(String, Vec<usize>, Vec<u8>)], kind: &str) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::<u8>::new());
    for (name, shape, bytes) in tensors {
        let from = data.len();
        data.extend(bytes);
        let entry =
            serde_json::json!({"dtype": kind, "shape": shape, "data_offsets": [from, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn weights_of_eight_bits_are_widened() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let keys: Vec<_> = parameters(&teacher(true).network)
        .into_iter()
        .map(|p| (p.name, p.shape))
        .collect();
    for (kind, scalar) in [("F8_E4M3", Scalar::F8E4M3), ("F8_E5M2", Scalar::F8E5M2)] {
        // Numbers of both signs, none of them infinite.
        let bytes = |count: usize| {
            (0..count)
                .map(|i| (i * 37 % 48 + i % 2 * 128) as u8)
                .collect()
        };
        let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = keys
            .iter()
            .map(|(name, shape)| (name.clone(), shape.clone(), bytes(shape.iter().product())))
            .collect();
        let path = folder.path().join(format!("{kind}.safetensors"));
        std::fs::write(&path, raw(&tensors, kind)).unwrap();
        let (model, _) = open(&path, &device).unwrap();
        let wide = |bytes: &[u8]| scalar.to_f32(bytes).unwrap();
        let loaded: BTreeMap<_, _> = parameters(&model.network)
            .into_iter()
            .map(|p| (p.name, p.data))
            .collect();
        for (name, _, bytes) in &tensors {
            assert_eq!(
                loaded[name].iter::<f32>().collect::<Vec<_>>(),
                wide(bytes),
                "{name}"
            );
        }
        // What is written of it is half precision, in which all of them are exact.
        let file = Checkpoint::read(&path).unwrap();
        let card = file.card().unwrap();
        let out = folder.path().join(format!("{kind}-ours.safetensors"));
        let export = Export {
            layout: Layout::Model,
            scalar: None,
        };
        export.write(&file, Some(&card), &out).unwrap();
        let written = Checkpoint::read(&out).unwrap();
        for (name, _, bytes) in &tensors {
            assert_eq!(written.tensors()[name].scalar, Scalar::F16);
            assert_eq!(written.values(name).unwrap(), wide(bytes), "{name}");
        }
    }
}

#[test]
fn weights_are_held_as_the_file_has_them() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let weights = parameters(&teacher(true).network);
    let write = |name: &str, dtype: &dyn Fn(usize) -> DType| {
        let tensors = weights.iter().enumerate().map(|(i, weight)| {
            let data = weight.data.clone().convert_dtype(dtype(i));
            (weight.name.clone(), data)
        });
        let file = File {
            tensors: tensors.collect(),
            ..File::default()
        };
        let path = folder.path().join(name);
        file.write(&path).unwrap();
        Checkpoint::read(&path).unwrap()
    };
    let half = write("half.safetensors", &|_| DType::F16);
    let brain = write("brain.safetensors", &|_| DType::BF16);
    let mixed = write("mixed.safetensors", &|i| {
        if i == 7 { DType::F32 } else { DType::F16 }
    });
    for (file, precision) in [
        (&half, Precision::F16),
        (&brain, Precision::Bf16),
        (&mixed, Precision::F32),
    ] {
        let card = file.card().unwrap();
        assert_eq!(file.precision(&card.network).unwrap(), precision);
        let held = file.model_in(card.clone(), precision, &device).unwrap();
        let whole = file.model(card, &device).unwrap();
        let request = Request {
            texts: Some(&Contexts::new(Tensor::ones([1, 3, TEXT[1]], &device), None).unwrap()),
            sampling: Some(Sampling {
                guidance: 1.0,
                steps: 2,
                ..held.card.sampling.clone()
            }),
            ..Request::default()
        };
        for (a, b) in parameters(&held.network)
            .iter()
            .zip(parameters(&whole.network))
        {
            let wide: Vec<f32> = a.data.iter::<f32>().collect();
            assert_eq!(wide, b.data.iter::<f32>().collect::<Vec<_>>(), "{}", a.name);
        }
        // The same answers, bit for bit.
        let answers = [&held, &whole].map(|model| {
            let latents = model.latents(&[4], &request).unwrap().into_data();
            latents.iter::<f32>().map(f32::to_bits).collect::<Vec<_>>()
        });
        assert_eq!(answers[0], answers[1], "{precision:?}");
    }
    let mut large = weights.clone();
    large[3].data = TensorData::full(large[3].shape.clone(), 1e5f32);
    let tensors = large.iter().map(|w| (w.name.clone(), w.data.clone()));
    let file = File {
        tensors: tensors.collect(),
        ..File::default()
    };
    let path = folder.path().join("large.safetensors");
    file.write(&path).unwrap();
    let file = Checkpoint::read(&path).unwrap();
    let card = file.card().unwrap();
    let error = file
        .model_in(card.clone(), Precision::F16, &device)
        .unwrap_err();
    assert!(error.to_string().contains(&large[3].name), "{error}");
    file.model_in(card, Precision::Bf16, &device).unwrap();
}
