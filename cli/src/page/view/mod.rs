//! From what was read to HTML.

mod compare;
mod measure;
mod part;
mod run;
mod search;
mod shell;
mod sweep;
mod whole;
mod word;

pub use whole::{live, report};
