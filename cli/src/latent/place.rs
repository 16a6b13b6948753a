//! Where else to look, beside what was typed.

use std::path::{Path, PathBuf};

/// Folders of a diffusers model; who names one of them, or a file in it, has the others, too.
const FOLDERS: [&str; 4] = ["unet", "vae", "text_encoder", "tokenizer"];

/// The path itself and, if it is a part of a diffusers model, the folder of the whole.
pub fn places(path: &Path) -> Vec<PathBuf> {
    let folder = if path.is_dir() {
        Some(path)
    } else {
        path.parent()
    };
    let name = folder.and_then(|folder| folder.file_name()?.to_str());
    let whole = folder
        .and_then(Path::parent)
        .filter(|_| name.is_some_and(|name| FOLDERS.contains(&name)));
    let whole = whole.map(|whole| match whole.as_os_str().is_empty() {
        true => PathBuf::from("."),
        false => whole.to_path_buf(),
    });
    std::iter::once(path.to_path_buf()).chain(whole).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_leads_to_the_whole() {
        let root = tempfile::tempdir().unwrap();
        let whole = root.path().join("sd");
        let vae = whole.join("vae");
        fs_err::create_dir_all(&vae).unwrap();
        assert_eq!(places(&vae), [vae.clone(), whole.clone()]);
        let file = vae.join("model.safetensors");
        fs_err::write(&file, "x").unwrap();
        assert_eq!(places(&file), [file.clone(), whole.clone()]);
        assert_eq!(places(&whole), std::slice::from_ref(&whole));
        let alone = whole.join("model.ckpt");
        fs_err::write(&alone, "x").unwrap();
        assert_eq!(places(&alone), std::slice::from_ref(&alone));
        let relative = Path::new("unet/model.safetensors");
        assert_eq!(places(relative), [relative, Path::new(".")]);
    }
}
