//! The numbered examples are a course: every step runs, in order, in one folder. They are compiled into this test, so
//! that nothing has to be built or started a second time.

use std::path::Path;

/// Declares the steps and lists them.
macro_rules! course {
    ($($step:ident = $file:literal;)*) => {
        $(
            #[allow(dead_code, reason = "a step's own `main`")]
            #[path = $file]
            mod $step;
        )*

        type Run = fn(&Path) -> Result<(), Box<dyn std::error::Error>>;
        const COURSE: &[(&str, Run)] = &[$(($file, $step::run)),*];
    };
}

course! {
    exact_gaussian = "../examples/01_exact_gaussian.rs";
    analytic_first_step = "../examples/02_analytic_first_step.rs";
    train_tiny_teacher = "../examples/03_train_tiny_teacher.rs";
    distil = "../examples/04_distil.rs";
    sample_from_file = "../examples/05_sample_from_file.rs";
    measure = "../examples/06_measure.rs";
    own_solver = "../examples/07_own_solver.rs";
}

/// Each step asserts what it claims.
///
/// On one thread: the networks are so small that handing work from thread to thread costs more than the work, and
/// many times more on a machine that is busy with other tests.
#[test]
fn every_step_of_the_course_runs() {
    let folder = tempfile::tempdir().unwrap();
    let alone = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    alone.install(|| {
        for (file, run) in COURSE {
            println!("== {file}");
            let start = std::time::Instant::now();
            run(folder.path()).unwrap_or_else(|error| panic!("{file}: {error}"));
            println!("== {:.1} s", start.elapsed().as_secs_f64());
        }
    });
}

#[test]
fn the_course_is_complete_and_in_the_front_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let entries = std::fs::read_dir(root.join("examples")).unwrap();
    let mut files: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    files.sort();
    let listed: Vec<&str> = COURSE
        .iter()
        .map(|(file, _)| &file["../examples/".len()..])
        .collect();
    assert_eq!(files, listed);
    for file in listed {
        assert!(readme.contains(file), "{file} is not in README.md");
        let text = std::fs::read_to_string(root.join("examples").join(file)).unwrap();
        let name = file.trim_end_matches(".rs");
        let command = format!("cargo run --release --example {name}`");
        assert!(text.contains(&command), "{file} does not say how to run it");
        assert!(text.lines().count() <= 70, "{file} is too long for a step");
    }
}
