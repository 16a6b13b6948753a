//! What can be fetched, and from where.

use super::address;
use crate::screen::failure::wrong;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// The manifest that comes with the program.
pub const BUILT_IN: &str = include_str!("weights.toml");

/// A file that can be fetched.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The name to ask for.
    #[serde(skip)]
    pub name: String,
    /// The name of the file here.
    pub file: String,
    /// What it is.
    #[serde(default)]
    pub about: String,
    /// Under which licence it is, as far as its makers say.
    #[serde(default)]
    pub licence: String,
    /// Where it is, the first to try first.
    pub urls: Vec<String>,
    /// Bytes, where they are known.
    pub size: Option<u64>,
    /// SHA-256 in lower-case hexadecimal, where it is known.
    pub sha256: Option<String>,
}

/// All that can be fetched, by name.
#[derive(Clone, Debug)]
pub struct Manifest {
    entries: BTreeMap<String, Entry>,
}

impl Manifest {
    /// The built-in one; entries of the user's file come before those of the same names.
    pub fn read(own: Option<&Path>) -> anyhow::Result<Self> {
        let mut manifest = Self::parse("the built-in manifest", BUILT_IN)?;
        if let Some(path) = own {
            let text = fs_err::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
            let own = Self::parse(&format!("manifest {}", path.display()), &text)?;
            manifest.entries.extend(own.entries);
        }
        Ok(manifest)
    }

    fn parse(source: &str, text: &str) -> anyhow::Result<Self> {
        let parsed: Result<BTreeMap<String, Entry>, _> = toml::from_str(text);
        let mut entries = parsed.map_err(|e| {
            let before = e.span().map_or(0, |span| span.start.min(text.len()));
            let line = text[..before].matches('\n').count() + 1;
            wrong(format!("{source}, line {line}: {}", e.message()))
        })?;
        for (name, entry) in &mut entries {
            entry.name.clone_from(name);
            entry.sha256 = entry.sha256.as_ref().map(|hash| hash.to_lowercase());
            if let Err(reason) = entry.check() {
                return Err(wrong(format!("{source}, {name}: {reason}")));
            }
        }
        Ok(Self { entries })
    }

    /// The entry of a name that was typed.
    pub fn find(&self, name: &str) -> anyhow::Result<&Entry> {
        self.entries.get(name).ok_or_else(|| {
            let names: Vec<_> = self.entries.keys().map(String::as_str).collect();
            wrong(format!(
                "there are no weights `{name}` to fetch; there are {}",
                names.join(", ")
            ))
        })
    }

    /// All entries, by name.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }
}

impl Entry {
    fn check(&self) -> Result<(), String> {
        // A manifest from somewhere must not write outside of the folder.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let file = &self.file;
        if file.is_empty() || file.starts_with('.') || !file.chars().all(plain) {
            return Err(format!(
                "file = {file:?} must be a plain name of letters, digits, `-`, `_` and `.`, without a folder"
            ));
        }
        if self.urls.is_empty() {
            return Err("`urls` is empty".into());
        }
        for url in &self.urls {
            address::parse(url)?;
        }
        let digits =
            |hash: &String| hash.len() == 64 && hash.chars().all(|c| c.is_ascii_hexdigit());
        match &self.sha256 {
            Some(hash) if !digits(hash) => Err(format!(
                "sha256 = {hash:?} must be 64 hexadecimal digits; leave it out if it is not known"
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::failure::{exit_code, one_line};

    #[test]
    fn the_built_in_manifest_names_the_teachers() {
        let manifest = Manifest::read(None).unwrap();
        for (name, file) in [
            ("edm-cifar10", "edm-cifar10-32x32-uncond-vp.pkl"),
            ("edm-ffhq", "edm-ffhq-64x64-uncond-vp.pkl"),
            ("edm-afhqv2", "edm-afhqv2-64x64-uncond-vp.pkl"),
            ("edm-imagenet64", "edm-imagenet-64x64-cond-adm.pkl"),
        ] {
            let entry = manifest.find(name).unwrap();
            let url = format!("https://nvlabs-fi-cdn.nvidia.com/edm/pretrained/{file}");
            assert_eq!((entry.file.as_str(), &entry.urls), (file, &vec![url]));
        }
        // Whoever fetches something sees what may be done with it.
        for entry in manifest.entries() {
            assert!(!entry.licence.is_empty(), "{}", entry.name);
        }
        for (name, word) in [("sd15", "Open RAIL-M"), ("clip-vocabulary", "MIT")] {
            assert!(manifest.find(name).unwrap().licence.contains(word));
        }
        let encrypted = |entry: &Entry| entry.urls.iter().all(|url| url.starts_with("https://"));
        assert!(manifest.entries().all(encrypted));
        let files: std::collections::BTreeSet<_> = manifest.entries().map(|e| &e.file).collect();
        assert_eq!(files.len(), manifest.entries().count());
        let unknown = manifest.find("edm-cifar").unwrap_err();
        assert!(one_line(&unknown).contains("edm-cifar10, "), "{unknown}");
        assert_eq!(exit_code(&unknown), 2);
    }

    #[test]
    fn mistakes_in_a_manifest_are_named() {
        let hash = "0".repeat(63);
        for (text, word) in [
            ("[a]\nfile = 'x'\nurl = 'http://b/c'", "line 3"),
            ("[a]\nurls = ['http://b/c']", "file"),
            ("[a]\n\nfile = = 3", "line 3"),
            ("[a]\nfile = '../x'\nurls = ['http://b/c']", "plain name"),
            ("[a]\nfile = '.x'\nurls = ['http://b/c']", "plain name"),
            ("[a]\nfile = '/x'\nurls = ['http://b/c']", "plain name"),
            ("[a]\nfile = 'x'\nurls = []", "`urls` is empty"),
            ("[a]\nfile = 'x'\nurls = ['ftp://b/c']", "ftp://b/c"),
            ("[a]\nfile = 'x'\nurls = ['http://b']\nsize = -1", "line 4"),
            (
                &format!("[a]\nfile = 'x'\nurls = ['http://b']\nsha256 = '{hash}'"),
                "64 hexadecimal",
            ),
        ] {
            let error = one_line(&Manifest::parse("m.toml", text).unwrap_err());
            assert!(
                error.contains("m.toml") && error.contains(word),
                "{text}: {error}"
            );
        }
    }
}
