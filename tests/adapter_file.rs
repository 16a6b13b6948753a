//! Files of low-rank adapters in the layouts of others, and what is refused.

#[path = "support/adapter.rs"]
mod adapter;
#[allow(dead_code, reason = "only a part of it is used here")]
#[path = "support/latent.rs"]
mod latent;
#[allow(dead_code, reason = "only a part of it is used here")]
#[path = "support/student.rs"]
mod student;

use adapter::{answer, cases, difference, distilled, lora};
use burn::tensor::{Device, TensorData};
use fewstep::adapter::{AdapterFile, AdapterLayout, Layers, Lora, read_student};
use fewstep::distill::Recipe;
use fewstep::import::Scalar;
use fewstep::model::{File, Model};
use fewstep::network::Precision;
use std::path::Path;

#[test]
fn layouts_of_others_hold_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    let (_, recipe, teacher) = cases().swap_remove(3);
    let recipe = Recipe {
        teacher_precision: Precision::F32,
        lora: lora(4, Layers::All),
        ..recipe
    };
    let student = distilled(&recipe, &teacher);
    student.write(&path).unwrap();
    let network = &student.card.network;
    let own = AdapterFile::open(&path)
        .unwrap()
        .factors(network, None)
        .unwrap();
    let wanted = answer(&own_model(&path, &teacher));
    for (layout, mark) in [
        (
            AdapterLayout::Diffusers,
            "unet.mid_block.attentions.0.proj_in.lora_A.weight",
        ),
        (
            AdapterLayout::Kohya,
            "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight",
        ),
    ] {
        let write = |scalar, card| own.write(layout, network, card, scalar, &path);
        write(Scalar::F32, None).unwrap();
        let file = AdapterFile::open(&path).unwrap();
        assert!(file.checkpoint().tensors().contains_key(mark), "{layout:?}");
        assert!(file.card().is_none());
        let applied = file.apply(teacher.clone(), 1.0).unwrap();
        assert!(difference(&answer(&applied), &wanted) < 1e-5, "{layout:?}");
        // Half of it is something else, and nothing of it the base.
        let none = file.apply(teacher.clone(), 0.0).unwrap();
        assert_eq!(answer(&none), answer(&teacher));
        let half = file.apply(teacher.clone(), 0.5).unwrap();
        assert!(difference(&answer(&half), &wanted) > 1e-5);
        write(Scalar::F16, None).unwrap();
        let file = AdapterFile::open(&path).unwrap();
        let applied = file.apply(teacher.clone(), 1.0).unwrap();
        assert!(difference(&answer(&applied), &wanted) < 1e-2, "{layout:?}");
        assert!(write(Scalar::F64, None).is_err());
    }
    // Networks without names there.
    let (_, recipe, teacher) = cases().swap_remove(0);
    let student = distilled(&recipe, &teacher);
    student.write(&path).unwrap();
    let network = &student.card.network;
    let own = AdapterFile::open(&path)
        .unwrap()
        .factors(network, None)
        .unwrap();
    let error = own.write(AdapterLayout::Kohya, network, None, Scalar::F32, &path);
    assert!(error.unwrap_err().to_string().contains("Stable Diffusion"));
}

fn own_model(path: &Path, base: &Model) -> Model {
    read_student(path, (base, "base"), &Device::flex())
        .unwrap()
        .0
}

/// A file of tensors, all ones.
fn tensors(path: &Path, all: &[(&str, &[usize])]) {
    let tensor = |shape: &[usize]| {
        let count = shape.iter().product();
        TensorData::new(vec![1f32; count], shape.to_vec())
    };
    let tensors = all
        .iter()
        .map(|(name, shape)| (name.to_string(), tensor(shape)));
    let file = File {
        tensors: tensors.collect(),
        ..File::default()
    };
    file.write(path).unwrap();
}

