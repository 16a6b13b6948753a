//! onnxruntime-web: what computes graphs in browsers. Its files are copied, from an npm package or a folder of one.

use crate::screen::failure::wrong;
use anyhow::Context as _;
use flate2::read::GzDecoder;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use tar::Archive;

/// Where `fewstep fetch onnxruntime-web` puts it.
const FETCHED: &str = "weights/onnxruntime-web-1.30.0.tgz";

/// The files of it that a page needs: one thread, WebAssembly with SIMD.
const FILES: [&str; 3] = [
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
];

/// What says its version.
const PACKAGE: &str = "package.json";

/// Where a folder may have them.
const PLACES: [&str; 4] = [
    "",
    "dist",
    "package/dist",
    "node_modules/onnxruntime-web/dist",
];

/// A file of it is smaller.
const LARGEST: u64 = 100 << 20;

/// Its files, read.
pub struct Runtime {
    /// Names and contents.
    pub files: Vec<(&'static str, Vec<u8>)>,
    /// Its version, where the package says it.
    pub version: Option<String>,
}

impl Runtime {
    /// Reads the package or folder that was typed, or what was fetched.
    pub fn read(typed: Option<&Path>) -> anyhow::Result<Self> {
        let path = match typed {
            Some(path) => path.to_path_buf(),
            None => PathBuf::from(FETCHED),
        };
        if !path.exists() {
            let shown = path.display();
            return Err(wrong(format!(
                "{shown} is not there: `fewstep fetch onnxruntime-web` gets it, or name a folder or package of it with --runtime \
                 (`npm pack onnxruntime-web`)"
            )));
        }
        let mut found = match path.is_dir() {
            true => of_folder(&path)?,
            false => of_package(&path)?,
        };
        let package = found.remove(PACKAGE);
        let version = package.and_then(|text| {
            let json: serde_json::Value = serde_json::from_slice(&text).ok()?;
            Some(json["version"].as_str()?.to_string())
        });
        let files = FILES.map(|name| {
            let shown = path.display();
            let missing = || {
                wrong(format!(
                    "{shown} has no {name}: it is not onnxruntime-web of 2024 or later"
                ))
            };
            Ok((name, found.remove(name).ok_or_else(missing)?))
        });
        Ok(Self {
            files: files.into_iter().collect::<anyhow::Result<_>>()?,
            version,
        })
    }
}

type Found = BTreeMap<String, Vec<u8>>;

fn of_folder(folder: &Path) -> anyhow::Result<Found> {
    let mut found = Found::new();
    let places = PLACES.map(|place| folder.join(place));
    let Some(place) = places.iter().find(|place| place.join(FILES[0]).is_file()) else {
        return Ok(found);
    };
    let package = place.parent().map(|above| above.join(PACKAGE));
    let files = FILES.map(|name| place.join(name)).into_iter();
    for path in files.chain(package).filter(|path| path.is_file()) {
        let name = path.file_name().unwrap_or_default();
        found.insert(name.to_string_lossy().into_owned(), fs_err::read(&path)?);
    }
    Ok(found)
}

fn of_package(path: &Path) -> anyhow::Result<Found> {
    let broken = || format!("{} is no package of npm (.tgz)", path.display());
    let mut found = Found::new();
    let mut archive = Archive::new(GzDecoder::new(fs_err::File::open(path)?));
    for entry in archive.entries().with_context(broken)? {
        let entry = entry.with_context(broken)?;
        let inside = entry.path().with_context(broken)?.into_owned();
        let wanted = FILES
            .iter()
            .find(|name| inside == Path::new("package/dist").join(name));
        let name = match wanted {
            Some(name) => *name,
            None if inside == Path::new("package").join(PACKAGE) => PACKAGE,
            None => continue,
        };
        let mut bytes = Vec::new();
        entry
            .take(LARGEST)
            .read_to_end(&mut bytes)
            .with_context(broken)?;
        found.insert(name.to_string(), bytes);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::failure::one_line;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    fn package(names: &[&str]) -> Vec<u8> {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for name in names {
            let text = match *name {
                "package/package.json" => "{\"version\":\"9.8.7\"}".to_string(),
                other => format!("this is {other}"),
            };
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            archive
                .append_data(&mut header, name, text.as_bytes())
                .unwrap();
        }
        archive.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn packages_and_folders_have_the_same_files() {
        let root = tempfile::tempdir().unwrap();
        let all = FILES.map(|name| format!("package/dist/{name}"));
        let mut names: Vec<&str> = all.iter().map(String::as_str).collect();
        names.extend(["package/package.json", "package/dist/ort.all.js"]);
        let file = root.path().join("x.tgz");
        std::fs::write(&file, package(&names)).unwrap();
        let read = Runtime::read(Some(&file)).unwrap();
        assert_eq!(read.version.as_deref(), Some("9.8.7"));
        assert_eq!(read.files.len(), FILES.len());
        for (name, content) in &read.files {
            let place = root.path().join("node_modules/onnxruntime-web/dist");
            std::fs::create_dir_all(&place).unwrap();
            std::fs::write(place.join(name), content).unwrap();
        }
        let other = Runtime::read(Some(root.path())).unwrap();
        assert_eq!((other.files, other.version), (read.files, None));
    }

    #[test]
    fn what_is_missing_is_named() {
        let root = tempfile::tempdir().unwrap();
        let says = |typed: Option<&Path>, words: &[&str]| {
            let error = Runtime::read(typed).err().unwrap();
            let text = one_line(&error);
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
        };
        says(
            None,
            &[FETCHED, "fewstep fetch onnxruntime-web", "--runtime"],
        );
        says(Some(root.path()), &["ort.wasm.min.mjs"]);
        let file = root.path().join("x.tgz");
        std::fs::write(&file, package(&["package/dist/ort.wasm.min.mjs"])).unwrap();
        says(Some(&file), &["ort-wasm-simd-threaded.mjs"]);
        std::fs::write(&file, "no archive").unwrap();
        says(Some(&file), &["x.tgz is no package"]);
    }
}
