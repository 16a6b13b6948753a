//! The tables in docs/experiments are those of the results in experiments/.

mod support;

use assert_cmd::Command;
use std::fs;
use std::path::{Path, PathBuf};
use support::PROGRAM;

#[test]
fn documented_tables_are_those_of_the_results() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let files = fs::read_dir(top.join("experiments")).unwrap();
    let mut sweeps: Vec<PathBuf> = files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    sweeps.sort();
    assert!(sweeps.len() >= 9, "{sweeps:?}");
    let tables = tempfile::tempdir().unwrap();
    Command::new(PROGRAM)
        .args(["sweep", "--tables", "--quiet"])
        .arg("--known")
        .arg(top.join("experiments/results.jsonl"))
        .arg("--out")
        .arg(tables.path())
        .args(&sweeps)
        .assert()
        .success();
    for sweep in &sweeps {
        let name = sweep.file_stem().unwrap().to_str().unwrap();
        let found = fs::read_to_string(tables.path().join(name).join("sweep.md")).unwrap();
        let documented =
            fs::read_to_string(top.join(format!("docs/experiments/{name}/sweep.md"))).unwrap();
        assert!(
            found == documented,
            "docs/experiments/{name}/sweep.md is not what `fewstep sweep --tables` makes:\n{found}"
        );
    }
}
