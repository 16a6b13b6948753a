//! Small latent models, with and without a text, distilled.

#[path = "support/latent.rs"]
mod latent;

use burn::tensor::{Device, Tensor, TensorData};
use fewstep::denoiser::{Condition, Contexts, Denoiser, Guided, Preconditioning};
use fewstep::distill::{Distiller, Recipe, TrajectoryCache, TrajectorySource};
use fewstep::import::open;
use fewstep::model::{Card, Model, State};
use fewstep::noise::{Domain, Stream, latents};
use fewstep::sampler::Sampler;
use fewstep::{Error, Images};
use latent::{TEXT, recipe, table, teacher};

/// Runs `rounds` rounds, or all.
fn run(distiller: &mut Distiller, source: &TrajectorySource, rounds: Option<u64>) {
    let end = rounds.unwrap_or(distiller.recipe().rounds());
    while distiller.rounds() < end {
        distiller.advance(source).unwrap();
    }
}

fn texts(count: usize, negative: bool) -> Contexts {
    let [tokens, width] = TEXT;
    let draw = |count: usize, index: u64| -> Tensor<3> {
        let values = Stream::new(9, Domain::Test, index).normals(count * tokens * width);
        Tensor::from_data(
            TensorData::new(values, [count, tokens, width]),
            &Device::flex(),
        )
    };
    Contexts::new(draw(count, 0), negative.then(|| draw(1, 1))).unwrap()
}

fn source(recipe: &Recipe, teacher: &Model, negative: bool) -> TrajectorySource {
    let source = TrajectorySource::new(
        &recipe.for_teacher(&teacher.card).unwrap(),
        teacher,
        &Device::flex(),
    )
    .unwrap();
    match teacher.card.network.context_width() {
        Some(_) => source.with_contexts(texts(5, negative)).unwrap(),
        None => source,
    }
}

fn bytes(model: &Model) -> Vec<u8> {
    model.to_file().unwrap().to_bytes().unwrap()
}

fn values(images: Images) -> Vec<f32> {
    images.into_data().try_to_vec().unwrap()
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b);
    pairs.fold(0f32, |most, (a, b)| most.max((a - b).abs()))
}

/// Three images, sampled as the card says, with this many calls.
fn sampled(model: &Model, calls: usize, told: &Condition) -> Vec<f32> {
    let sampling = model.card.sampling_with(calls).unwrap();
    let (grid, solver) = (sampling.grid().unwrap(), sampling.solver.build().unwrap());
    let guided = model.guided();
    let sampler = Sampler {
        denoiser: &guided,
        solver: solver.as_ref(),
        grid: &grid,
        analytic_first_step: sampling.analytic_first_step,
        denoise_to_zero: false,
    };
    let noise = latents(
        &[1, 2, 3],
        model.card.network.image_shape(),
        &Device::flex(),
    );
    let told = Condition {
        steps: sampling.told_steps(),
        ..told.clone()
    };
    values(sampler.sample(noise.mul_scalar(grid.sigma_max()), &told))
}

#[test]
fn a_latent_model_is_distilled_interrupted_read_sampled_and_folded() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    for text in [false, true] {
        let (teacher, recipe) = (teacher(text), recipe());
        let source = source(&recipe, &teacher, false);
        let mut whole = Distiller::new(
            recipe.for_teacher(&teacher.card).unwrap(),
            &teacher,
            "p".into(),
            &device,
        )
        .unwrap();
        run(&mut whole, &source, None);
        let mut first = Distiller::new(
            recipe.for_teacher(&teacher.card).unwrap(),
            &teacher,
            "p".into(),
            &device,
        )
        .unwrap();
        run(&mut first, &source, Some(2));
        let state = folder.path().join("state.safetensors");
        first.state().unwrap().write(&state).unwrap();
        let state = State::read(&state).unwrap();
        let mut second = Distiller::resume(&state, &teacher, "p".into(), &device).unwrap();
        run(&mut second, &source, None);
        let student = whole.model().unwrap();
        assert!(bytes(&second.model().unwrap()) == bytes(&student));
        assert!(student.card.network.has_step_branch());

        let path = folder.path().join("student.safetensors");
        student.write(&path).unwrap();
        let (read, hash) = open(&path, &device).unwrap();
        assert_eq!(read.card, student.card);
        assert_eq!(
            read.card.answer.preconditioning,
            Preconditioning::Discrete(table())
        );
        let told = source.round(0).unwrap().1;
        assert_eq!(told.context.is_some(), text);
        for calls in [1, 2] {
            let images = sampled(&read, calls, &told);
            assert!(images.iter().all(|v| v.is_finite()));
            assert_eq!(images, sampled(&student, calls, &told));
            assert_ne!(
                images,
                sampled(&teacher_as_student(&teacher, &student), calls, &told)
            );
            let folded = read.fold(calls, hash.clone()).unwrap();
            let size = images.iter().fold(0f32, |most, v| most.max(v.abs()));
            // A few roundings of f32 in each of some twenty layers.
            let off = difference(&sampled(&folded, calls, &told), &images);
            assert!(off < 1e-4 * size, "{off} of {size}");
        }
    }
}

