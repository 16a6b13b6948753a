//! A file of records on disk, so that what was measured is not measured again.

use super::record::Record;
use crate::screen::failure::wrong;
use crate::screen::progress::Reporter;
use crate::screen::signal;
use anyhow::Context as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Work of less time is not worth a file, unless a place for it is named.
const PATIENCE: Duration = Duration::from_secs(10);
/// What waits in memory until then, at most, in bytes.
const MOST_WAITING: usize = 64 << 20;
/// How long a crash of the machine may throw back.
const SYNC: Duration = Duration::from_secs(10);

/// Whether anything is kept that another process can go on from.
static KEPT: AtomicBool = AtomicBool::new(false);

/// Whether anything is kept that another process can go on from.
pub fn kept() -> bool {
    KEPT.load(Ordering::Relaxed)
}

/// The records of one kind of images. Without a file they are forgotten.
pub struct Journal {
    path: PathBuf,
    /// The first line: what the records are of.
    header: String,
    file: Option<File>,
    /// Not yet written.
    waiting: Vec<u8>,
    /// Whether a file is wanted from the first record on.
    at_once: bool,
    /// Whether it is given up.
    lost: bool,
    started: Instant,
    synced: Instant,
    reporter: Reporter,
}

impl Journal {
    /// Opens what is there of the same, if it is to be gone on from.
    pub fn open(
        path: PathBuf,
        header: String,
        resume: bool,
        at_once: bool,
        reporter: Reporter,
    ) -> anyhow::Result<Self> {
        let mut journal = Self {
            path,
            header: format!("{header}\n"),
            file: None,
            waiting: Vec::new(),
            at_once: at_once || resume,
            lost: false,
            started: Instant::now(),
            synced: Instant::now(),
            reporter,
        };
        if journal.path.exists() {
            let file = journal.locked()?;
            if !resume {
                let path = journal.path.display();
                reporter.say(format!(
                    "{path}: the same was measured in part; it is begun anew (--resume goes on with it)"
                ));
                file.set_len(0)
                    .with_context(|| format!("cannot write {path}"))?;
            }
            journal.file = Some(file);
        }
        Ok(journal)
    }

    /// Hands on the records that are there, and stands behind the last that is whole.
    pub fn replay(
        &mut self,
        take: &mut dyn FnMut(Record) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let Some(file) = &mut self.file else {
            self.waiting = self.header.clone().into_bytes();
            return Ok(0);
        };
        let unreadable = || format!("cannot read {}", self.path.display());
        let length = file.metadata().with_context(unreadable)?.len();
        file.rewind().with_context(unreadable)?;
        let mut reader = BufReader::new(&*file);
        let mut header = vec![0; self.header.len()];
        let known = reader.read_exact(&mut header).is_ok() && header == self.header.as_bytes();
        let (mut place, mut count) = (0, 0);
        if known {
            place = header.len() as u64;
            while let Some((record, size)) = Record::read(&mut reader, length - place) {
                take(record)?;
                place += size;
                count += 1;
            }
        }
        file.set_len(place)
            .and_then(|()| file.seek(SeekFrom::End(0)))
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        if place == 0 {
            self.waiting = self.header.clone().into_bytes();
        }
        KEPT.fetch_or(count > 0, Ordering::Relaxed);
        Ok(count)
    }

    /// Adds a record.
    pub fn append(&mut self, record: &Record) -> anyhow::Result<()> {
        if self.lost {
            return Ok(());
        }
        self.waiting.extend(record.to_bytes());
        let due = self.at_once
            || self.file.is_some()
            || self.started.elapsed() >= PATIENCE
            || self.waiting.len() >= MOST_WAITING;
        if due { self.write() } else { Ok(()) }
    }

    /// Writes what waits.
    fn write(&mut self) -> anyhow::Result<()> {
        if self.file.is_none() {
            if let Some(folder) = self.path.parent()
                && let Err(error) = std::fs::create_dir_all(folder)
            {
                self.give_up(&error);
                return Ok(());
            }
            self.file = Some(self.locked()?);
        }
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let mut written = file.write_all(&self.waiting);
        if self.synced.elapsed() >= SYNC {
            written = written.and_then(|()| file.sync_data());
            self.synced = Instant::now();
        }
        match written {
            Ok(()) => KEPT.store(true, Ordering::Relaxed),
            Err(error) => self.give_up(&error),
        }
        self.waiting.clear();
        Ok(())
    }

    /// The figures do not need the file.
    fn give_up(&mut self, error: &std::io::Error) {
        self.lost = true;
        self.waiting = Vec::new();
        let path = self.path.display();
        self.reporter.warn(format!(
            "what is measured cannot be kept in {path}: {error}; if this is stopped, it begins anew (--state names another folder)"
        ));
    }

    /// The file, which no other process works on while it is open.
    fn locked(&mut self) -> anyhow::Result<File> {
        let path = self.path.display();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.path)
            .with_context(|| format!("cannot write {path}"))?;
        match file.try_lock() {
            // Where a file system has no locks, nobody can be asked.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(wrong(format!(
                "another process is measuring the same, and writes {path}: wait for it, or name another folder with --state"
            ))),
        }
    }

    /// Removes the file: all is done.
    pub fn remove(mut self) {
        self.waiting = Vec::new();
        self.lost = true;
        if self.file.take().is_some() {
            // What stays is found by its name and gone on from: no harm.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Who was asked to stop keeps what there is, however little.
        let more = self.waiting.len() > self.header.len();
        if more && !self.lost && (signal::asked() || self.file.is_some()) {
            let _ = self.write();
        }
    }
}
