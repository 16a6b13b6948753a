//! Where the parts of a model may be besides the path that names it.

use std::path::{Path, PathBuf};

/// Folders of a diffusers model; who names one of them, or a file in it, has the others, too.
const FOLDERS: [&str; 6] = [
    "unet",
    "vae",
    "text_encoder",
    "text_encoder_2",
    "tokenizer",
    "tokenizer_2",
];

/// Where to look for the parts of the model in a file or folder: the path itself and, if it is a part of a diffusers model,
/// the folder of the whole.
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
        std::fs::create_dir_all(&vae).unwrap();
        assert_eq!(places(&vae), [vae.clone(), whole.clone()]);
        let file = vae.join("model.safetensors");
        std::fs::write(&file, "x").unwrap();
        assert_eq!(places(&file), [file.clone(), whole.clone()]);
        assert_eq!(places(&whole), std::slice::from_ref(&whole));
        let alone = whole.join("model.ckpt");
        std::fs::write(&alone, "x").unwrap();
        assert_eq!(places(&alone), std::slice::from_ref(&alone));
        let relative = Path::new("unet/model.safetensors");
        assert_eq!(places(relative), [relative, Path::new(".")]);
    }
}
