//! The golden cases of autoencoders, text encoder and tokenizer, and of these parts in files of whole models.

use burn::tensor::Device;
use fewstep::golden::{Outcome, verify};
use std::path::{Path, PathBuf};

/// The variable that names the tokenizer's vocabulary.
const VOCABULARY: &str = "FEWSTEP_CLIP_VOCABULARY";

fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/golden-latent");
    if folder.is_dir() {
        return Some(folder);
    }
    let on_ci = std::env::var("CI").as_deref() == Ok("true");
    assert!(!on_ci, "the golden cases are missing: {}", folder.display());
    eprintln!("skipped: no golden cases at {}", folder.display());
    None
}

/// Runs cases and gives the rows that passed; all rows must, but for those about U-Nets, which are not compared here.
fn rows(cases: &[&str]) -> Vec<String> {
    let Some(folder) = folder() else {
        return Vec::new();
    };
    let paths: Vec<PathBuf> = cases
        .iter()
        .map(|case| folder.join(format!("{case}.safetensors")))
        .collect();
    let mut passed = Vec::new();
    verify(&paths, &Device::flex(), &mut |row| {
        println!(
            "{} {}: {:?} of {:?}, {:?}",
            row.case, row.run, row.error, row.tolerance, row.outcome
        );
        match &row.outcome {
            Outcome::Passed => passed.push(format!("{} {}", row.case, row.run)),
            Outcome::Unsupported(_) => {}
            other => panic!("{row:?}: {other:?}"),
        }
    })
    .unwrap();
    passed
}

/// Checks that these rows, and maybe others, pass.
fn check(cases: &[&str], expected: &[&str]) {
    let passed = rows(cases);
    if passed.is_empty() && folder().is_none() {
        return;
    }
    for row in expected {
        assert!(
            passed.iter().any(|p| p == row),
            "{row} is not in {passed:#?}"
        );
    }
}

#[test]
fn autoencoders() {
    for case in ["autoencoder_kl_tiny", "autoencoder_vq_tiny"] {
        let rows = ["enc0", "enc1", "enc2", "dec0", "dec1"].map(|row| format!("{case} {row}"));
        check(&[case], &rows.each_ref().map(String::as_str));
    }
}

#[test]
fn text_encoder() {
    let case = "text_encoder_clip_tiny";
    let rows = ["e0", "e1", "e2"].map(|row| format!("{case} {row}"));
    check(&[case], &rows.each_ref().map(String::as_str));
}

#[test]
fn tokenizer() {
    let Some(folder) = folder() else { return };
    let file = folder.join("bpe_simple_vocab_16e6.txt.gz");
    if std::env::var_os(VOCABULARY).is_none() && !file.is_file() {
        let on_ci = std::env::var("CI").as_deref() == Ok("true");
        assert!(
            !on_ci,
            "no vocabulary: .ci/run gets one and sets {VOCABULARY}"
        );
        eprintln!(
            "skipped: no vocabulary; put bpe_simple_vocab_16e6.txt.gz of the PyPI package open_clip_torch at {} or its path \
             into {VOCABULARY}",
            file.display()
        );
        return;
    }
    let case = "tokenizer_clip";
    let rows = ["agreed", "one of three", "fast"].map(|row| format!("{case} {row}"));
    check(&[case], &rows.each_ref().map(String::as_str));
}

#[test]
fn weights_and_published_sizes() {
    check(
        &[
            "weights_kl_tiny",
            "weights_vq_tiny",
            "weights_clip_tiny",
            "layout_full_size",
        ],
        &[
            "weights_kl_tiny names and shapes",
            "weights_vq_tiny names and shapes",
            "weights_clip_tiny names and shapes",
            "layout_full_size vq_f4",
            "layout_full_size kl_f8",
            "layout_full_size clip_vit_l14_text",
        ],
    );
}

#[test]
fn parts_of_checkpoints() {
    check(
        &["ckpt_ldm", "ckpt_sd"],
        &[
            "ckpt_ldm autoencoder",
            "ckpt_ldm decoded",
            "ckpt_sd autoencoder",
            "ckpt_sd text encoder",
        ],
    );
}

#[test]
fn parts_of_a_diffusers_folder() {
    check(
        &["diffusers_sd"],
        &[
            "diffusers_sd vae_map",
            "diffusers_sd vae",
            "diffusers_sd vae_map_old_names",
            "diffusers_sd vae_old_names",
            "diffusers_sd tokenizer",
            "diffusers_sd text encoder",
            "diffusers_sd euler_N4_w7.5 decoded",
            "diffusers_sd dpmpp_N6_w7.5 decoded",
        ],
    );
}
