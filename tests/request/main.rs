//! `Model::sample`, of every kind of model, against the same by hand; and what cannot be sampled.

#[path = "../support/latent.rs"]
mod latent;
mod refused;
#[allow(dead_code, reason = "its own `main`")]
#[path = "../../examples/stable_diffusion.rs"]
mod stable_diffusion;
#[path = "../support/whole.rs"]
mod whole;

use burn::tensor::{Device, Tensor};
use fewstep::autoencoder::Tiling;
use fewstep::denoiser::{Condition, one_hot};
use fewstep::distill::Recipe;
use fewstep::import::{Parts, open, open_bytes};
use fewstep::model::{Card, Kind, Model};
use fewstep::network::{NetworkConfig, load, parameters};
use fewstep::noise::{Domain, Source, Stream, labels, latents};
use fewstep::sampler::Sampler;
use fewstep::{Error, Images, Request};
use latent::teacher_of;
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::num::NonZeroUsize;
use std::path::Path;

const SEEDS: [u64; 5] = [3, 0, 7, 8, 1 << 40];

/// A network of pixels with every weight random.
fn pixels(classes: usize) -> Model {
    let network: NetworkConfig = serde_json::from_value(json!({
        "kind": "song-unet", "resolution": 8, "channels": 1, "classes": classes, "model-channels": 16,
        "channel-multipliers": [1, 2], "blocks": 1, "attention-resolutions": [],
    }))
    .unwrap();
    let device = Device::flex();
    let fresh = network.init(1, &device).unwrap();
    let weights = parameters(&fresh).into_iter().enumerate().map(|(i, p)| {
        let mut data = p.data.clone();
        let scale = 0.3 / (data.num_elements() as f32 / p.shape[0] as f32).sqrt();
        let noise = Stream::new(2, Domain::Test, i as u64).normals(data.num_elements());
        let values: Vec<f32> = data
            .iter::<f32>()
            .zip(noise)
            .map(|(v, n)| v + scale * n)
            .collect();
        data = burn::tensor::TensorData::new(values, p.shape);
        (p.name, data)
    });
    let network_of = load(fresh, &weights.collect(), &|_| false, Path::new("x")).unwrap();
    let card = Card {
        format: 1,
        kind: Kind::Student,
        network,
        answer: 0.5.into(),
        sampling: Recipe::default().sampling(),
        recipe: serde_json::Value::Null,
        trained_on: 0,
        class_names: Vec::new(),
        adapter: None,
        parent: None,
        version: "test".into(),
    };
    Model::new(card, network_of)
}

/// What a model makes of the seeds, by hand.
fn by_hand(model: &Model, guidance: f64, told: Condition) -> Images {
    let mut model = model.clone();
    model.card.sampling.guidance = guidance;
    let sampling = &model.card.sampling;
    let (grid, solver) = (sampling.grid().unwrap(), sampling.solver.build().unwrap());
    let guided = model.guided();
    let sampler = Sampler {
        denoiser: &guided,
        solver: solver.as_ref(),
        grid: &grid,
        analytic_first_step: sampling.analytic_first_step,
        denoise_to_zero: false,
    };
    let noise = latents(&SEEDS, model.card.network.image_shape(), &Device::flex());
    sampler.sample(noise.mul_scalar(grid.sigma_max()), &told)
}

fn values(images: Images) -> Vec<f32> {
    images.into_data().try_to_vec().unwrap()
}

/// Batches may add up in another order.
fn assert_close(got: Images, want: Images) {
    assert_eq!(got.dims(), want.dims());
    let size = want.clone().abs().max().into_scalar::<f64>();
    let off = (got - want).max_abs().into_scalar::<f64>();
    assert!(size > 1e-3 && off <= 1e-4 * size, "{off} of {size}");
}

#[test]
fn a_model_of_pixels_needs_nothing_but_seeds() {
    let device = Device::flex();
    for classes in [0, 3] {
        let model = pixels(classes);
        let drawn = (classes > 0).then(|| labels(&SEEDS, classes).unwrap());
        let told = |labels: &Option<Vec<usize>>| Condition {
            labels: labels
                .as_ref()
                .map(|labels| one_hot(labels, classes, &device).unwrap()),
            ..Condition::default()
        };
        let images = model.sample(&SEEDS, &Request::default()).unwrap();
        assert_eq!(
            values(images.clone()),
            values(by_hand(&model, 1.0, told(&drawn)))
        );
        assert_eq!(
            model.classes_of(&SEEDS, &Request::default()).unwrap(),
            drawn
        );

        // In batches, with the calls counted: 2 of 5 images.
        let seen = RefCell::new(Vec::new());
        let batches = Request {
            batch: NonZeroUsize::new(2),
            progress: Some(&|done, of| seen.borrow_mut().push((done, of))),
            ..Request::default()
        };
        assert_close(model.sample(&SEEDS, &batches).unwrap(), images.clone());
        let calls = [2, 4, 6, 8, 9, 10].map(|done| (done, 10));
        assert_eq!(seen.into_inner(), calls);

        let once_more = Request {
            denoise_to_zero: true,
            noise: Source::TorchCpu,
            ..Request::default()
        };
        assert_ne!(
            values(model.sample(&SEEDS, &once_more).unwrap()),
            values(images)
        );
        if classes > 0 {
            let second = Request {
                class: Some(1),
                ..Request::default()
            };
            let images = values(model.sample(&SEEDS, &second).unwrap());
            let told = told(&Some(vec![1; 5]));
            assert_eq!(images, values(by_hand(&model, 1.0, told)));
        }
    }
}

