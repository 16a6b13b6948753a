//! The golden cases that the project itself carries, which `fewstep verify` runs without arguments.

use burn::tensor::Device;
use fewstep::golden::{Outcome, verify};
use std::path::Path;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

#[test]
fn all_pass() {
    let mut cases = std::collections::BTreeMap::new();
    let summary = verify(&[folder()], &Device::flex(), &mut |row| {
        assert!(matches!(row.outcome, Outcome::Passed), "{row:?}");
        *cases.entry(row.case.clone()).or_insert(0) += 1;
    });
    let summary = summary.unwrap();
    let cases: Vec<_> = cases.into_iter().collect();
    let expected = [
        ("ckpt_legacy_tricky", 4),
        ("ckpt_zip_tricky", 4),
        ("edm_loss_song_tiny", 6),
        ("gits_song", 16),
        ("network_song_tiny", 6),
        ("noise_torch_cpu", 8),
        ("schedule", 6),
        ("solver_basic", 18),
        ("train_lr_drop_early", 10),
        ("train_second_stage", 10),
    ];
    let expected = expected.map(|(name, rows)| (name.to_string(), rows));
    assert_eq!(cases, expected);
    assert_eq!((summary.passed, summary.failed), (88, 0));
    assert_eq!((summary.unsupported, summary.informational), (0, 0));
    let worst = summary.worst.unwrap();
    assert!(worst.ratio > 0.0 && worst.ratio <= 1.0, "{worst:?}");
}

#[test]
fn the_set_is_small() {
    let files = std::fs::read_dir(folder()).unwrap();
    let bytes: u64 = files.map(|f| f.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 4_000_000, "{bytes} bytes");
}
