//! What lies in a folder, as far as a page shows it.

mod evaluation;
mod list;
mod place;
mod protocol;
mod run;
mod search;
mod sweep;

pub use evaluation::Evaluation;
pub use list::{Shown, all, nothing_there};
pub use protocol::Protocol;
pub use run::{Depth, Product, RECIPE, Run, Summary, Tick, preview_round};
pub use search::{Entry, Search};
pub use sweep::{FRECHET, Row, Sweep};
