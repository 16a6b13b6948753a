//! Files that people give for images, statistics or texts and that are something else, told by their first bytes.

use flate2::read::GzDecoder;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;
use zip::ZipArchive;

/// Bytes that are looked at; a tar archive says what it is within the first 512.
const HEAD: u64 = 1024;

/// Starts of files, and what they are.
const MAGIC: &[(&[u8], &str)] = &[
    (b"\x93NUMPY", "an array of NumPy (.npy)"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"MATLAB 5.0", "a MATLAB file (.mat)"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x89PNG\r\n\x1a\n", ONE_PICTURE),
    (b"\xff\xd8\xff", ONE_PICTURE),
    (b"GIF8", ONE_PICTURE),
    (b"II*\0", ONE_PICTURE),
    (b"MM\0*", ONE_PICTURE),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\xfd7zXZ", "an archive of xz"),
    (b"BZh", "an archive of bzip2"),
    (b"\x28\xb5\x2f\xfd", "an archive of zstd"),
    (b"%PDF", "a PDF document"),
    (b"\xd0\xcf\x11\xe0", "an old document of Office"),
    (
        b"version https://git-lfs.github.com/spec",
        "a Git LFS pointer, a few lines that stand for the real file; get that by `git lfs pull`",
    ),
];
const ONE_PICTURE: &str = "a single picture; give the folder that it is in";

/// What a file is, if it is one of those that are known not to be ours: `an array of NumPy (.npy)`. Files that cannot be read
/// are nothing.
pub(crate) fn kind(path: &Path) -> Option<String> {
    let file = File::open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut file = BufReader::new(file);
    let mut head = Vec::new();
    file.by_ref().take(HEAD).read_to_end(&mut head).ok()?;
    if head.starts_with(b"PK\x03\x04") {
        file.rewind().ok()?;
        return in_zip(&ZipArchive::new(file).ok()?);
    }
    if head.starts_with(b"\x1f\x8b") {
        file.rewind().ok()?;
        let mut inside = Vec::new();
        GzDecoder::new(file)
            .take(HEAD)
            .read_to_end(&mut inside)
            .ok()?;
        return is_tar(&inside).then(|| format!("a tar archive, packed{UNPACK}"));
    }
    of_bytes(&head)
}

/// What an archive is, by the names in it.
fn in_zip(archive: &ZipArchive<BufReader<File>>) -> Option<String> {
    let names: Vec<_> = archive.file_names().filter_map(Result::ok).collect();
    let has = |name: &str| names.iter().any(|found| found == name);
    if has("mu.npy") && has("sigma.npy") {
        return Some(
            "statistics of another program (.npz with `mu` and `sigma`), which are not read yet"
                .into(),
        );
    }
    if !names.is_empty() && names.iter().all(|name| name.ends_with(".npy")) {
        return Some("arrays of NumPy (.npz)".into());
    }
    let torch = names.iter().any(|name| name.ends_with("data.pkl"));
    let office = has("[Content_Types].xml");
    match (torch, office) {
        (true, _) => Some("a file of PyTorch".into()),
        (_, true) => Some("a document of Office".into()),
        _ => None,
    }
}

const UNPACK: &str = "; unpack it, or make a zip of it";

fn is_tar(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
}

/// As [`kind`], of the first bytes of a file that is no archive.
pub(crate) fn of_bytes(head: &[u8]) -> Option<String> {
    if head.is_empty() {
        return Some("an empty file".into());
    }
    if let Some((_, kind)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some((*kind).into());
    }
    if is_tar(head) {
        return Some(format!("a tar archive{UNPACK}"));
    }
    if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        return Some(ONE_PICTURE.into());
    }
    if let [0x80, 2..=5, ..] = head {
        return Some("a pickle of Python's".into());
    }
    // The length of a header in eight bytes, and the header.
    if head.get(8) == Some(&b'{') && head.get(4..8) == Some(&[0; 4]) {
        return Some("a safetensors file; statistics and models are given under names that end in .safetensors".into());
    }
    text(head)
}

/// A page of the web, JSON or another text.
fn text(head: &[u8]) -> Option<String> {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // Cut in the middle of a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let plain = |c: char| !c.is_control() || c.is_whitespace();
    if text.is_empty() || !text.chars().all(plain) {
        return None;
    }
    let start: String = text.trim_start().chars().take(15).collect();
    let start = start.to_lowercase();
    let page = start.starts_with("<!doctype html") || start.starts_with("<html");
    Some(match page {
        true => "a page of the web (HTML), such as a server sends in place of a file".into(),
        false => "a text file".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use zip::{ZipWriter, write::SimpleFileOptions};

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    fn zip(names: &[&str]) -> Vec<u8> {
        let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for name in names {
            writer
                .start_file(*name, SimpleFileOptions::default())
                .unwrap();
            writer.write_all(b"x").unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn what_people_give_is_called_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let kind_of = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            kind(&path)
        };
        let mut tar = vec![0; 600];
        tar[..3].copy_from_slice(b"cat");
        tar[257..262].copy_from_slice(b"ustar");
        let mut safetensors = 60u64.to_le_bytes().to_vec();
        safetensors.extend(b"{\"a\":{}}");
        let long = "\u{e4}".repeat(600);
        for (bytes, word) in [
            (&b"\x93NUMPY\x01\0"[..], "NumPy (.npy)"),
            (&zip(&["mu.npy", "sigma.npy"]), "`mu` and `sigma`"),
            (&zip(&["images.npy", "labels.npy"]), "NumPy (.npz)"),
            (&zip(&["archive/data.pkl", "archive/data/0"]), "PyTorch"),
            (&zip(&["[Content_Types].xml"]), "Office"),
            (b"\x80\x04\x95", "pickle"),
            (b"PAR1....", "Parquet"),
            (&tar, "tar archive; unpack"),
            (&packed(&tar), "tar archive, packed; unpack"),
            (b"\x89PNG\r\n\x1a\n....", "single picture"),
            (b"\xff\xd8\xff\xe0", "single picture"),
            (b"RIFF\0\0\0\0WEBPVP8", "single picture"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid",
                "git lfs pull",
            ),
            (b"\n<!DOCTYPE HTML>\n<p>", "HTML"),
            (b"<html lang='de'>", "HTML"),
            (b"[1, 2]", "text file"),
            (long.as_bytes(), "text file"),
            (&safetensors, "safetensors"),
            (b"", "empty"),
        ] {
            let said = kind_of(bytes).unwrap_or_default();
            assert!(said.contains(word), "{word}: {said}");
        }
    }

    #[test]
    fn what_is_ours_is_not_foreign() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let idx = [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4];
        for bytes in [&idx[..], &packed(&idx), &zip(&["a/1.png", "b/2.png"])] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(kind(&path), None);
        }
        assert_eq!(kind(folder.path()), None);
        assert_eq!(kind(&folder.path().join("none")), None);
    }
}
