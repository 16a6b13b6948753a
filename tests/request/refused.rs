//! What cannot be sampled, and what cannot be drawn.

use super::latent::teacher_of;
use super::{SEEDS, pixels, whole};
use burn::tensor::{Device, Tensor};
use fewstep::Request;
use fewstep::denoiser::{Condition, Contexts, one_hot};
use fewstep::grid::Spacing;
use fewstep::image::Picture;
use fewstep::import::{NOTE, Parts};
use fewstep::model::{Latent, Model};
use fewstep::noise::{self, Domain, Source, Stream, TorchCpu, TorchCuda, labels, latents};

#[test]
fn what_cannot_be_sampled_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let path = folder.path().join("model.safetensors");
    teacher_of(None).write(&path).unwrap();
    whole::parts(folder.path());
    let autoencoder = Parts::of(&path).unwrap().autoencoder().unwrap();
    let autoencoder = autoencoder.load(&device).unwrap();
    let (plain, classes) = (pixels(0), pixels(3));
    let (latent, text) = (teacher_of(None), teacher_of(Some(6)));
    let mut scaled = latent.clone();
    scaled.card.answer.latent = Some(Latent {
        scale: Some(3.0),
        shift: None,
    });
    let tokens = |width: usize| Tensor::<3>::zeros([2, 3, width], &device);
    let texts = |width: usize| Contexts::new(tokens(width), None).unwrap();
    let (narrow, wide) = (texts(6), texts(7));
    let guided = |model: &Model, weight: f64| {
        let mut sampling = model.card.sampling.clone();
        sampling.guidance = weight;
        Some(sampling)
    };
    let default = Request::default;
    let decoded = || Request {
        autoencoder: Some(&autoencoder),
        ..default()
    };
    let with = |texts| Request {
        texts: Some(texts),
        ..default()
    };
    let other = whole::other(folder.path());
    let other = other.load(&device).unwrap();
    for (model, request, word) in [
        (
            &plain,
            Request {
                class: Some(0),
                ..default()
            },
            "knows no classes",
        ),
        (
            &classes,
            Request {
                class: Some(3),
                ..default()
            },
            "0 to 2",
        ),
        (
            &plain,
            Request {
                shape: Some([1, 16, 8]),
                ..default()
            },
            "`shape`",
        ),
        (
            &latent,
            Request {
                shape: Some([4, 7, 8]),
                ..decoded()
            },
            "`shape`",
        ),
        (
            &latent,
            Request {
                shape: Some([3, 8, 8]),
                ..decoded()
            },
            "`shape`",
        ),
        (
            &plain,
            Request {
                autoencoder: Some(&autoencoder),
                ..default()
            },
            "leave it out",
        ),
        (&latent, default(), "without an autoencoder"),
        (
            &latent,
            Request {
                autoencoder: Some(&other),
                ..default()
            },
            "an autoencoder of 2",
        ),
        (
            &scaled,
            Request {
                autoencoder: Some(&autoencoder),
                ..default()
            },
            "scaled by 3",
        ),
        (&plain, with(&narrow), "takes no text"),
        (
            &text,
            Request {
                autoencoder: Some(&autoencoder),
                ..default()
            },
            "Request::texts",
        ),
        (
            &text,
            Request {
                autoencoder: Some(&autoencoder),
                ..with(&wide)
            },
            "7 wide",
        ),
        (
            &text,
            Request {
                autoencoder: Some(&autoencoder),
                sampling: guided(&text, 2.0),
                ..with(&narrow)
            },
            "one to move away from",
        ),
        (
            &plain,
            Request {
                sampling: guided(&plain, 2.0),
                ..default()
            },
            "neither texts nor classes",
        ),
        (
            &classes,
            Request {
                sampling: guided(&classes, -1.0),
                ..default()
            },
            "0 or more",
        ),
    ] {
        let error = model.sample(&SEEDS, &request).unwrap_err().to_string();
        assert!(
            error.contains(word) && !error.contains('\n'),
            "{word}: {error}"
        );
    }
    let none = plain.sample(&[], &default()).unwrap_err().to_string();
    assert!(none.contains("`number of seeds` is 0"), "{none}");

    std::fs::write(folder.path().join(NOTE), "autoencoder = 3").unwrap();
    let broken = Parts::of(&path).unwrap_err().to_string();
    assert!(broken.contains(NOTE), "{broken}");
    std::fs::remove_file(folder.path().join(NOTE)).unwrap();
    let missing = Parts::of(&path).unwrap().autoencoder().unwrap_err();
    assert!(
        missing.to_string().contains("has no autoencoder"),
        "{missing}"
    );
}

