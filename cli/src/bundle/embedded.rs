//! Files inside the program, by name; `build.rs` collects them.

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The content of a file.
pub fn find(files: &[(&'static str, &'static [u8])], name: &str) -> Option<&'static [u8]> {
    files
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, bytes)| *bytes)
}
