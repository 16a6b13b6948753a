//! What we write for PyTorch, loaded by PyTorch. Needs `python3` with torch; says so and passes where that is missing.

#[path = "support/foreign.rs"]
mod foreign;
#[path = "support/torch.rs"]
mod torch;

use fewstep::import::{Checkpoint, Export, Layout};
use fewstep::network::{NetworkConfig, SongUNetConfig};
use std::path::Path;
use std::process::Command;

#[test]
fn plain_torch_loads_our_export() {
    let network = NetworkConfig::SongUnet(SongUNetConfig {
        dropout: 0.0,
        step_branch: true,
        ..foreign::sizes()
    });
    let state = torch::state(&network);
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/load_export.py");
    for (name, bytes) in [
        ("zip.pt", torch::zip(&state, "little")),
        ("legacy.pt", torch::legacy(&state)),
    ] {
        let source = folder.path().join(name);
        std::fs::write(&source, bytes).unwrap();
        let export = folder.path().join("export.safetensors");
        let checkpoint = Checkpoint::read(&source).unwrap();
        let card = checkpoint.card().unwrap();
        let layout = Layout::StateDict { step_branch: false };
        let how = Export {
            layout,
            scalar: None,
        };
        how.write(&checkpoint, Some(&card), &export).unwrap();
        let output = Command::new("python3")
            .arg(&script)
            .arg(&source)
            .arg(&export)
            .output();
        let Ok(output) = output else {
            eprintln!("skipped: there is no python3");
            return;
        };
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => println!("{name}: {text}"),
            Some(77) => return eprintln!("{text}"),
            _ => panic!("{name}: {text}"),
        }
    }
}
