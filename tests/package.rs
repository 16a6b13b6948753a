//! What would be published of each package: all that its build needs, and no megabytes of tests.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn clone() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a package, as cargo would pack them.
fn files(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "package",
            "--list",
            "--allow-dirty",
            "--offline",
            "--package",
            package,
        ])
        .current_dir(clone())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{package}: {said}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.replace('\\', "/")).collect()
}

fn bytes(folder: &Path, files: &BTreeSet<String>) -> u64 {
    // Some are made by cargo.
    let sizes = files.iter().map(|file| folder.join(file).metadata());
    sizes
        .map(|found| found.map_or(0, |found| found.len()))
        .sum()
}

/// The files below a folder of the clone with one of these endings.
fn below(folder: &str, endings: &[&str]) -> BTreeSet<String> {
    let entries = walkdir::WalkDir::new(clone().join(folder)).into_iter();
    let names = entries
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.is_file());
    let names = names.map(|path| {
        let inside = path.strip_prefix(clone().join(folder)).unwrap();
        inside.to_string_lossy().replace('\\', "/")
    });
    names
        .filter(|name| endings.iter().any(|ending| name.ends_with(ending)))
        .collect()
}

#[test]
fn packages_hold_what_they_need_and_little_more() {
    // Megabytes, far below the 10 that crates.io takes.
    for (package, folder, most) in [
        ("fewstep", "", 4.0),
        ("fewstep-kernels", "kernels", 1.0),
        ("fewstep-cli", "cli", 9.0),
    ] {
        let files = files(package);
        let size = bytes(&clone().join(folder), &files) as f64 / 1e6;
        assert!(size < most, "{package}: {size} MB");
        for wanted in ["LICENSE-MIT", "LICENSE-APACHE", "Cargo.toml"] {
            assert!(files.contains(wanted), "{package}: {wanted}");
        }
        let tests = files.iter().filter(|file| file.starts_with("tests/"));
        assert_eq!(tests.count(), 0, "{package}");
        let source = Path::new(folder).join("src");
        for file in below(source.to_str().unwrap(), &[""]) {
            assert!(
                files.contains(&format!("src/{file}")),
                "{package}: src/{file}"
            );
        }
    }
    assert!(files("fewstep").contains("README.md"));
}

#[test]
fn the_tool_is_published_with_what_is_inside_it() {
    let files = files("fewstep-cli");
    for (name, folder) in [
        ("recipes", "recipes"),
        ("assets", "assets"),
        ("golden", "tests/golden"),
    ] {
        let wanted = below(folder, &[".toml", ".json", ".safetensors", ".pt"]);
        assert!(!wanted.is_empty(), "{folder}");
        for file in wanted.iter().filter(|file| !file.contains('/')) {
            let packed = format!("bundled/{name}/{file}");
            assert!(files.contains(&packed), "{packed}");
        }
    }
}
