//! A tiny world for the tests of the program: 8 x 8 images, recipes, and folders that go away.

#![allow(dead_code)] // Each test program uses its own part.

use assert_cmd::Command;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_fewstep");

/// Recipe of a teacher that trains in a second.
pub const TEACHER: &str = include_str!("teacher.toml");

/// Recipe of a student of it.
pub const STUDENT: &str = r#"
kind = "distillation"
trajectories = 160
batch = 8
micro-batch = 5
learning-rate = 5e-4
"#;

/// Recipe of a student for 2 to 5 evaluations.
pub const SEVERAL: &str = r#"
kind = "distillation"
trajectories = 64
batch = 8
steps = 4
variable-steps = [3, 6]
reuse = 2
average-half-life = 40.0
learning-rate = 5e-4
learning-rate-schedule = "cosine"
"#;

/// Recipe of a student for 1 evaluation of such a student.
pub const SECOND: &str = r#"
kind = "distillation"
trajectories = 32
batch = 8
steps = 2
substeps = 3
second-stage = true
teacher-solver = { kind = "euler" }
learning-rate = 5e-4
"#;

/// Recipe of a feature network.
pub const FEATURES: &str = r#"
kind = "features"
size = 8
channels = 1
seed = 1
epochs = 2
batch = 20
learning-rate = 0.002
flip = false
shift = 0
widths = [4, 8, 8]
features = 8
"#;

/// A folder with data, recipes and, once asked for, a teacher.
pub struct World {
    folder: TempDir,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_idx(&folder.path().join("data"), 120);
        fs::write(folder.path().join("teacher.toml"), TEACHER).unwrap();
        fs::write(folder.path().join("student.toml"), STUDENT).unwrap();
        fs::write(folder.path().join("several.toml"), SEVERAL).unwrap();
        fs::write(folder.path().join("second.toml"), SECOND).unwrap();
        fs::write(folder.path().join("features.toml"), FEATURES).unwrap();
        Self { folder }
    }

    /// One that holds `teacher.safetensors` as well.
    pub fn with_teacher() -> Self {
        let world = Self::new();
        fs::write(world.path("teacher.safetensors"), teacher()).unwrap();
        world
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn bytes(&self, name: impl AsRef<Path>) -> Vec<u8> {
        let path = self.path(name);
        fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// The pixels of all PNG files in a folder, by name.
    pub fn pictures(&self, folder: impl AsRef<Path>) -> BTreeMap<String, Vec<u8>> {
        let read = |entry: std::io::Result<fs::DirEntry>| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_string();
            let picture = name.ends_with(".png");
            picture.then(|| (name, image::open(&path).unwrap().into_bytes()))
        };
        let files = fs::read_dir(self.path(folder)).unwrap();
        files.filter_map(read).collect()
    }

    /// The program with these arguments (split at spaces), in this folder, on one thread.
    pub fn run(&self, arguments: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .current_dir(self.folder.path())
            .args(arguments.split_whitespace());
        command
            .env_remove("FEWSTEP_DEVICE")
            .env_remove("FEWSTEP_CLIP_VOCABULARY")
            .env("FEWSTEP_THREADS", "1");
        command
    }

    /// As [`run`](Self::run), for processes that are to be disturbed.
    pub fn spawn(&self, arguments: &str) -> std::process::Child {
        std::process::Command::new(PROGRAM)
            .current_dir(self.folder.path())
            .args(arguments.split_whitespace())
            .env("FEWSTEP_THREADS", "1")
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs it, wants `status`, and returns what it said on stderr; there must be no sign of a panic.
    pub fn fails(&self, arguments: &str, status: i32) -> String {
        let output = self.run(arguments).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments}: {text}");
        assert!(
            !text.contains("panicked") && !text.contains("RUST_BACKTRACE"),
            "{text}"
        );
        text
    }

    /// As [`fails`](Self::fails), where the message is ours: one line that contains `word`.
    pub fn says(&self, arguments: &str, status: i32, word: &str) {
        let text = self.fails(&format!("-q {arguments}"), status);
        assert!(
            text.starts_with("error: ") && text.contains(word),
            "{arguments}: {text}"
        );
        assert_eq!(text.trim_end().lines().count(), 1, "{arguments}: {text}");
    }

    /// Runs it and returns what it printed.
    pub fn prints(&self, arguments: &str) -> String {
        let output = self.run(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// What `inspect` says of a file, as JSON.
pub fn facts(world: &World, file: &str) -> Value {
    serde_json::from_str(&world.prints(&format!("inspect {file} --json"))).unwrap()
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy_folder(&path, &target),
            false => drop(fs::copy(&path, &target).unwrap()),
        }
    }
}

/// Everything that ends a process: its name for `kill`, and the exit status of who catches it.
pub const SIGNALS: [(&str, Option<i32>); 4] = [
    ("KILL", None),
    ("TERM", Some(143)),
    ("HUP", Some(129)),
    ("INT", Some(130)),
];

/// A number in [0, 1) that is another one in every run.
pub fn random() -> f64 {
    let bits = std::hash::RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// Sends a signal to a process: `INT`, `KILL`...
pub fn send(child: &Child, signal: &str) {
    let kill = std::process::Command::new("kill")
        .args([&format!("-{signal}"), &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success(), "{signal}");
}

/// Waits until something is there, while the process lives.
pub fn wait_for(child: &mut Child, what: &str, ready: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(120);
    while !ready() {
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before {what}"
        );
        assert!(Instant::now() < limit, "no {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The bytes of a teacher, trained once for each test program.
pub fn teacher() -> &'static [u8] {
    static TEACHER: OnceLock<Vec<u8>> = OnceLock::new();
    TEACHER.get_or_init(|| {
        let world = World::new();
        world.prints("train teacher.toml --data data --out run");
        world.bytes("run/teacher.safetensors")
    })
}

/// Gradients in two directions and a chequerboard, slightly different each.
fn write_idx(folder: &Path, count: u32) {
    fs::create_dir_all(folder).unwrap();
    let mut images: Vec<u8> = [0x803, count, 8, 8]
        .iter()
        .flat_map(|n: &u32| n.to_be_bytes())
        .collect();
    let mut labels: Vec<u8> = [0x801, count]
        .iter()
        .flat_map(|n: &u32| n.to_be_bytes())
        .collect();
    for i in 0..count {
        labels.push((i % 3) as u8);
        for pixel in 0..64 {
            let (y, x) = (pixel / 8, pixel % 8);
            let base = [y * 30, x * 30, (x + y) % 2 * 220][i as usize % 3];
            images.push((base + (i * 7 + pixel * 13) % 30) as u8);
        }
    }
    fs::write(folder.join("train-images-idx3-ubyte"), images).unwrap();
    fs::write(folder.join("train-labels-idx1-ubyte"), labels).unwrap();
}
