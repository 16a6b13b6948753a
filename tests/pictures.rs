//! Random folders and archives of pictures, read here and by Pillow. Needs `python3` with Pillow; says so and passes where
//! it is missing. `FEWSTEP_PYTHON` names another Python, `FEWSTEP_PICTURES` another seed.

use fewstep::data::{Dataset, Options, Split};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Data sets a run.
const CASES: usize = 60;

fn variable(name: &str, default: &str) -> String {
    let value = std::env::var(name).unwrap_or_default();
    if value.is_empty() {
        default.into()
    } else {
        value
    }
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks_exact(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(byte).collect()
}

#[test]
fn pictures_are_what_pillow_shows() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/pictures.py");
    let folder = tempfile::tempdir().unwrap();
    let (python, seed) = (
        variable("FEWSTEP_PYTHON", "python3"),
        variable("FEWSTEP_PICTURES", "1"),
    );
    let mut command = Command::new(python);
    command
        .arg(script)
        .arg(folder.path())
        .arg(&seed)
        .arg(CASES.to_string());
    let Ok(output) = command.output() else {
        return println!("skipped: there is no python3");
    };
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    println!("{text}");
    match output.status.code() {
        Some(0) => {}
        Some(77) => return,
        _ => panic!("{text}"),
    }
    let cases = std::fs::read(folder.path().join("cases.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&cases).unwrap();
    assert_eq!(cases.len(), CASES);
    for case in &cases {
        compare(folder.path(), case, &seed);
    }
}

/// Reads a data set and compares all that is known of it.
fn compare(folder: &Path, case: &Value, seed: &str) {
    let path = folder.join(case["path"].as_str().unwrap());
    let background: Vec<u8> = case["background"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| number(v) as u8)
        .collect();
    let options = Options {
        split: if case["split"] == "test" {
            Split::Test
        } else {
            Split::Train
        },
        skip_unreadable: case["skip"] == true,
        background: background.try_into().unwrap(),
        ..Options::new(number(&case["size"]), number(&case["channels"]))
    };
    let (images, broken) = (
        case["images"].as_array().unwrap(),
        case["broken"].as_array().unwrap(),
    );
    let said = format!("seed {seed}, {}", path.display());
    let data = match Dataset::open(&path, &options) {
        Ok(data) => data,
        Err(error) => {
            let error = error.to_string();
            // Where nothing can be read, or the first damaged one is not to be passed over.
            assert!(
                !broken.is_empty() && (images.is_empty() || !options.skip_unreadable),
                "{said}: {error}"
            );
            let named = broken
                .iter()
                .any(|name| error.contains(name.as_str().unwrap()));
            return assert!(named, "{said}: {error}");
        }
    };
    assert!(
        broken.is_empty() || options.skip_unreadable,
        "{said}: {broken:?} were read"
    );
    let skipped: Vec<String> = data
        .skipped()
        .iter()
        .map(|s| s.name.display().to_string())
        .collect();
    assert_eq!(
        skipped.len(),
        broken.len(),
        "{said}: {skipped:?}, {broken:?}"
    );
    for name in broken {
        assert!(
            skipped.iter().any(|s| s.ends_with(name.as_str().unwrap())),
            "{said}: {name}"
        );
    }
    let classes: Vec<&str> = case["classes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c.as_str().unwrap())
        .collect();
    assert_eq!(data.classes(), classes, "{said}");
    assert_eq!(data.len(), images.len(), "{said}");
    for (i, image) in images.iter().enumerate() {
        let label = image["label"].as_u64().map(|label| label as usize);
        assert_eq!(
            data.labels().map(|labels| labels[i]),
            label,
            "{said}: {}",
            image["name"]
        );
        let expected = bytes(image["pixels"].as_str().unwrap());
        let errors = expected
            .iter()
            .zip(data.pixels(i))
            .map(|(a, b)| a.abs_diff(*b));
        let (most, sum) = errors.fold((0, 0.0), |(most, sum), e| (e.max(most), sum + f64::from(e)));
        let tolerance = number(&image["tolerance"]);
        // Decoders of lossy formats round in other places, in single pixels by a few levels.
        let mean = sum / expected.len() as f64;
        assert!(
            usize::from(most) <= tolerance && mean <= 0.5,
            "{said}: {} differs by up to {most}, {mean:.3} on average",
            image["name"]
        );
    }
    let report = data.report();
    assert_eq!(report.taken.to_str(), case["taken"].as_str(), "{said}");
    let left_out: usize = report.left_out.iter().map(|left| left.count).sum();
    assert_eq!(
        left_out,
        number(&case["left_out"]),
        "{said}: {:?}",
        report.left_out
    );
    for (what, count) in [
        ("transparent", report.transparent),
        ("turned", report.turned),
        ("moving", report.moving),
    ] {
        assert_eq!(count, number(&case[what]), "{said}: {what}");
    }
}
