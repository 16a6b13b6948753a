//! Who is at work on what: a small file beside the one that is to come, kept fresh while its process lives.
//!
//! Claims share work out among processes that have nothing but a folder in common. They save double work, and nothing depends
//! on them: two processes that hold the same claim, because one of them was suspended or both found an old one at the same
//! moment, make the same file twice.

use crate::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a claim is made fresh.
const BEAT: Duration = Duration::from_secs(10);

/// After so long without that its process is taken for dead. A few beats: file systems on a network keep what they know of a
/// file for seconds.
pub(super) const STALE: Duration = Duration::from_secs(60);

/// Where a holder's name is not there yet, or cannot be read.
const NAMELESS: &str = "another process";

/// Work that this process has taken. It is given back when this value goes.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    holder: String,
    /// Ends the thread that keeps the file fresh.
    stop: Option<Sender<()>>,
    beats: Option<JoinHandle<()>>,
}

/// What came of asking for work.
#[derive(Debug)]
pub enum Claimed {
    /// It is this process's, as long as the value lives.
    Mine(Claim),
    /// Another process is at it, which calls itself so.
    Theirs(String),
}

impl Claim {
    /// Asks for the work that `path` stands for; `holder` is the name that others are told.
    pub(super) fn take(path: PathBuf, holder: &str) -> Result<Claimed, Error> {
        let mut open = OpenOptions::new();
        match open.write(true).create_new(true).open(&path) {
            Ok(mut file) => file
                .write_all(holder.as_bytes())
                .map_err(Error::file("write", &path))?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if let Some(other) = at_work(&path)? {
                    return Ok(Claimed::Theirs(other));
                }
                // Taken over in one step, as files of a cache are: it is never empty.
                put(&path, holder)?;
            }
            Err(error) => return Err(Error::file("create", &path)(error)),
        }
        Ok(Claimed::Mine(Self::beating(path, holder)))
    }

    fn beating(path: PathBuf, holder: &str) -> Self {
        let (stop, stopped) = channel();
        let (file, name) = (path.clone(), holder.to_string());
        let beat = move || {
            while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                // Written and not only touched: the time is then that of the machine that keeps the folder. What another
                // process has taken meanwhile is left to it.
                if is_of(&file, &name) {
                    let _ = put(&file, &name);
                }
            }
        };
        // Without a thread the claim grows old, and the work may be done twice.
        let beats = std::thread::Builder::new().name("claim".into()).spawn(beat);
        Self {
            path,
            holder: holder.into(),
            stop: Some(stop),
            beats: beats.ok(),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(beats) = self.beats.take() {
            let _ = beats.join();
        }
        if is_of(&self.path, &self.holder) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn is_of(path: &Path, holder: &str) -> bool {
    fs::read(path).is_ok_and(|found| found == holder.as_bytes())
}

/// Puts a claim in place.
fn put(path: &Path, holder: &str) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = beside(folder)?;
    file.write_all(holder.as_bytes())
        .map_err(Error::file("write", path))?;
    file.persist(path)
        .map_err(|e| Error::file("write", path)(e.error))?;
    Ok(())
}

/// A file that is not finished, in a folder; others may read it.
pub(super) fn beside(folder: &Path) -> Result<tempfile::NamedTempFile, Error> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PART);
    #[cfg(unix)]
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    // Less what the user keeps from others.
    #[cfg(unix)]
    builder.permissions(readable);
    builder
        .tempfile_in(folder)
        .map_err(Error::file("create a file in", folder))
}

/// How the names of files begin that are not finished.
pub(super) const PART: &str = ".fewstep-";

/// Who holds a claim, if it is fresh.
pub(super) fn at_work(path: &Path) -> Result<Option<String>, Error> {
    if age(path)?.is_none_or(|age| age >= STALE) {
        return Ok(None);
    }
    let name = fs::read_to_string(path).unwrap_or_default();
    Ok(Some(match name.trim() {
        "" => NAMELESS.into(),
        name => name.into(),
    }))
}

/// How long a file has not been written, by the clock of the machine that keeps it: other clocks may be wrong by more than a
/// claim lives. Nothing if there is no such file.
pub(super) fn age(path: &Path) -> Result<Option<Duration>, Error> {
    let written = |file: &Path| fs::metadata(file).and_then(|found| found.modified());
    let then = match written(path) {
        Ok(then) => then,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file("read", path)(error)),
    };
    let mut probe = beside(path.parent().unwrap_or(Path::new(".")))?;
    let now = probe
        .write_all(b".")
        .and_then(|()| probe.as_file().sync_data())
        .and_then(|()| File::metadata(probe.as_file()))
        .and_then(|found| found.modified())
        .map_err(Error::file("write", probe.path()))?;
    Ok(Some(now.duration_since(then).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn aged(path: &Path, by: Duration) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - by).unwrap();
    }

    #[test]
    fn one_at_a_time_and_the_dead_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.claim");
        let take = |who: &str| Claim::take(path.clone(), who).unwrap();
        let Claimed::Mine(first) = take("first") else {
            panic!("nobody has it");
        };
        assert!(matches!(take("second"), Claimed::Theirs(who) if who == "first"));
        drop(first);
        assert!(!path.exists() && at_work(&path).unwrap().is_none());
        // What a killed process leaves.
        fs::write(&path, "dead").unwrap();
        assert!(matches!(take("second"), Claimed::Theirs(who) if who == "dead"));
        aged(&path, STALE * 2);
        let Claimed::Mine(second) = take("second") else {
            panic!("it is old");
        };
        // Who comes back finds another's, and leaves it.
        fs::write(&path, "third").unwrap();
        drop(second);
        assert_eq!(fs::read_to_string(&path).unwrap(), "third");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
