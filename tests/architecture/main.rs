//! Rules about the source itself.

mod graph;
mod known;
mod law;
mod source;
mod transfer;

use graph::{Graph, graph, reach};
use known::{BESIDE, CIRCLES, CROWDED, UPWARDS};
use source::{Source, read};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The modules from the bottom up: each may use itself and those before it.
///
/// `network` is below `denoiser` because preconditioning makes one from the other; `data` knows neither networks nor
/// samplers; `file` is at the ground, so that all is written as safely as models; `golden` is on top because it checks
/// everything, and so is `workload`, because it uses all that has to be fast.
const ORDER: &[&str] = &[
    "error",
    "setting",
    "change",
    "transfer",
    "file",
    "container",
    "grid",
    "noise",
    "data",
    "parameter",
    "graph",
    "group",
    "layer",
    "network",
    "autoencoder",
    "text",
    "denoiser",
    "solver",
    "sampler",
    "schedule",
    "optimizer",
    "model",
    "learner",
    "import",
    "export",
    "adapter",
    "feature",
    "prompt",
    "image",
    "request",
    "metric",
    "distill",
    "teacher",
    "golden",
    "workload",
];

/// The tool's folders and files from the bottom up. `screen` is all that is said at a terminal; a verb may use what the
/// verbs have in common, and no verb another.
const TOOL: [&str; 13] = [
    "screen", "group", "bundle", "typed", "output", "context", "picture", "model", "run", "page",
    "measure", "verb", "command",
];

/// The crates whose files are looked at.
const CRATES: [&str; 3] = ["src", "cli/src", "kernels/src"];

/// The most files beside each other in a folder, and lines of a file.
const FILES: usize = 14;
const LINES: usize = 400;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rank(module: &str) -> Option<usize> {
    ORDER.iter().position(|m| *m == module)
}

/// Uses of one file by another, by path.
fn uses(crate_: &str) -> (Vec<Source>, Graph) {
    let files = read(&root(), crate_);
    let graph = graph(&files);
    (files, graph)
}

/// The uses that stand in a list of exceptions are taken out; what is left is looked at by `wrong`, which must find
/// nothing, and must find each exception if it is put back.
fn check_exceptions(
    files: &[Source],
    mut graph: Graph,
    known: &[(&str, &str)],
    wrong: &dyn Fn(&Graph, usize, usize) -> bool,
) -> Vec<String> {
    let mut found = Vec::new();
    let at = |path: &str| files.iter().position(|file| file.path == path);
    let pairs = known
        .iter()
        .map(|(from, to)| (at(from), at(to), format!("{from} uses {to}")));
    let pairs: Vec<_> = pairs.collect();
    for (from, to, text) in &pairs {
        let there = from
            .zip(*to)
            .is_some_and(|(from, to)| graph[from].remove(&to));
        if !there {
            found.push(format!(
                "take it from the list, it is no use any more: {text}"
            ));
        }
    }
    for (from, to, text) in &pairs {
        if let (Some(from), Some(to)) = (from, to)
            && !wrong(&graph, *from, *to)
        {
            found.push(format!("take it from the list, it may be used: {text}"));
        }
    }
    for (from, used) in graph.iter().enumerate() {
        for to in used {
            if wrong(&graph, from, *to) {
                let path = |i: usize| files[i].path.as_str();
                found.push(format!("{} uses {}", path(from), path(*to)));
            }
        }
    }
    found
}

#[test]
fn no_file_uses_itself_in_a_circle() {
    let mut all = 0;
    let mut wrong = Vec::new();
    for crate_ in CRATES {
        let (files, graph) = uses(crate_);
        all += graph.iter().map(|used| used.len()).sum::<usize>();
        let known: Vec<_> = CIRCLES
            .iter()
            .copied()
            .filter(|(from, _)| from.starts_with(&format!("{crate_}/")))
            .collect();
        let closes = |graph: &Graph, from, to| reach(graph, to).contains(&from);
        wrong.extend(check_exceptions(&files, graph, &known, &closes));
    }
    assert!(wrong.is_empty(), "circles of files: {wrong:#?}");
    assert!(all > 700, "only {all} uses were found");
}

