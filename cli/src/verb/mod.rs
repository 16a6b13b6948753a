//! What each verb does: one file or folder for each.

pub mod bench;
pub mod convert;
pub mod demo;
pub mod devices;
pub mod distill;
pub mod evaluate;
#[cfg(feature = "fetch")]
pub mod fetch;
pub mod inspect;
pub mod page;
pub mod report;
pub mod sample;
pub mod schedule;
pub mod sweep;
pub mod train;
pub mod trajectories;
pub mod tune;
pub mod verify;
pub mod watch;
