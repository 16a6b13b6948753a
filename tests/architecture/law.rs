//! That circles, uses and exceptions are found: in files that are made up.

use super::graph::{circles, graph};
use super::source::{Source, Token, tokens, without_tests};
use std::collections::BTreeSet;

/// `from > to` for every use between files of a crate in `src`.
fn uses(files: &[(&str, &str)]) -> (Vec<Source>, BTreeSet<String>) {
    let files = files
        .iter()
        .map(|(path, text)| Source::new(path, "src", text));
    let files = without_tests(files.collect());
    let graph = graph(&files);
    let short = |i: usize| files[i].path.trim_start_matches("src/").to_string();
    let pairs = graph.iter().enumerate().flat_map(|(from, used)| {
        let to = used.iter().map(move |to| (from, *to));
        to.map(|(from, to)| format!("{} > {}", short(from), short(to)))
    });
    let pairs = pairs.collect();
    (files, pairs)
}

#[test]
fn tokens_are_names_and_marks() {
    let text = r##"let a: &'a str = "use crate::b; \" //"; /* crate::c */ // crate::d
        let c = ['"', '\'', 'x', '\u{1F600}']; r#"crate::"e""#; b"f"; crate::g"##;
    let names = tokens(text).into_iter().filter_map(|token| match token {
        Token::Name(name) => Some(name),
        _ => None,
    });
    let names: Vec<String> = names.collect();
    assert_eq!(names, ["let", "a", "a", "str", "let", "c", "crate", "g"]);
}

#[test]
fn what_a_file_uses_is_found() {
    let (_, found) = uses(&[
        (
            "src/lib.rs",
            "pub mod a; pub mod b; pub use b::Deep; pub type Images = u8;",
        ),
        (
            "src/a.rs",
            "use crate::{Images, b::{self, leaf::{Leaf as Other}}};
             fn f() { b::middle::run(); crate::b::own(); let x: super::Deep; }",
        ),
        (
            "src/b/mod.rs",
            "mod deep; pub mod leaf; pub mod middle; pub(crate) use deep::Deep; pub fn own() {}",
        ),
        (
            "src/b/deep.rs",
            "use super::leaf; use std::fmt; struct Deep(leaf::Leaf);",
        ),
        ("src/b/leaf.rs", "pub struct Leaf;"),
        ("src/b/middle.rs", "pub fn run() { let a = super::own; }"),
    ]);
    let expected = [
        "a.rs > b/deep.rs",
        "a.rs > b/leaf.rs",
        "a.rs > b/middle.rs",
        "a.rs > b/mod.rs",
        "a.rs > lib.rs",
        "b/deep.rs > b/leaf.rs",
        "b/middle.rs > b/mod.rs",
    ];
    assert_eq!(
        found.iter().map(String::as_str).collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn a_parent_that_only_passes_on_uses_nothing() {
    let child = (
        "src/a/child.rs",
        "use super::Parent; pub struct Child(Parent);",
    );
    let passes = "mod child; pub use child::Child; pub struct Parent;";
    let (_, found) = uses(&[("src/a/mod.rs", passes), child]);
    assert_eq!(
        found.into_iter().collect::<Vec<_>>(),
        ["a/child.rs > a/mod.rs"]
    );
    let names = "mod child; pub use child::Child; pub struct Parent(Option<Child>);";
    let (_, found) = uses(&[("src/a/mod.rs", names), child]);
    assert_eq!(found.len(), 2);
}

#[test]
fn tests_are_left_out() {
    let (files, found) = uses(&[
        (
            "src/a.rs",
            "#[cfg(test)] use crate::b::{B, C}; #[cfg(test)] pub(crate) mod law; #[cfg(test)] fn f() { use crate::c; }
             use crate::d::D; #[cfg(test)] mod tests { use crate::b::B; }",
        ),
        ("src/a/law.rs", "use crate::b::B;"),
        ("src/a/law/more.rs", "use crate::b::B;"),
        ("src/b.rs", ""),
        ("src/d.rs", ""),
    ]);
    assert_eq!(files.len(), 3);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a.rs > d.rs"]);
}

#[test]
fn a_circle_is_found() {
    let files = [
        ("src/a.rs", "use crate::b::B;"),
        ("src/b.rs", "fn f() { crate::c::g() }"),
        ("src/c.rs", "pub fn g() -> super::a::A {}"),
        ("src/d.rs", "use crate::a::A;"),
    ];
    let (found, _) = uses(&files);
    assert_eq!(circles(&graph(&found)), [vec![0, 1, 2]]);
    let (found, _) = uses(&files[1..]);
    assert!(circles(&graph(&found)).is_empty());
}