/// Who wants no more need not wait for the rest of a path, or of the seeds.
#[test]
fn it_is_left_off_between_two_calls() {
    let model = pixels(0);
    for (after, calls) in [(0, vec![]), (1, vec![2]), (3, vec![2, 4, 6])] {
        let (asked, seen) = (Cell::new(0), RefCell::new(Vec::new()));
        let request = Request {
            batch: NonZeroUsize::new(2),
            progress: Some(&|done, _| seen.borrow_mut().push(done)),
            stop: Some(&|| asked.replace(asked.get() + 1) >= after),
            ..Request::default()
        };
        let error = model.sample(&SEEDS, &request).unwrap_err();
        assert!(matches!(error, Error::Stopped), "{error}");
        assert_eq!(seen.into_inner(), calls);
    }
    let never = Request {
        stop: Some(&|| false),
        ..Request::default()
    };
    let images = model.sample(&SEEDS, &never).unwrap();
    let plain = model.sample(&SEEDS, &Request::default()).unwrap();
    assert_eq!(values(images), values(plain));
}

#[test]
fn a_latent_model_is_decoded_with_its_autoencoder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    teacher_of(None).write(&path).unwrap();
    whole::parts(folder.path());
    let (model, _) = open(&path, &Device::flex()).unwrap();
    let autoencoder = Parts::of(&path).unwrap().autoencoder().unwrap();
    let autoencoder = autoencoder.load(&Device::flex()).unwrap();
    let request = Request {
        autoencoder: Some(&autoencoder),
        batch: NonZeroUsize::new(5),
        ..Request::default()
    };
    let latents = model.latents(&SEEDS, &request).unwrap();
    assert_eq!(
        values(latents.clone()),
        values(by_hand(&model, 1.0, Condition::default()))
    );
    let images = model.sample(&SEEDS, &request).unwrap();
    assert_eq!(images.dims(), [5, 3, 16, 16]);
    let decoded = autoencoder
        .decode_tiled(latents, &Tiling::default())
        .unwrap();
    assert_eq!(values(images), values(decoded));
    let wide = Request {
        shape: Some([4, 8, 12]),
        ..request.clone()
    };
    let wide = model.sample(&SEEDS[..1], &wide).unwrap();
    assert_eq!(wide.dims(), [1, 3, 16, 24]);
}

#[test]
fn stable_diffusion_shows_its_prompts() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let path = folder.path().join("model.safetensors");
    teacher_of(Some(whole::WIDTH)).write(&path).unwrap();
    whole::parts(folder.path());
    let (model, _) = open(&path, &device).unwrap();
    let parts = Parts::of(&path).unwrap();
    let texts = parts
        .embed(&["a cat", "", "cat cat"], Some("dog"), &device)
        .unwrap();
    assert_eq!(texts.dims(), [3, 77, whole::WIDTH]);
    let autoencoder = parts.autoencoder().unwrap().load(&device).unwrap();

    let (encoder, tokenizer) = parts.text_encoder().unwrap();
    let encoder = encoder.load(&device).unwrap();
    let embed = |text: &str| encoder.embed(&[&tokenizer.encode(text).ids]).unwrap();
    // Seed s shows text s modulo 3.
    let shown = SEEDS.map(|seed| embed(["a cat", "", "cat cat"][(seed % 3) as usize]));
    let told = Condition {
        context: Some(Tensor::cat(shown.to_vec(), 0)),
        negative: Some(embed("dog").repeat_dim(0, 5)),
        ..Condition::default()
    };
    for guidance in [1.0, 5.0] {
        let mut sampling = model.card.sampling.clone();
        sampling.guidance = guidance;
        let request = Request {
            sampling: Some(sampling),
            texts: Some(&texts),
            autoencoder: Some(&autoencoder),
            ..Request::default()
        };
        let want = by_hand(&model, guidance, told.clone());
        assert_close(model.latents(&SEEDS, &request).unwrap(), want.clone());
        let images = model.sample(&SEEDS, &request).unwrap();
        let want = autoencoder.decode_tiled(want, &Tiling::default()).unwrap();
        assert_close(images, want);
    }

    // The example does it in a dozen lines.
    let out = folder.path().join("cat.png");
    stable_diffusion::run(&path, "a cat", &out).unwrap();
    assert_eq!(image::open(&out).unwrap().to_rgb8().dimensions(), (38, 20));
}

#[test]
fn models_are_read_from_bytes_as_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let path = folder.path().join("model.safetensors");
    let model = pixels(3);
    model.write(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let (read, hash) = Model::read(&path, &device).unwrap();
    let images = |model: &Model| values(model.sample(&SEEDS, &Request::default()).unwrap());
    for (found, its_hash) in [
        Model::from_bytes(&bytes, &device).unwrap(),
        open_bytes(bytes.clone(), &device).unwrap(),
        open(&path, &device).unwrap(),
    ] {
        assert_eq!((&found.card, &its_hash), (&read.card, &hash));
        assert_eq!(images(&found), images(&model));
    }
    // A file of another's, which says no hash of its own.
    let foreign = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ckpt_zip_tricky.pt");
    let bytes = std::fs::read(&foreign).unwrap();
    let messages = [
        Model::from_bytes(&bytes, &device).unwrap_err().to_string(),
        open_bytes(bytes[..bytes.len() / 2].to_vec(), &device)
            .unwrap_err()
            .to_string(),
    ];
    assert!(
        messages.iter().all(|m| m.starts_with("model in memory")),
        "{messages:?}"
    );
}

#[test]
fn a_model_is_asked_as_its_card_says() {
    let mut model = pixels(0);
    let request = Request::default();
    let before = model.sample(&[1], &request).unwrap().into_data();
    model.card.answer.preconditioning = 0.7.into();
    let after = model.sample(&[1], &request).unwrap().into_data();
    assert_ne!(before, after);
    let own = model.denoiser().preconditioning;
    assert_eq!(own, model.card.answer.preconditioning);
}
