//! Teacher trajectories on disk: a second run from the same teacher skips what costs most, and others can do it beforehand.

mod claim;
mod difference;

pub use claim::{Claim, Claimed};

use crate::file::hash_bytes;
use crate::model::File;
use crate::{Error, Images, transfer};
use burn::tensor::{DType, Device, TensorData};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// To how many digits the states of a teacher's trajectory are rounded before anything is done with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TrajectoryType {
    /// Not at all: single precision.
    #[default]
    F32,
    /// Half precision, which halves a [`TrajectoryCache`].
    F16,
}

impl TrajectoryType {
    fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
        }
    }

    /// Bytes of a number.
    pub(super) fn size(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    pub(super) fn round(self, images: Images) -> Images {
        match self {
            Self::F32 => images,
            Self::F16 => images.cast(DType::F16).cast(DType::F32),
        }
    }
}

/// A folder of trajectories, a file for each batch, in a sub-folder for each teacher.
///
/// A file's name is the hash of everything that its trajectories depend on, the version of this program and the device
/// included: on the same kind of processor a run gets what it would have computed, bit for bit. Another kind, or a build
/// between two versions, may round otherwise. Files that are broken are computed and written again. Several
/// processes, on several machines, may use one folder, since files appear whole or not at all; a [`Claim`] keeps them from
/// doing the same work. No trajectory is ever deleted: remove the folder, or a part of it, at any time.
#[derive(Debug)]
pub struct TrajectoryCache {
    folder: PathBuf,
    teacher: String,
    usage: Mutex<Usage>,
}

/// What a cache has been used for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Batches that were there.
    pub read: u64,
    /// Batches that were computed and written.
    pub written: u64,
    /// Files that were broken, and are mended.
    pub broken: u64,
    /// Why nothing could be written any more, such as a full disk.
    pub trouble: Option<String>,
}

/// What one batch of trajectories depends on besides teacher and program.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) json: Value,
    /// Shape of each state.
    pub(super) shape: [usize; 4],
    /// States after the first, which is drawn and not kept.
    pub(super) steps: usize,
    /// How the states are written.
    pub(super) kind: TrajectoryType,
}

/// The text in a file's header.
#[derive(Serialize, Deserialize)]
struct Header {
    /// Of which trajectories.
    key: String,
    /// SHA-256 of the states, one after the other.
    states: String,
}

/// Tells programs that make backups to leave the folder out (bford.info/cachedir).
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# Teacher trajectories of `fewstep distill --cache`. May be deleted.\n";

/// A file that was not finished so long ago never will be.
const DEAD: Duration = Duration::from_secs(3600);

impl TrajectoryCache {
    /// Uses, and if need be creates, a folder; `teacher` is the SHA-256 of the teacher's file.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be created.
    pub fn open(folder: &Path, teacher: &str) -> Result<Self, Error> {
        std::fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
        let tag = folder.join("CACHEDIR.TAG");
        if !tag.exists() {
            std::fs::write(&tag, TAG).map_err(Error::file("write", &tag))?;
        }
        Ok(Self {
            folder: folder.join(teacher.get(..SHORT).unwrap_or(teacher)),
            teacher: teacher.to_string(),
            usage: Mutex::default(),
        })
    }

    /// Where the trajectories of this teacher are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What has been read and written so far.
    pub fn usage(&self) -> Usage {
        self.note(|usage| usage.clone())
    }

