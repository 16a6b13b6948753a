//! Any bytes as a model file: an error or a checkpoint, no panic, no abort, little memory.

#![no_main]

#[path = "../../tests/support/explore.rs"]
mod explore;

use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    // The readers tell formats apart by content, except that what is called safetensors must be.
    explore::explore(bytes, Path::new("fuzz.pt"));
    explore::explore(bytes, Path::new("fuzz.safetensors"));
});
