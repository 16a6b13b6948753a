//! What the optimizer does to the network.

use burn::module::{ModuleMapper, Param};
use burn::optim::{Adam, AdamState, Optimizer};
use burn::tensor::{Gradients, Tensor};

/// One step of Adam over all parameters in order.
pub(super) struct Update<'a> {
    pub(super) optimizer: &'a Adam,
    pub(super) gradients: &'a Gradients,
    pub(super) learning_rate: f64,
    pub(super) before: std::vec::IntoIter<AdamState<1>>,
    pub(super) after: Vec<AdamState<1>>,
}

impl ModuleMapper for Update<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, value, mapper) = param.consume();
        let shape = value.dims();
        let len = shape.iter().product::<usize>();
        // Every parameter of this network takes part in every loss.
        let gradient = value.grad(self.gradients);
        let gradient = gradient.unwrap_or_else(|| value.clone().without_autodiff().zeros_like());
        let (new, moments) = self.optimizer.step(
            self.learning_rate,
            value.without_autodiff().reshape([len]),
            gradient.reshape([len]),
            self.before.next(),
        );
        self.after.extend(moments);
        // A fresh leaf: its place in the graph is forgotten.
        let new = new.reshape(shape).autodiff().require_grad();
        Param::from_mapped_value(id, new, mapper)
    }
}