    fn note<T>(&self, note: impl FnOnce(&mut Usage) -> T) -> T {
        note(&mut self.usage.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The whole key as a text.
    fn text(&self, key: &Key) -> String {
        let whole = serde_json::json!({
            "format": 1,
            "version": env!("CARGO_PKG_VERSION"),
            "teacher": self.teacher,
            "shape": key.shape,
            "states": key.steps,
            "type": key.kind,
            "trajectories": key.json,
        });
        whole.to_string()
    }

    fn path(&self, text: &str) -> PathBuf {
        let name = hash_bytes(text.as_bytes());
        self.folder.join(format!("{name}.safetensors"))
    }

    /// Whether there is a file.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.path(&self.text(key)).exists()
    }

    /// As [`has`](Self::has), of a file that another machine may have written: a file system on a network keeps for seconds
    /// what it did not find, unless the folder is looked at anew.
    pub(super) fn has_come(&self, key: &Key) -> bool {
        let _ = std::fs::read_dir(&self.folder);
        self.has(key)
    }

    fn claim_of(&self, key: &Key) -> PathBuf {
        self.path(&self.text(key)).with_extension("claim")
    }

    /// Asks for the work of making a batch.
    pub(super) fn claim(&self, key: &Key, holder: &str) -> Result<Claimed, Error> {
        std::fs::create_dir_all(&self.folder).map_err(Error::file("create", &self.folder))?;
        Claim::take(self.claim_of(key), holder)
    }

    /// Who is making a batch.
    pub(super) fn at_work(&self, key: &Key) -> Result<Option<String>, Error> {
        claim::at_work(&self.claim_of(key))
    }

    /// Removes what processes have left that were killed: files that were not finished, and claims.
    pub(super) fn tidy(&self) {
        let entries = std::fs::read_dir(&self.folder);
        for entry in entries.into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let passing = name.starts_with(claim::PART) || name.ends_with(".claim");
            if passing && matches!(claim::age(&path), Ok(Some(age)) if age > DEAD) {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// The states of a batch, if they are there and whole.
    pub(super) fn read(&self, key: &Key, device: &Device) -> Option<Vec<Images>> {
        let text = self.text(key);
        let path = self.path(&text);
        if !path.exists() {
            return None;
        }
        let states = File::read(&path)
            .ok()
            .and_then(|file| check(file, &text, key));
        let Some(states) = states else {
            self.note(|usage| usage.broken += 1);
            return None;
        };
        self.note(|usage| usage.read += 1);
        let states = states.into_iter().map(|data| {
            let data = data.convert::<f32>();
            transfer::send(data, device)
        });
        Some(states.collect())
    }

    /// Keeps the states of a batch. A cache that cannot be written is no reason to stop: it is noted, and not tried
    /// again.
    pub(super) fn write(&self, key: &Key, states: &[Images]) {
        if self.note(|usage| usage.trouble.is_some()) {
            return;
        }
        // Not synced: what a power cut leaves is found out by its hash.
        let done = self.put(key, states, false);
        self.note(|usage| match done {
            Ok(()) => usage.written += 1,
            Err(error) => usage.trouble = Some(error.to_string()),
        });
    }

    /// As [`write`](Self::write), where keeping them is all that is wanted. A disk that fills up, or a quota of another
    /// machine's, is found out now.
    pub(super) fn keep(&self, key: &Key, states: &[Images]) -> Result<(), Error> {
        self.put(key, states, true)?;
        self.note(|usage| usage.written += 1);
        Ok(())
    }

    fn put(&self, key: &Key, states: &[Images], synced: bool) -> Result<(), Error> {
        let text = self.text(key);
        let path = self.path(&text);
        let data: Vec<TensorData> = states
            .iter()
            .map(|state| transfer::read(state.clone()).convert_dtype(key.kind.dtype()))
            .collect();
        let header = Header {
            key: text,
            states: hash(&data),
        };
        let json = serde_json::to_string(&header);
        let file = File {
            tensors: (1..).map(name).zip(data).collect(),
            json: Some(json.map_err(|e| Error::invalid("key", e, "representable as JSON"))?),
            metadata: BTreeMap::new(),
        };
        let bytes = file.to_bytes()?;
        std::fs::create_dir_all(&self.folder).map_err(Error::file("create", &self.folder))?;
        let mut out = claim::beside(&self.folder)?;
        out.write_all(&bytes).map_err(Error::file("write", &path))?;
        if synced {
            let done = out.as_file().sync_all();
            done.map_err(Error::file("write", &path))?;
        }
        out.persist(&path)
            .map_err(|e| Error::file("rename a file to", &path)(e.error))?;
        Ok(())
    }
}

/// Digits of the teacher's hash in the name of its folder.
const SHORT: usize = 16;

/// The name of the state after so many steps; in the order of the steps.
fn name(step: usize) -> String {
    format!("{step:04}")
}

/// The states of a file, if it is what it should be.
fn check(mut file: File, text: &str, key: &Key) -> Option<Vec<TensorData>> {
    let header: Header = serde_json::from_str(file.json.as_deref()?).ok()?;
    let states: Vec<TensorData> = (1..=key.steps)
        .map(|step| file.tensors.remove(&name(step)))
        .collect::<Option<_>>()?;
    let fits = |data: &TensorData| {
        data.shape().as_slice() == key.shape && data.dtype() == key.kind.dtype()
    };
    let whole = header.key == text && states.iter().all(fits) && header.states == hash(&states);
    whole.then_some(states)
}

fn hash(states: &[TensorData]) -> String {
    let mut digest = Sha256::new();
    for state in states {
        digest.update(state.as_bytes());
    }
    crate::file::hexadecimal(&digest.finalize())
}
