//! Hashes by which files and numbers are told from others.

use crate::Error;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;

/// SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// [`Error::File`] if it cannot be read.
pub fn hash_file(path: &Path) -> Result<String, Error> {
    let mut file = std::fs::File::open(path).map_err(Error::file("read", path))?;
    let mut digest = Sha256::new();
    let mut part = vec![0; 1 << 20];
    loop {
        let len = file.read(&mut part).map_err(Error::file("read", path))?;
        if len == 0 {
            return Ok(hexadecimal(&digest.finalize()));
        }
        digest.update(&part[..len]);
    }
}

/// SHA-256 of some bytes, in hexadecimal.
pub fn hash_bytes(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// As much of a hash as tells it from others, for messages.
pub(crate) fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}

/// Two lower-case digits for each byte.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_hashes_as_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        // More than are read at once.
        let bytes: Vec<u8> = (0..=255).cycle().take((1 << 20) + 3).collect();
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(hash_file(&path).unwrap(), hash_bytes(&bytes));
        assert!(hash_file(folder.path()).is_err());
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash_bytes(b"abc"), known);
    }
}
