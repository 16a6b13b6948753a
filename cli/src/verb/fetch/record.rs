//! What is remembered of a file between two downloads.

use crate::screen::failure::wrong;
use anyhow::Context as _;
use fewstep::model::write_atomically;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::Path;

const ABOUT: &str = "\
# Written by `fewstep fetch`. The file beside this one was so large and had this hash when it came for the first time;
# every later download and check is held to it. Delete this to forget it.
";

/// A whole file: `FILE.fetch.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Where it came from; nothing if it was there already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Bytes.
    pub size: u64,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
}

impl Record {
    /// Reads it, if there is one.
    pub fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        let path_text = path.display();
        read(path)
            .transpose()
            .map_err(|e| wrong(format!("{path_text} is damaged ({e}); delete it")))
    }

    /// Writes it.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = toml::to_string(self).context("cannot write the record")?;
        Ok(write_atomically(path, format!("{ABOUT}{text}").as_bytes())?)
    }
}

/// Of which content the first bytes are there: `FILE.part.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Origin {
    /// The address as the manifest has it.
    pub url: String,
    /// Bytes of the whole, where the server says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The server's own name for this content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The server's date of this content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

impl Origin {
    /// Reads it; one that cannot be read is as none, and the download starts anew.
    pub fn read(path: &Path) -> Self {
        read(path).and_then(Result::ok).unwrap_or_default()
    }

    /// Writes it.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = toml::to_string(self).context("cannot write the record")?;
        Ok(write_atomically(path, text.as_bytes())?)
    }

    /// What to ask the server to compare before it sends a part. A weak tag does not promise the same bytes.
    pub fn validator(&self) -> Option<&str> {
        let strong = self.etag.as_deref().filter(|tag| !tag.starts_with("W/"));
        strong.or(self.last_modified.as_deref())
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<Result<T, String>> {
    match fs_err::read_to_string(path) {
        Ok(text) => Some(toml::from_str(&text).map_err(|e| e.message().to_string())),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            None
        }
        Err(error) => Some(Err(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.fetch.toml");
        assert_eq!(Record::read(&path).unwrap(), None);
        let record = Record {
            url: None,
            size: 3,
            sha256: "ab".into(),
        };
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path).unwrap(), Some(record));
        fs_err::write(&path, "size = 3").unwrap();
        let error = Record::read(&path).unwrap_err().to_string();
        assert!(error.contains("x.fetch.toml is damaged"), "{error}");
        assert_eq!(Origin::read(&path), Origin::default());
    }

    #[test]
    fn weak_tags_prove_nothing() {
        let origin = |etag: &str, date: Option<&str>| Origin {
            etag: Some(etag.into()),
            last_modified: date.map(String::from),
            ..Origin::default()
        };
        assert_eq!(origin("\"a\"", Some("then")).validator(), Some("\"a\""));
        assert_eq!(origin("W/\"a\"", Some("then")).validator(), Some("then"));
        assert_eq!(origin("W/\"a\"", None).validator(), None);
    }
}
