//! The step branch: layers that tell every block how many timestamps the student samples with. [SFD Sec. 3.3]

mod branch;
mod embedding;
mod fold;
mod kind;

pub use branch::{add_step_branch, is_step_parameter};
pub(super) use embedding::StepEmbedding;
pub use fold::fold_step_branch;
pub use kind::{StepInit, StepUse};