/// What every program does that is written for models with classes, and is given one without.
#[test]
fn no_classes_and_no_images_are_errors_and_not_panics() {
    let device = Device::flex();
    let none = "`classes` is 0";
    let said = |error: fewstep::Error, word: &str| {
        assert!(error.to_string().contains(word), "{error}");
    };
    said(labels(&SEEDS, 0).unwrap_err(), none);
    said(noise::labels_keyed(1, 2, 0..3, 0).unwrap_err(), none);
    said(
        noise::contexts_keyed(1, 2, 0..3, 0).unwrap_err(),
        "`number of texts` is 0",
    );
    said(noise::epoch_index(1, 2, 0).unwrap_err(), "items to visit");
    said(one_hot(&[], 0, &device).unwrap_err(), none);
    said(one_hot(&[0, 3], 3, &device).unwrap_err(), "below 3");
    for source in Source::ALL {
        said(source.labels(&SEEDS, [1, 8, 8], 0).unwrap_err(), none);
    }
    said(
        Source::TorchCpu
            .labels(&[1], [1, 8, 8], 1 << 28)
            .unwrap_err(),
        "2^28",
    );
    said(
        Stream::new(1, Domain::Test, 0).below(0).unwrap_err(),
        "at least 1",
    );
    said(TorchCpu::new(1).below(0).unwrap_err(), "2^28");
    said(TorchCuda::new(1, 0).unwrap_err(), "`blocks` is 0");
    said(TorchCuda::a100(1).below(0).unwrap_err(), "2^28");
    let many = Spacing::default().grid(usize::MAX, 0.1, 1.0);
    said(many.unwrap_err(), "1 to 1000000");
    assert!(
        Picture::all(latents(&[], [1, 8, 8], &device))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_condition_says_what_a_network_does_not_take() {
    let device = Device::flex();
    let (plain, classes, text) = (pixels(0), pixels(3), teacher_of(Some(6)));
    let labelled = |count: usize, classes: usize| Condition {
        labels: Some(one_hot(&vec![0; count], classes, &device).unwrap()),
        ..Condition::default()
    };
    let told = |texts: usize, width: usize| Condition {
        context: Some(Tensor::zeros([texts, 2, width], &device)),
        ..Condition::default()
    };
    let stepped = Condition {
        steps: Some(4),
        ..Condition::default()
    };
    for (model, condition, word) in [
        (&plain, labelled(2, 3), Some("with labels")),
        (&plain, told(2, 6), Some("with context")),
        (&plain, stepped, Some("no step branch")),
        (&plain, Condition::default(), None),
        (&classes, labelled(2, 3), None),
        (&classes, labelled(3, 3), Some("it takes [2, 3]")),
        (&classes, labelled(2, 4), Some("it takes [2, 3]")),
        (&text, Condition::default(), Some("without a text")),
        (&text, told(2, 6), None),
        (&text, told(1, 6), None),
        (&text, told(2, 7), Some("it takes [2, 6]")),
    ] {
        let found = condition.check(&model.card.network, 2);
        match word {
            None => found.unwrap(),
            Some(word) => {
                let error = found.unwrap_err().to_string();
                assert!(error.contains(word), "{word}: {error}");
            }
        }
    }
}