#[test]
fn modules_use_only_what_is_below_them() {
    let declared = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for module in declared.lines() {
        let name = module
            .split_once("mod ")
            .and_then(|(_, m)| m.strip_suffix(';'));
        if let Some(name) = name {
            assert!(rank(name).is_some(), "{name} has no place in the order");
        }
    }
    let (files, graph) = uses("src");
    // The root of the crate passes on, and names the type of images.
    let place = |i: usize| files[i].module.first().and_then(|module| rank(module));
    let upwards = |_: &Graph, from, to| match (place(from), place(to)) {
        (Some(from), Some(to)) => from < to,
        _ => false,
    };
    let wrong = check_exceptions(&files, graph, UPWARDS, &upwards);
    assert!(wrong.is_empty(), "against the order of modules: {wrong:#?}");
}

#[test]
fn the_tool_uses_only_what_is_below_and_no_verb_another() {
    let (files, graph) = uses("cli/src");
    let place = |i: usize| {
        let folder = files[i].module.first()?;
        let found = TOOL.iter().position(|name| name == folder);
        assert!(
            found.is_some(),
            "cli/src/{folder} has no place in the order"
        );
        found
    };
    let upwards = |_: &Graph, from: usize, to: usize| {
        let verb = TOOL.iter().position(|name| *name == "verb");
        let (a, b) = (&files[from].module, &files[to].module);
        let other = a.len() > 1 && b.len() > 1 && a.get(1) != b.get(1);
        match (place(from), place(to)) {
            (Some(from), Some(to)) => from < to || (Some(from) == verb && from == to && other),
            _ => false,
        }
    };
    let wrong = check_exceptions(&files, graph.clone(), &[], &upwards);
    assert!(
        wrong.is_empty(),
        "against the order of the tool: {wrong:#?}"
    );
}

#[test]
fn folders_and_files_are_of_a_size_that_one_can_see_through() {
    let mut folders: BTreeMap<String, usize> = BTreeMap::new();
    let (mut wrong, mut beside) = (Vec::new(), Vec::new());
    for crate_ in CRATES {
        source::walk(&root().join(crate_), &mut |path| {
            let lines = std::fs::read_to_string(path).unwrap().lines().count();
            let short = path.strip_prefix(root()).unwrap().display().to_string();
            if lines > LINES {
                wrong.push(format!("{short} has {lines} lines, more than {LINES}"));
            }
            let folder = short.rsplit_once('/').unwrap().0;
            *folders.entry(folder.to_string()).or_default() += 1;
            if path.with_extension("").is_dir() {
                beside.push(short);
            }
        });
    }
    for (folder, files) in &folders {
        let most = CROWDED.iter().find(|(known, _)| known == folder);
        match most {
            Some((_, most)) if files > most => {
                wrong.push(format!("{folder} has {files} files, more than {most}"));
            }
            Some(_) if *files <= FILES => {
                wrong.push(format!("take {folder} from the list: it has {files} files"));
            }
            None if *files > FILES => {
                wrong.push(format!("{folder} has {files} files, more than {FILES}"));
            }
            _ => {}
        }
    }
    // `name/mod.rs`, not `name.rs` beside `name/`.
    let known: Vec<&str> = beside.iter().map(String::as_str).collect();
    assert_eq!(known, BESIDE, "modules beside their folder");
    assert!(wrong.is_empty(), "{wrong:#?}");
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
    source::walk(&root().join("src"), &mut |path| {
        let text = std::fs::read_to_string(path).unwrap();
        let tags = tags(&text).into_iter();
        used.extend(tags.map(|tag| (tag, path.to_path_buf())));
    });
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

/// What stands between backticks and begins with a folder of the sources; places to be filled in are left out.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    let folders = [
        "src/",
        "cli/",
        "kernels/",
        "tests/",
        "benches/",
        "examples/",
        "fuzz/",
    ];
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(move |path| {
        let plain = !path.contains(['<', '*', ' ', '\n']);
        plain && folders.iter().any(|folder| path.starts_with(folder))
    })
}

#[test]
fn every_path_that_the_documents_name_is_there() {
    let documents = std::fs::read_dir(root().join("docs")).unwrap();
    let documents = documents.map(|entry| entry.unwrap().path());
    let documents = documents.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let own = ["CONTRIBUTING.md", "README.md"].map(|name| root().join(name));
    let (mut seen, mut missing) = (0, Vec::new());
    for document in documents.chain(own) {
        let text = std::fs::read_to_string(&document).unwrap();
        for path in paths(&text) {
            seen += 1;
            if !root().join(path).exists() {
                missing.push(format!("{}: {path}", document.display()));
            }
        }
    }
    assert!(seen > 50, "{seen}");
    assert!(
        missing.is_empty(),
        "documents name what is not there: {missing:#?}"
    );
}
