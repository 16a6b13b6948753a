//! Scaled dot-product attention, softmax(q k^T / sqrt(width)) v, on slices: a block of queries and a tile of keys at a time,
//! so that the scores are never in memory together. [Dao et al. 2022]
//!
//! What a query comes to depends on its own head alone, and tiles are taken in order: results are the same for any batch
//! and any number of threads.

mod backward;
mod forward;
mod panel;
mod shape;

pub(crate) use backward::{backward, joint_backward};
pub(crate) use forward::{Answer, forward};
pub(crate) use shape::{Rows, Shape, answer_rows, joint_rows};
