//! Parameters of modules, by the names that official files give them.
//!
//! A layer says the name of its parameters where it is built ([`Site`]), and with it what a fresh one is, whether it is
//! trained and whether it belongs to the step branch: that is its [`Key`]. All else asks the keys.

mod adapter;
mod difference;
mod initial;
mod key;
mod site;
mod tree;

pub use adapter::{Adapter, Adapters};
pub use difference::load;
pub(crate) use difference::{Differences, compare};
pub(crate) use initial::draw;
pub use key::Key;
pub(crate) use key::Start;
pub use site::Keys;
pub(crate) use site::{Draw, Site, build, build_adapted, outline};
pub(crate) use tree::{
    Gathered, add_gradients, by_name, device, freeze, gather, gradients, join_gradients, kernels,
    replace, update,
};
pub use tree::{Named, Parameter, parameters, shapes};
