//! From what was read to HTML.

mod compare;
mod measure;
mod run;
mod search;
mod section;
mod shell;
mod sweep;
mod whole;
mod word;

pub use whole::{live, report};
