//! A pickle as data: a small stack machine that builds values and calls nothing.
//!
//! It knows the instructions of protocols 0 to 5 that files of weights use. Every count and length is checked against
//! the file or paid for ([`Arena`]) before memory is taken; nesting costs no recursion.

mod call;
mod global;
pub(super) mod json;
mod literal;
mod machine;
mod opcode;
mod value;

pub(super) use call::ARRAY;
pub use global::Global;
pub(super) use machine::{Persistent, read};
pub(super) use value::{Arena, FALSE, Id, NONE, Node, Object, Policy};

#[cfg(test)]
mod tests;
