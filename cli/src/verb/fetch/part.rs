//! A file that is on its way: what has come of it, kept beside its place until it is whole.

use super::manifest::Entry;
use super::record::{Origin, Record};
use anyhow::{Context as _, bail};
use fewstep::model::hash_file;
use std::fs::{File, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Where a file goes.
#[derive(Clone, Debug)]
pub struct Place {
    /// The whole file.
    pub file: PathBuf,
    /// What has come of it.
    pub part: PathBuf,
    /// Of which content that is.
    origin: PathBuf,
    /// What the whole file must be.
    record: PathBuf,
}

impl Place {
    /// The places of an entry in a folder.
    pub fn new(folder: &Path, entry: &Entry) -> Self {
        let beside = |end: &str| folder.join(format!("{}{end}", entry.file));
        Self {
            file: beside(""),
            part: beside(".part"),
            origin: beside(".part.toml"),
            record: beside(".fetch.toml"),
        }
    }

    /// What was recorded when the file came for the first time.
    pub fn record(&self) -> anyhow::Result<Option<Record>> {
        Record::read(&self.record)
    }

    /// Records what the file is.
    pub fn write_record(&self, record: &Record) -> anyhow::Result<()> {
        record.write(&self.record)
    }

    /// Forgets everything about the file, the file included.
    pub fn clear(&self) -> anyhow::Result<()> {
        for path in [&self.file, &self.part, &self.origin, &self.record] {
            remove(path)?;
        }
        Ok(())
    }

    /// Bytes that have come so far.
    pub fn arrived(&self) -> u64 {
        std::fs::metadata(&self.part).map_or(0, |m| m.len())
    }
}

/// What has come of a file, open for more.
#[derive(Debug)]
pub struct Partial {
    place: Place,
    file: File,
    len: u64,
    origin: Origin,
}

impl Partial {
    /// Opens it, or starts it. An unwritable folder shows here, before anything is asked of a server.
    pub fn open(place: &Place) -> anyhow::Result<Self> {
        if let Some(folder) = place.part.parent() {
            fs_err::create_dir_all(folder)?;
        }
        let path = place.part.display();
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options
            .open(&place.part)
            .with_context(|| format!("cannot write {path}"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another fetch is at work on {path}"),
            // Some file systems have no locks; they are a courtesy.
            Err(TryLockError::Error(_)) => {}
        }
        let len = file
            .seek(SeekFrom::End(0))
            .with_context(|| format!("cannot read {path}"))?;
        Ok(Self {
            place: place.clone(),
            file,
            len,
            origin: Origin::read(&place.origin),
        })
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Of which content they are.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Throws away what has come, to start with content of `origin`.
    pub fn restart(&mut self, origin: Origin) -> anyhow::Result<()> {
        let path = self.place.part.display();
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .with_context(|| format!("cannot write {path}"))?;
        self.len = 0;
        origin.write(&self.place.origin)?;
        self.origin = origin;
        Ok(())
    }

    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.place.part.display();
        self.file.write_all(bytes).with_context(|| {
            format!("cannot write {path}; what has come is kept, and the same command goes on")
        })?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Puts the whole file into its place if it is what it should be; says what it is instead.
    pub fn finish(self, expected: &Expected) -> anyhow::Result<Result<Record, String>> {
        let Self {
            place,
            file,
            origin,
            ..
        } = self;
        let path = place.part.display();
        file.sync_all()
            .with_context(|| format!("cannot write {path}"))?;
        drop(file);
        let found = measure(&place.part)?;
        if let Some(reason) = expected.differs(&found) {
            remove(&place.part)?;
            remove(&place.origin)?;
            return Ok(Err(reason));
        }
        let record = Record {
            url: Some(origin.url),
            ..found
        };
        place.write_record(&record)?;
        fs_err::rename(&place.part, &place.file)?;
        remove(&place.origin)?;
        Ok(Ok(record))
    }

    /// Leaves no trace if nothing has come.
    pub fn close(self) -> anyhow::Result<()> {
        let Self {
            place, file, len, ..
        } = self;
        drop(file);
        if len == 0 {
            remove(&place.part)?;
            remove(&place.origin)?;
        }
        Ok(())
    }
}

/// What a file must be, as far as that is known.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Bytes.
    pub size: Option<u64>,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: Option<String>,
    /// Who says so.
    pub source: &'static str,
}

impl Expected {
    /// What the manifest says and, where that says nothing, what was recorded.
    pub fn new(entry: &Entry, record: Option<&Record>) -> Self {
        if entry.size.is_none() && entry.sha256.is_none() {
            return Self {
                size: record.map(|r| r.size),
                sha256: record.map(|r| r.sha256.clone()),
                source: "the first download, which --overwrite forgets",
            };
        }
        // A record of another content than the manifest's is out of date, and none is there to fill a gap with.
        let fits = |record: &&Record| entry.size.is_none_or(|size| size == record.size);
        let recorded = record.filter(fits).map(|r| r.sha256.clone());
        Self {
            size: entry.size,
            sha256: entry.sha256.clone().or(recorded),
            source: "the manifest",
        }
    }

    /// How a file is not what it should be.
    pub fn differs(&self, found: &Record) -> Option<String> {
        let source = self.source;
        let Record { size, sha256, .. } = found;
        if let Some(wanted) = self.size.filter(|wanted| wanted != size) {
            return Some(format!("it has {size} bytes, and {wanted} by {source}"));
        }
        let wanted = self.sha256.as_ref().filter(|wanted| *wanted != sha256)?;
        Some(format!("its SHA-256 is {sha256}, and {wanted} by {source}"))
    }
}

/// Size and hash of a file.
pub fn measure(path: &Path) -> anyhow::Result<Record> {
    Ok(Record {
        url: None,
        size: fs_err::metadata(path)?.len(),
        sha256: hash_file(path)?,
    })
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(size: Option<u64>, hash: Option<&str>, recorded: Option<(u64, &str)>) -> Expected {
        let entry = Entry {
            name: "x".into(),
            file: "x".into(),
            about: String::new(),
            licence: String::new(),
            urls: Vec::new(),
            size,
            sha256: hash.map(String::from),
        };
        let record = recorded.map(|(size, sha256)| Record {
            url: None,
            size,
            sha256: sha256.into(),
        });
        Expected::new(&entry, record.as_ref())
    }

    #[test]
    fn the_manifest_comes_before_the_record() {
        let nothing = expected(None, None, None);
        assert_eq!((nothing.size, nothing.sha256), (None, None));
        let recorded = expected(None, None, Some((3, "a")));
        assert_eq!(
            (recorded.size, recorded.sha256),
            (Some(3), Some("a".into()))
        );
        let both = expected(Some(3), Some("b"), Some((3, "a")));
        assert_eq!((both.size, both.sha256), (Some(3), Some("b".into())));
        // A manifest that knows the size only is helped by the record of that size, and of no other.
        let size = expected(Some(3), None, Some((3, "a")));
        assert_eq!((size.size, size.sha256), (Some(3), Some("a".into())));
        let other = expected(Some(4), None, Some((3, "a")));
        assert_eq!((other.size, other.sha256), (Some(4), None));
    }

    #[test]
    fn differences_are_named() {
        let found = Record {
            url: None,
            size: 3,
            sha256: "a".into(),
        };
        let differs = |e: Expected| e.differs(&found).unwrap_or_default();
        assert_eq!(differs(expected(None, None, None)), "");
        assert_eq!(differs(expected(Some(3), Some("a"), None)), "");
        assert!(differs(expected(Some(4), None, None)).contains("3 bytes, and 4 by the manifest"));
        let hash = differs(expected(None, None, Some((3, "b"))));
        assert_eq!(
            hash,
            "its SHA-256 is a, and b by the first download, which --overwrite forgets"
        );
    }
}
