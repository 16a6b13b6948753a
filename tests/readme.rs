//! The program on the front page runs, and is the one that is tested here. (That it compiles as it stands there is checked as
//! a documentation test, too.) A program of its own, because it works in the current folder.

/// Its lines, without those that a documentation test needs around them.
const PROGRAM: &str = include_str!("support/front_page.rs");

mod front_page {
    include!("support/front_page.rs");
}

#[test]
fn the_program_of_the_front_page_runs() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let (_, block) = readme.split_once("```rust,no_run\n").unwrap();
    let (block, rest) = block.split_once("```").unwrap();
    assert!(!rest.contains("```rust"), "another program is not tested");
    let shown: Vec<&str> = block
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let tested: Vec<&str> = PROGRAM
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("pub fn") && *line != "}")
        .collect();
    assert_eq!(shown, tested);

    // A teacher for a student: both are sampled as their files say.
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("runs/demo")).unwrap();
    std::fs::copy(
        root.join("assets/fashion-mnist-teacher.safetensors"),
        folder.path().join("runs/demo/student.safetensors"),
    )
    .unwrap();
    std::env::set_current_dir(folder.path()).unwrap();
    front_page::run().unwrap();
    let picture = image::open("four.png").unwrap().to_luma8();
    // Four of 32 pixels in a row of 2 apart, doubled.
    assert_eq!(picture.dimensions(), (2 * (4 * 34 + 2), 2 * 36));
    let shades: std::collections::BTreeSet<u8> = picture.pixels().map(|p| p.0[0]).collect();
    assert!(shades.len() > 50, "{} shades", shades.len());
}
