//! Everything that can be asked of a file, for files that may be hostile. Shared with the fuzz target.

use fewstep::import::{Checkpoint, globals_in};
use std::path::Path;

/// Opens bytes as a model file and asks for all there is; whether it could be opened. Must not panic.
pub fn explore(bytes: &[u8], path: &Path) -> bool {
    let listed = globals_in(bytes.to_vec(), path).map(|globals| globals.len());
    let Ok(checkpoint) = Checkpoint::from_bytes(bytes.to_vec(), path) else {
        return false;
    };
    // What loads has been listed as well.
    assert_eq!(listed.ok(), Some(checkpoint.globals.len()));
    for name in checkpoint.tensors().keys().take(200) {
        let read = checkpoint.bytes(name);
        let info = &checkpoint.tensors()[name];
        assert!(read.is_ok_and(|bytes| bytes.len() as u64 == info.bytes()));
    }
    let _ = checkpoint.card();
    true
}
