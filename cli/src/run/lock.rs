//! One process a run: a lock in the run's folder, which the system takes back when its process dies.

use crate::screen::command_line::typed;
use crate::screen::failure::wrong;
use crate::screen::progress::Reporter;
use anyhow::Context as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

/// The file that is locked. It stays, empty: were it removed, two processes could each lock a file of this name.
const NAME: &str = ".lock";

/// Held while a process works in a folder.
#[derive(Debug)]
pub struct Lock {
    /// Nothing on a file system without locks.
    held: Option<File>,
}

impl Lock {
    /// Takes the folder, which must be there. Another process that has it is named in the error.
    pub fn take(folder: &Path, reporter: Reporter) -> anyhow::Result<Self> {
        let path = folder.join(NAME);
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let mut file = open.with_context(|| format!("cannot write {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Some systems let nobody read what is locked.
                let _ = file.read_to_string(&mut holder);
                return Err(in_use(folder, holder.trim()));
            }
            Err(TryLockError::Error(error)) => {
                reporter.warn(format!(
                    "{} cannot be locked ({error}): see to it that no other process works in it",
                    folder.display()
                ));
                return Ok(Self { held: None });
            }
        }
        // For people only: nothing depends on it.
        let _ = file
            .set_len(0)
            .and_then(|()| file.write_all(holder().as_bytes()))
            .and_then(|()| file.flush());
        Ok(Self { held: Some(file) })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The names of a process and of a machine are nobody's result.
        if let Some(file) = &self.held {
            let _ = file.set_len(0);
        }
    }
}

fn in_use(folder: &Path, holder: &str) -> anyhow::Error {
    let holder = match holder {
        "" => "another process",
        named => named,
    };
    wrong(format!(
        "{} is in use by {holder}; wait for it, or stop it first, or name another folder with --out",
        folder.display()
    ))
}

/// Who holds the lock.
fn holder() -> String {
    format!("{} ({})\n", this_process(), typed())
}

/// What this process is called, among those of all machines that share a folder.
pub fn this_process() -> String {
    let host = host().map_or(String::new(), |host| format!(" on {host}"));
    format!("process {}{host}", std::process::id())
}

/// The name of this machine, if it has one.
fn host() -> Option<String> {
    let asked = || {
        let output = Command::new("uname").arg("-n").output().ok()?;
        String::from_utf8(output.stdout).ok()
    };
    let known = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let known = known.or_else(|| std::env::var("COMPUTERNAME").ok());
    let name = known.or_else(asked)?.trim().to_string();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(folder: &Path) -> Result<Lock, String> {
        Lock::take(folder, Reporter::new(true)).map_err(|e| e.to_string())
    }

    #[test]
    fn one_at_a_time() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path();
        let first = take(folder).unwrap();
        let refused = take(folder).unwrap_err();
        let process = format!("process {}", std::process::id());
        assert!(refused.contains(&process), "{refused}");
        drop(first);
        assert_eq!(std::fs::read(folder.join(NAME)).unwrap(), b"");
        take(folder).unwrap();
    }

    #[test]
    fn what_a_dead_process_left_is_no_obstacle() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join(NAME);
        std::fs::write(&path, "process 1 on elsewhere (a long command)\n").unwrap();
        let _lock = take(temporary.path()).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert!(!text.contains("elsewhere"), "{text}");
    }
}
