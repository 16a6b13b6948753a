//! How fast a student learns, round by round.

mod change;
mod schedule;
mod settings;

pub use change::Change;
pub use schedule::RateSchedule;
