//! Puts recipes, assets and golden cases into the program, so that it works in any folder.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let package = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let package = Path::new(&package);
    let mut code = String::new();
    for (constant, name, folder) in [
        ("RECIPES", "recipes", "recipes"),
        ("ASSETS", "assets", "assets"),
        ("GOLDEN", "golden", "tests/golden"),
    ] {
        // What is published has them in this folder. In a clone there are links, which are files on a system without such.
        let (bundled, beside) = (
            package.join("bundled").join(name),
            package.join("..").join(folder),
        );
        let root = match bundled.is_dir() {
            true => bundled,
            false => beside,
        };
        if let Ok(root) = root.canonicalize() {
            println!("cargo::rerun-if-changed={}", root.display());
        }
        let entries = match fs::read_dir(&root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let _ = writeln!(code, "pub const {constant}: &[(&str, &[u8])] = &[];");
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if [".toml", ".json", ".safetensors", ".pt"]
                .iter()
                .any(|e| name.ends_with(e))
            {
                names.push(name);
            }
        }
        names.sort();
        let _ = writeln!(code, "/// The files of `{folder}`.");
        let _ = writeln!(code, "pub const {constant}: &[(&str, &[u8])] = &[");
        for name in names {
            let path = root.join(&name).canonicalize()?;
            let _ = writeln!(code, "    ({name:?}, include_bytes!({path:?})),");
        }
        code.push_str("];\n");
    }
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&out).join("embedded.rs"), code)
}
