//! How torch writes files: a zip archive, or before 1.6 a row of pickles.

mod archive;
pub(super) mod legacy;
pub(super) mod stream;
pub(super) mod zip;
