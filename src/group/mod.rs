//! Several processes that work on one run.
//!
//! A batch is taken in parts, the micro-batches of its recipe, and part i is computed by process i modulo their number. Losses and
//! gradients are added up in the order of the parts, in f32 as one process adds them, so that a run has the same bytes
//! whether one process takes all of its parts or each of several takes some: the recipe says what is computed, the
//! processes only who does it.
//!
//! The library knows no network between machines. What processes tell each other goes through a [`Group`]: [`Alone`] is one
//! process, [`Threads`] are threads of one, and the tool has one of MPI.

mod exchange;
mod sum;
mod threads;
mod total;

pub use exchange::{Alone, Group};
pub(crate) use exchange::{any, computes, first, turns};
pub use threads::Threads;
pub(crate) use total::Total;
