//! Pages to look at: what a run, a search or a measurement found, in one HTML file that needs nothing else; and one that samples.

mod chart;
mod draw;
mod embed;
mod report;
mod sampler;
mod serve;
mod source;
mod view;

pub use draw::Wish;
pub use report::{FILE, live, write, write_evaluation};
pub use sampler::{Runtime, Sampler, write as write_sampler};
pub use serve::{Server, watch};
pub use source::{Evaluation, nothing_there};