#[test]
fn files_of_others_are_read_or_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    let network = latent::teacher(true).card.network;
    let place = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q";
    let [down, up, alpha] =
        ["lora_down.weight", "lora_up.weight", "alpha"].map(|end| format!("{place}.{end}"));
    let open = |all: &[(&str, &[usize])]| {
        tensors(&path, all);
        AdapterFile::open(&path).and_then(|file| file.factors(&network, None))
    };
    // Without alpha the product is taken as it is, with it alpha / rank of it; a matrix may be written as a kernel of 1x1.
    for (alpha, scale) in [(None, 1.0), (Some(alpha.as_str()), 0.5)] {
        let mut all: Vec<(&str, &[usize])> = vec![(&down, &[2, 64, 1, 1]), (&up, &[64, 2, 1, 1])];
        all.extend(alpha.map(|alpha| (alpha, [].as_slice())));
        let factors = open(&all).unwrap();
        let (name, factor) = factors.iter().next().unwrap();
        assert!(
            name.ends_with("middle_block.1.transformer_blocks.0.attn1.to_q"),
            "{name}"
        );
        assert_eq!((factor.rank, factor.scale), (2, scale));
    }
    let refused = |all: &[(&str, &[usize])], words: &[&str]| {
        let text = open(all).unwrap_err().to_string();
        for word in words {
            assert!(text.contains(word), "{text}");
        }
        assert!(
            !text.contains('\n') && text.contains("lora.safetensors"),
            "{text}"
        );
    };
    let hada = format!("{place}.hada_w1_a");
    refused(&[(&hada, &[2, 2])], &["LoHa"]);
    let dora = format!("{place}.dora_scale");
    let pair: [(&str, &[usize]); 2] = [(&down, &[2, 64]), (&up, &[64, 2])];
    refused(&[pair[0], pair[1], (&dora, &[64])], &["DoRA"]);
    refused(&[pair[0]], &["no second factor"]);
    refused(&[pair[0], (&up, &[64, 3])], &["[64, 3]"]);
    refused(&[pair[0], (&up, &[32, 2])], &["[32, 2]"]);
    refused(
        &[pair[0], pair[1], ("conv_in.weight", &[1])],
        &["conv_in.weight"],
    );
    refused(&[("conv_in.weight", &[1])], &["no factors"]);
    let elsewhere = ["lora_down.weight", "lora_up.weight"]
        .map(|end| format!("lora_unet_down_blocks_7_attentions_0_proj_in.{end}"));
    let far: [(&str, &[usize]); 2] = [(&elsewhere[0], &[2, 64]), (&elsewhere[1], &[64, 2])];
    refused(&far, &["1 of its 1 layers", "another model"]);
    // A text encoder's are told apart.
    let te = ["lora_down.weight", "lora_up.weight"]
        .map(|end| format!("lora_te_text_model_encoder_layers_0_mlp_fc1.{end}"));
    tensors(
        &path,
        &[pair[0], pair[1], (&te[0], &[2, 6]), (&te[1], &[6, 2])],
    );
    let file = AdapterFile::open(&path).unwrap();
    assert_eq!(file.parts().len(), 2);
    assert_eq!(file.factors(&network, None).unwrap().len(), 1);
}

#[test]
fn recipes_and_teachers_that_do_not_fit_are_refused() {
    let (_, recipe, teacher) = cases().swap_remove(0);
    let refused = |lora: Option<Lora>, teacher: &Model| {
        let recipe = Recipe {
            lora,
            ..recipe.clone()
        };
        recipe.for_teacher(&teacher.card).unwrap_err().to_string()
    };
    let text = refused(lora(4, Layers::Named(vec!["to_q".into()])), &teacher);
    assert!(
        text.contains("lora.layers") && text.contains("to_q"),
        "{text}"
    );
    assert!(refused(lora(0, Layers::All), &teacher).contains("lora.rank"));
    let student = distilled(&recipe, &teacher);
    let text = refused(None, &student);
    assert!(text.contains("--merge"), "{text}");
}
