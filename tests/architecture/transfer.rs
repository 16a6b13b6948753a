//! What runs in a round of training or in sampling sends numbers to the device, and reads them, through `src/transfer.rs` only,
//! where they are counted: on a GPU each that is read waits for all that was asked of it before.

use crate::source::{Source, Token};

/// Where networks are at work.
const AT_WORK: [&str; 11] = [
    "noise",
    "layer",
    "network",
    "denoiser",
    "solver",
    "sampler",
    "optimizer",
    "learner",
    "distill",
    "group",
    "teacher",
];

/// Files whose transfers are before a run or after it, and why.
const APART: [(&str, &str); 4] = [
    ("src/network/precision.rs", "rounds the weights once"),
    ("src/network/step/fold.rs", "folds a file"),
    ("src/denoiser/context.rs", "hashes the texts once"),
    (
        "src/distill/direction.rs",
        "compares two models, not in a run",
    ),
];

/// Ways of Burn's tensors to and from the processor.
const WAYS: [&str; 9] = [
    "from_data",
    "from_floats",
    "from_ints",
    "to_data",
    "into_data",
    "to_data_dtype",
    "into_data_dtype",
    "into_scalar",
    "to_scalar",
];

fn transfers(files: &[Source]) -> Vec<(&str, &str)> {
    let at_work = |file: &&Source| {
        file.module
            .first()
            .is_some_and(|m| AT_WORK.contains(&m.as_str()))
    };
    let mut found = Vec::new();
    for file in files.iter().filter(at_work) {
        for token in &file.tokens {
            if let Token::Name(name) = token
                && let Some(way) = WAYS.iter().find(|way| *way == name)
            {
                found.push((file.path.as_str(), *way));
            }
        }
    }
    found
}

#[test]
fn rounds_send_and_read_in_one_place() {
    let files = crate::source::read(&crate::root(), "src");
    let found = transfers(&files);
    let wrong: Vec<_> = found
        .iter()
        .filter(|(path, _)| !APART.iter().any(|(file, _)| file == path))
        .collect();
    assert!(wrong.is_empty(), "not through src/transfer.rs: {wrong:#?}");
    let idle: Vec<_> = APART
        .iter()
        .filter(|(file, _)| !found.iter().any(|(path, _)| path == file))
        .collect();
    assert!(
        idle.is_empty(),
        "these are no exceptions any more: {idle:?}"
    );
}

#[test]
fn a_transfer_is_found() {
    let text = "fn value(t: Tensor<1>) -> f64 { t.sum().into_scalar() }\n#[cfg(test)]\nmod tests { fn data() { to_data() } }";
    let file = |path: &str| Source::new(path, "src", text);
    assert_eq!(
        transfers(&[file("src/layer/new.rs"), file("src/metric/new.rs")]),
        [("src/layer/new.rs", "into_scalar")]
    );
}
