//! The way through a network, part by part: at once, or so that a backward pass needs little memory.
//!
//! A backward pass needs what every operation saw. Recorded as a whole, that is many times the size of the images between
//! the parts; with gradient checkpointing only these are kept, and each part is run a second time when its gradients are
//! computed. [Chen et al. 2016]

use super::inputs::Told;
use crate::Images;

/// Makes the answer of a part.
type Run<'a> = Box<dyn Fn(Vec<Images>, &Told<'_>) -> Images + 'a>;

/// A part of a network.
pub(crate) struct Part<'a> {
    /// Which images it takes: 0 are the network's, i + 1 the answer of part i.
    pub(crate) takes: Vec<usize>,
    pub(crate) run: Run<'a>,
}

/// The parts of a network, each after those whose answers it takes; the last gives the network's.
pub(crate) struct Walk<'a> {
    pub(crate) parts: Vec<Part<'a>>,
}

/// The network's images.
pub(crate) const START: usize = 0;

impl<'a> Walk<'a> {
    pub(crate) fn new() -> Self {
        Self { parts: Vec::new() }
    }

    /// Adds a part that takes these answers; returns the number of its own.
    pub(crate) fn add(
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
    pub(crate) fn then(
        &mut self,
        takes: usize,
        run: impl Fn(Images, &Told<'_>) -> Images + 'a,
    ) -> usize {
        self.add(&[takes], move |mut all, told| run(all.swap_remove(0), told))
    }

    /// The network's answer.
    pub(crate) fn forward(&self, images: Images, told: &Told<'_>) -> Images {
        self.run(images, told, &mut |_| {})
    }

    /// As [`forward`](Self::forward); calls `see` with what each part takes, before it runs.
    pub(crate) fn run(
        &self,
        images: Images,
        told: &Told<'_>,
        see: &mut dyn FnMut(&[Images]),
    ) -> Images {
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
