//! The way through a network, part by part: at once, or so that a backward pass needs little memory.
//!
//! A backward pass needs what every operation saw. Recorded as a whole, that is many times the size of the images between
//! the parts; with gradient checkpointing only these are kept, and each part is run a second time when its gradients are
//! computed. [Chen et al. 2016]

use super::layers::Dropout;
use super::parameter::{Gathered, add_gradients};
use super::{Inputs, Network};
use crate::Images;
use burn::module::Module;
use burn::tensor::{Gradients, Tensor};

/// What all parts are told.
#[derive(Clone, Debug)]
pub(super) struct Told<'a> {
    /// The embedding of noise level or time, class and augmentation, `[b or 1, embedding]`, through SiLU.
    pub(super) time: Tensor<2>,
    /// Whether each sample has a row of its own in it; else one row serves all.
    pub(super) each: bool,
    /// That of the number of timestamps, `[1, embedding]`, through SiLU.
    pub(super) step: Option<Tensor<2>>,
    /// The tokens of the text, `[b, tokens, width]`.
    pub(super) context: Option<Tensor<3>>,
    pub(super) dropout: Option<&'a Dropout>,
}

/// Makes the answer of a part.
type Run<'a> = Box<dyn Fn(Vec<Images>, &Told<'_>) -> Images + 'a>;

/// A part of a network.
struct Part<'a> {
    /// Which images it takes: 0 are the network's, i + 1 the answer of part i.
    takes: Vec<usize>,
    run: Run<'a>,
}

/// The parts of a network, each after those whose answers it takes; the last gives the network's.
pub(super) struct Walk<'a> {
    parts: Vec<Part<'a>>,
}

/// The network's images.
pub(super) const START: usize = 0;

impl<'a> Walk<'a> {
    pub(super) fn new() -> Self {
        Self { parts: Vec::new() }
    }

    /// Adds a part that takes these answers; returns the number of its own.
    pub(super) fn add(
        &mut self,
        takes: &[usize],
        run: impl Fn(Vec<Images>, &Told<'_>) -> Images + 'a,
    ) -> usize {
        self.parts.push(Part {
            takes: takes.to_vec(),
            run: Box::new(run),
        });
        self.parts.len()
    }

    /// Adds a part that takes one answer.
    pub(super) fn then(
        &mut self,
        takes: usize,
        run: impl Fn(Images, &Told<'_>) -> Images + 'a,
    ) -> usize {
        self.add(&[takes], move |mut all, told| run(all.swap_remove(0), told))
    }

    /// The network's answer.
    pub(super) fn forward(&self, images: Images, told: &Told<'_>) -> Images {
        self.run(images, told, &mut |_| {})
    }

    /// As [`forward`](Self::forward); calls `see` with what each part takes, before it runs.
    fn run(&self, images: Images, told: &Told<'_>, see: &mut dyn FnMut(&[Images])) -> Images {
        // How often each answer is still wanted: what nobody wants any more is given away.
        let mut wanted = vec![0; self.parts.len() + 1];
        for at in self.parts.iter().flat_map(|part| &part.takes) {
            wanted[*at] += 1;
        }
        let mut found = vec![None; self.parts.len() + 1];
        found[START] = Some(images);
        let mut told = told.chained(self.parts.len());
        for (i, part) in self.parts.iter().enumerate() {
            let takes = part.takes.iter().map(|at| {
                wanted[*at] -= 1;
                let images = found[*at].take();
                let images = images.expect("a part takes answers of those before it");
                if wanted[*at] > 0 {
                    // What later parts find is added up before it joins what this one finds.
                    found[*at] = Some(fork(images.clone()));
                }
                images
            });
            let takes: Vec<Images> = takes.collect();
            see(&takes);
            let takes = takes.into_iter().map(fork).collect();
            let told = told.pop().expect("every part is told something");
            found[i + 1] = Some((part.run)(takes, &told));
        }
        found.pop().flatten().expect("a network has parts")
    }
}

/// The same images. Gradients of all that a part makes of them come together here before they join those of other parts,
/// so that sums are taken in the order in which they are taken part by part.
fn fork(images: Images) -> Images {
    if !images.is_autodiff() {
        return images;
    }
    let shape = images.dims();
    images.reshape(shape)
}

/// All channels, of the first images first.
pub(crate) fn joined(images: Vec<Images>) -> Images {
    let joined = images.into_iter().reduce(fewstep_kernels::join_channels);
    joined.expect("a part joins what it takes")
}

impl Told<'_> {
    /// The same for each of `count` parts, the first part's last. Each is a [`fork`] of that of the part behind it, so that
    /// the gradients that the parts find are added up from the first part on.
    fn chained(&self, count: usize) -> Vec<Self> {
        let fork = |rows: Tensor<2>| {
            let shape = rows.dims();
            match rows.is_autodiff() {
                true => rows.reshape(shape),
                false => rows,
            }
        };
        let mut all: Vec<Self> = Vec::with_capacity(count);
        for _ in 0..count {
            let behind = all.last().unwrap_or(self);
            all.push(Self {
                time: fork(behind.time.clone()),
                step: behind.step.clone().map(fork),
                ..self.clone()
            });
        }
        all
    }
}

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
        let mut takes = Vec::with_capacity(walk.parts.len());
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
        let mut wanted: Vec<Option<Images>> = vec![None; walk.parts.len() + 1];
        wanted[walk.parts.len()] = Some(gradient);
        let mut time = Vec::with_capacity(walk.parts.len());
        let mut step = Vec::with_capacity(walk.parts.len());
        for (i, part) in walk.parts.iter().enumerate().rev() {
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
