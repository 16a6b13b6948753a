//! Noise levels, steps and whole runs.

pub(super) mod gits;
pub(super) mod guidance;
pub(super) mod noise;
pub(super) mod schedule;
pub(super) mod solver;
