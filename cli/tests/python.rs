//! Scripts that compare with Python libraries; they skip themselves where the library is not installed.

use std::path::Path;
use std::process::Command;

#[test]
fn noise_is_pytorchs() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/python/torch_noise.py");
    let program = env!("CARGO_BIN_EXE_fewstep");
    let Ok(output) = Command::new("python3").arg(&script).arg(program).output() else {
        eprintln!("skipped: there is no python3");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("skipped") || text.contains("passed"),
        "{text}"
    );
}
