//! Rules about the source itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The modules from the bottom up: each may use itself and those before it.
///
/// `network` is below `denoiser` because preconditioning makes one from the other; `data` knows neither networks nor
/// samplers; `image` writes pictures as safely as `checkpoint` writes models; `golden` is on top because it checks
/// everything, and so is `workload`, because it uses all that has to be fast.
const ORDER: [&str; 21] = [
    "error",
    "grid",
    "noise",
    "data",
    "network",
    "autoencoder",
    "text",
    "denoiser",
    "solver",
    "sampler",
    "schedule",
    "optimizer",
    "checkpoint",
    "import",
    "prompt",
    "image",
    "metric",
    "distill",
    "teacher",
    "golden",
    "workload",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below `folder`, with their text.
fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
}

fn library() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    sources(&root().join("src"), &mut found);
    found.sort();
    found
}

/// The modules of this crate that a piece of source names: `crate::grid::SigmaGrid`, `crate::{Error, noise}`.
fn mentioned(code: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        let letters = text.chars();
        letters
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut found = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        let Some(list) = after.strip_prefix('{') else {
            found.insert(word(after));
            continue;
        };
        // Top-level entries of the braces.
        let mut depth = 0;
        let mut start = true;
        for (i, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                c if start && !c.is_whitespace() => {
                    found.insert(word(&list[i..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    found
}

/// Source without comments and without what is compiled for tests only (which stands at the foot of a file).
fn product(text: &str) -> String {
    let mut kept = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        if line.trim() == "#[cfg(test)]" {
            match lines.next() {
                // A module with its body: all that follows.
                Some(next) if next.ends_with('{') => break,
                _ => continue,
            }
        }
        kept.push(line);
    }
    kept.join("\n")
}

/// Names of modules that are declared under `#[cfg(test)]` in a file of their own.
fn test_modules(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let pairs = lines.windows(2);
    pairs
        .filter(|pair| pair[0].trim() == "#[cfg(test)]" && pair[1].ends_with(';'))
        .filter_map(|pair| pair[1].trim_end_matches(';').split("mod ").nth(1))
        .map(str::to_string)
        .collect()
}

#[test]
fn modules_use_only_what_is_below_them() {
    let files = library();
    let declared = files.iter().find(|(p, _)| p.ends_with("src/lib.rs"));
    for module in declared.unwrap().1.lines() {
        let name = module
            .strip_prefix("pub mod ")
            .and_then(|m| m.strip_suffix(';'));
        if let Some(name) = name {
            assert!(ORDER.contains(&name), "{name} has no place in the order");
        }
    }
    let rank = |module: &str| ORDER.iter().position(|m| *m == module);
    let only_tests: Vec<String> = files.iter().flat_map(|(_, t)| test_modules(t)).collect();
    let mut wrong = Vec::new();
    let mut uses = 0;
    for (path, text) in &files {
        let relative = path.strip_prefix(root().join("src")).unwrap();
        let own = relative.iter().next().unwrap().to_str().unwrap();
        let own = own.trim_end_matches(".rs");
        let file = path.file_stem().unwrap().to_str().unwrap();
        if own == "lib" || only_tests.iter().any(|m| m == file) {
            continue;
        }
        let own_rank = rank(own).unwrap_or_else(|| panic!("{own} has no place in the order"));
        for used in mentioned(&product(text)) {
            // Names that are no modules: `crate::Error`, `crate::Images`.
            let Some(used_rank) = rank(&used) else {
                continue;
            };
            uses += 1;
            if used_rank > own_rank {
                wrong.push(format!("{} uses {used}", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(uses > 40, "only {uses} uses were found");
}

#[test]
fn uses_are_read_right() {
    let code =
        "use crate::{\n    Error,\n    grid::{A, B},\n    noise,\n};\nlet x: crate::solver::Step;";
    let found: Vec<String> = mentioned(code).into_iter().collect();
    assert_eq!(found, ["Error", "grid", "noise", "solver"]);
    let text = "use crate::grid;\n// crate::golden\n#[cfg(test)]\nmod law;\nuse crate::noise;\n#[cfg(test)]\nmod tests {\n    use crate::solver;\n}\n";
    let found: Vec<String> = mentioned(&product(text)).into_iter().collect();
    assert_eq!(found, ["grid", "noise"]);
    assert_eq!(test_modules(text), ["law"]);
}

/// `[SFD Alg. 2]` and the like: references to the two papers that this is an implementation of.
fn tags(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for paper in ["[SFD ", "[EDM "] {
        for (start, _) in text.match_indices(paper) {
            let inside = &text[start + 1..];
            if let Some(end) = inside.find(']') {
                found.insert(inside[..end].to_string());
            }
        }
    }
    found
}

#[test]
fn every_reference_has_its_row_in_the_paper_map_and_the_reverse() {
    let mut used: BTreeMap<String, PathBuf> = BTreeMap::new();
    for (path, text) in library() {
        used.extend(tags(&text).into_iter().map(|tag| (tag, path.clone())));
    }
    assert!(used.len() > 10);
    let map = std::fs::read_to_string(root().join("docs/paper-map.md")).unwrap();
    let rows: BTreeSet<String> = map
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.split('|').next())
        .map(|cell| cell.trim().to_string())
        .filter(|cell| cell.starts_with("SFD ") || cell.starts_with("EDM "))
        .collect();
    let missing: Vec<_> = used
        .iter()
        .filter(|(tag, _)| !rows.contains(*tag))
        .collect();
    assert!(missing.is_empty(), "no row for {missing:#?}");
    let unused: Vec<_> = rows.iter().filter(|row| !used.contains_key(*row)).collect();
    assert!(unused.is_empty(), "no such tag in src: {unused:#?}");
}