/// The teacher's weights under the student's card, so that both are sampled alike.
fn teacher_as_student(teacher: &Model, student: &Model) -> Model {
    let mut card = student.card.clone();
    card.sampling.step_condition = false;
    Model {
        card,
        ..teacher.clone()
    }
}

#[test]
fn texts_are_drawn_for_each_trajectory_alone() {
    let teacher = teacher(true);
    let recipe = recipe();
    let states = |recipe: &Recipe| {
        let source = source(recipe, &teacher, false);
        let (target, told) = source.round(1).unwrap();
        let context = told
            .context
            .unwrap()
            .into_data()
            .try_to_vec::<f32>()
            .unwrap();
        (values(target.states.last().unwrap().clone()), context)
    };
    let (whole, context) = states(&recipe);
    let (parts, same) = states(&Recipe {
        micro_batch: Some(2),
        ..recipe.clone()
    });
    assert_eq!(context, same);
    // Sums may be taken in another order in smaller batches.
    let size = whole.iter().fold(0f32, |most, v| most.max(v.abs()));
    assert!(difference(&whole, &parts) < 1e-4 * size);
    let other = states(&Recipe { seed: 4, ..recipe });
    assert_ne!(context, other.1);
}

/// By hand: the guided teacher's path is that of a denoiser that is guided itself.
#[test]
fn a_guided_teacher_moves_away_from_the_negative_text() {
    let teacher = teacher(true);
    let guided = Recipe {
        teacher_guidance: 3.0,
        variable_steps: None,
        ..recipe()
    };
    let (target, told) = source(&guided, &teacher, true).round(0).unwrap();
    let sampling = guided.teacher_sampling(&teacher.card, guided.steps);
    assert_eq!(sampling.guidance, 3.0);
    assert_eq!(guided.sampling().guidance, 1.0);
    let grid = sampling.grid().unwrap();
    struct Apart<'a>(&'a Model);
    impl Denoiser for Apart<'_> {
        fn denoise(&self, noisy: Images, sigma: f64, told: &Condition) -> Images {
            let negative = Condition {
                context: told.negative.clone(),
                ..told.clone()
            };
            let conditional = self.0.denoiser().denoise(noisy.clone(), sigma, told);
            let unconditional = self.0.denoiser().denoise(noisy, sigma, &negative);
            conditional.mul_scalar(3.0) - unconditional.mul_scalar(2.0)
        }
    }
    let by_hand = Sampler {
        denoiser: &Apart(&teacher),
        solver: sampling.solver.build().unwrap().as_ref(),
        grid: &grid,
        analytic_first_step: false,
        denoise_to_zero: false,
    }
    .sample(target.states[0].clone(), &told);
    let (found, by_hand) = (values(target.states[3].clone()), values(by_hand));
    let size = by_hand.iter().fold(0f32, |most, v| most.max(v.abs()));
    let off = difference(&found, &by_hand);
    assert!(off < 1e-4 * size, "{off} of {size}");
    let plain = Recipe {
        teacher_guidance: 1.0,
        ..guided
    };
    let plain = source(&plain, &teacher, true).round(0).unwrap().0;
    assert!(difference(&values(plain.states[3].clone()), &found) > 1e-2 * size);
}

