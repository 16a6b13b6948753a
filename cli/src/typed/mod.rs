//! Numbers and texts as people type them: what is wrong is answered with what would be right.

mod definition;
mod number;
mod phrase;
mod value;

pub use definition::{matches, prepared};
pub use number::{real, whole};
pub use phrase::Phrase;
pub use value::value;
