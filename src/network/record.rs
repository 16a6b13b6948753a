//! A backward pass that needs little memory: part by part, each of which is run a second time.

use super::Network;
use super::inputs::{Inputs, Told};
use super::walk::START;
use crate::Images;
use crate::layer::Dropout;
use crate::parameter::{Gathered, add_gradients};
use burn::module::Module;
use burn::tensor::{Gradients, Tensor};

/// What the parts of a forward pass took.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    /// Of each part, and where the masks of dropout were.
    takes: Vec<(Vec<Images>, u64)>,
}

impl Network {
    /// As [`forward`](Self::forward) of a network with autodiff and images without, and nothing is recorded; also returns
    /// what [`backward`](Self::backward) needs. Its operations are those of autodiff, some of which round otherwise than
    /// the same without.
    pub(crate) fn record(&self, images: Images, inputs: Inputs<'_>) -> (Images, Recorded) {
        let still = self.clone().no_grad();
        let walk = still.walk();
        let mut takes = Vec::with_capacity(walk.segments.len());
        let images = images.autodiff();
        let told = still.tell(&images, inputs);
        let answer = walk.run(images, &told, &mut |images| {
            let at = inputs.dropout.map_or(0, Dropout::position);
            let images = images.iter().cloned().map(Tensor::without_autodiff);
            takes.push((images.collect(), at));
        });
        (answer.without_autodiff(), Recorded { takes })
    }

    /// Adds the gradients of the parameters to `sum`, part by part, given that of the answer; returns that of the images.
    /// The network is the one that was recorded, with autodiff; `inputs` are those that it was recorded with.
    pub(crate) fn backward(
        &self,
        recorded: Recorded,
        inputs: Inputs<'_>,
        gradient: Images,
        sum: &mut Option<Vec<Gathered>>,
    ) -> Images {
        let walk = self.walk();
        let mut takes = recorded.takes;
        let start = takes.first().and_then(|(images, _)| images.first());
        let start = start.expect("a network has parts").clone();
        let still = self.clone().no_grad();
        let told = still.tell(&start.clone().autodiff(), inputs);
        let mut wanted: Vec<Option<Images>> = vec![None; walk.segments.len() + 1];
        wanted[walk.segments.len()] = Some(gradient);
        let mut time = Vec::with_capacity(walk.segments.len());
        let mut step = Vec::with_capacity(walk.segments.len());
        for (i, part) in walk.segments.iter().enumerate().rev() {
            let Some((images, at)) = takes.pop() else {
                break;
            };
            let Some(gradient) = wanted[i + 1].take() else {
                continue;
            };
            if let Some(dropout) = inputs.dropout {
                dropout.seek(at);
            }
            let leaf = |images: Images| images.autodiff().require_grad();
            let images: Vec<Images> = images.into_iter().map(leaf).collect();
            let rows = |rows: &Tensor<2>| {
                let rows = rows.clone().without_autodiff();
                rows.autodiff().require_grad()
            };
            let leaves = Told {
                time: rows(&told.time),
                step: told.step.as_ref().map(rows),
                ..told.clone()
            };
            let answer = (part.run)(images.clone(), &leaves);
            let mut gradients = (answer * gradient.autodiff()).sum().backward();
            for (image, at) in images.iter().zip(&part.takes) {
                let more = image.grad_remove(&mut gradients);
                wanted[*at] = match (wanted[*at].take(), more) {
                    (Some(a), Some(b)) => Some(a + b),
                    (a, b) => a.or(b),
                };
            }
            time.extend(leaves.time.grad_remove(&mut gradients));
            step.extend(leaves.step.and_then(|s| s.grad_remove(&mut gradients)));
            add_gradients(self, &mut gradients, sum);
        }
        self.embedding_gradients(&start, inputs, [time, step], sum);
        let none = || start.zeros_like();
        wanted[START].take().unwrap_or_else(none)
    }

    /// Adds the gradients of what the embeddings are made with, given those that each part found, the last part's first.
    fn embedding_gradients(
        &self,
        images: &Images,
        inputs: Inputs<'_>,
        [time, step]: [Vec<Tensor<2>>; 2],
        sum: &mut Option<Vec<Gathered>>,
    ) {
        let told = self.tell(&images.clone().autodiff(), inputs);
        let product = |told: Tensor<2>, gradients: Vec<Tensor<2>>| {
            let all = gradients.into_iter().rev().reduce(|a, b| a + b)?;
            let tracked = told.is_autodiff() && told.is_tracked();
            tracked.then(|| (told * all.autodiff()).sum())
        };
        let products = [
            product(told.time, time),
            told.step.and_then(|told| product(told, step)),
        ];
        let product = products.into_iter().flatten().reduce(|a, b| a + b);
        let backward = |product: Tensor<1>| -> Gradients { product.backward() };
        if let Some(mut gradients) = product.map(backward) {
            add_gradients(self, &mut gradients, sum);
        }
    }
}