#[test]
fn a_cache_knows_texts_and_guidance_apart() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = teacher(true);
    let kept = |recipe: &Recipe, texts: Contexts| {
        let cache = TrajectoryCache::open(folder.path(), "teacher").unwrap();
        let source = TrajectorySource::new(
            &recipe.for_teacher(&teacher.card).unwrap(),
            &teacher,
            &Device::flex(),
        )
        .unwrap();
        let source = source.with_contexts(texts).unwrap().with_cache(cache);
        let target = source.round(0).unwrap().0;
        let usage = source.cache().unwrap().usage();
        (usage.read, usage.written, values(target.states[1].clone()))
    };
    let recipe = recipe();
    let guided = Recipe {
        teacher_guidance: 2.0,
        ..recipe.clone()
    };
    let (_, written, first) = kept(&recipe, texts(5, true));
    assert_eq!(written, 1);
    assert_eq!(kept(&recipe, texts(5, true)), (1, 0, first.clone()));
    for (recipe, texts) in [(&recipe, texts(4, true)), (&guided, texts(5, true))] {
        let (read, written, states) = kept(recipe, texts);
        assert_eq!((read, written), (0, 1));
        assert_ne!(states, first);
    }
}

#[test]
fn what_is_missing_or_does_not_fit_is_said() {
    let device = Device::flex();
    let (with, without) = (teacher(true), teacher(false));
    let said = |error: Error, words: &[&str]| {
        let message = error.to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    };
    let open = |recipe: &Recipe, teacher: &Model| {
        let recipe = recipe.for_teacher(&teacher.card)?;
        TrajectorySource::new(&recipe, teacher, &device)
    };
    let bare = open(&recipe(), &with).unwrap();
    said(bare.round(0).unwrap_err(), &["no texts", "prompts"]);
    let refused = open(&recipe(), &without)
        .unwrap()
        .with_contexts(texts(2, false));
    said(refused.err().unwrap(), &["takes no text"]);
    let wide = Contexts::new(Tensor::zeros([2, 3, 7], &device), None).unwrap();
    let refused = open(&recipe(), &with).unwrap().with_contexts(wide);
    said(refused.err().unwrap(), &["7 wide", "6 wide"]);
    let named = |digest: String| Recipe {
        prompts: Some(digest),
        ..recipe()
    };
    let same = open(&named(texts(2, false).digest()), &with).unwrap();
    assert!(same.with_contexts(texts(2, false)).is_ok());
    let other = open(&named(texts(3, false).digest()), &with).unwrap();
    let refused = other.with_contexts(texts(2, false));
    said(
        refused.err().unwrap(),
        &["prompts of the recipe", "the same list"],
    );
    let guided = Recipe {
        teacher_guidance: 7.5,
        ..recipe()
    };
    let refused = open(&guided, &with).unwrap().with_contexts(texts(2, false));
    said(
        refused.err().unwrap(),
        &["teacher-guidance = 7.5", "empty text"],
    );
    said(open(&guided, &without).err().unwrap(), &["unconditional"]);
    let sampled = Recipe {
        guidance: 2.0,
        ..recipe()
    };
    said(
        open(&sampled, &without).err().unwrap(),
        &["guidance = 2", "unconditional"],
    );
    let both = Recipe {
        guidance: 2.0,
        ..guided.clone()
    };
    said(
        both.check().unwrap_err(),
        &["teacher-guidance = 7.5", "leave one"],
    );
    for weight in [-1.0, f64::NAN] {
        let bad = Recipe {
            teacher_guidance: weight,
            ..recipe()
        };
        said(bad.check().unwrap_err(), &["`teacher-guidance`"]);
        let mut sampling = recipe().sampling();
        sampling.guidance = weight;
        said(sampling.check().unwrap_err(), &["`guidance`"]);
    }
}

/// The weight of a card is used when the condition has a text to move away from.
#[test]
fn a_card_guides_its_model() {
    let mut model = teacher(true);
    model.card.sampling.guidance = 4.0;
    let text = serde_json::to_string(&model.card).unwrap();
    assert!(
        text.contains(r#""guidance":4.0"#) && text.contains(r#""noise-table""#),
        "{text}"
    );
    assert_eq!(serde_json::from_str::<Card>(&text).unwrap(), model.card);
    let told = texts(3, true).draw(Condition::default(), 0, 0, 0..3, &Device::flex());
    let told = told.unwrap();
    let noise = latents(&[1, 2, 3], [4, 8, 8], &Device::flex());
    let guided = Guided {
        denoiser: &model.denoiser(),
        weight: 4.0,
    };
    let found = values(model.guided().denoise(noise.clone(), 2.0, &told));
    assert_eq!(found, values(guided.denoise(noise.clone(), 2.0, &told)));
    assert_ne!(found, values(model.denoiser().denoise(noise, 2.0, &told)));
}
