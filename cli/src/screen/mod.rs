//! What is said to the person at the terminal, and what the terminal says to us.

pub mod command_line;
pub mod failure;
pub mod progress;
pub mod say;
pub mod signal;
