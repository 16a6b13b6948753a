//! The way through a network, segment by segment: at once, or so that a backward pass needs little memory.
//!
//! A backward pass needs what every operation saw. Recorded as a whole, that is many times the size of the images between
//! the segments; with gradient checkpointing only these are kept, and each segment is run a second time when its gradients are
//! computed. [Chen et al. 2016]

use super::inputs::Told;
use super::trace::TracedTold;
use crate::Images;
use crate::graph::{Graph, Value};
use crate::layer::fork;

/// Makes the answer of a segment.
type Run<'a> = Box<dyn Fn(Vec<Images>, &Told<'_>) -> Images + 'a>;

/// The same in a graph.
type Trace<'a> = Box<dyn Fn(&mut Graph, &[Value], &TracedTold) -> Value + 'a>;

/// A segment of a network: what is computed at a time where memory is short.
pub(crate) struct Segment<'a> {
    /// Which images it takes: 0 are the network's, i + 1 the answer of segment i.
    pub(crate) takes: Vec<usize>,
    pub(crate) run: Run<'a>,
    trace: Trace<'a>,
}

/// The segments of a network, each after those whose answers it takes; the last gives the network's.
pub(crate) struct Walk<'a> {
    pub(crate) segments: Vec<Segment<'a>>,
}

/// The network's images.
pub(crate) const START: usize = 0;

impl<'a> Walk<'a> {
    pub(crate) fn new() -> Self {
        Self {
            segments: Vec::new(),
        }
    }

    /// Adds a segment that takes these answers, and says what it is in a graph; returns the number of its own.
    pub(crate) fn add(
        &mut self,
        takes: &[usize],
        run: impl Fn(Vec<Images>, &Told<'_>) -> Images + 'a,
        trace: impl Fn(&mut Graph, &[Value], &TracedTold) -> Value + 'a,
    ) -> usize {
        self.segments.push(Segment {
            takes: takes.to_vec(),
            run: Box::new(run),
            trace: Box::new(trace),
        });
        self.segments.len()
    }

    /// Adds a segment that takes one answer.
    pub(crate) fn then(
        &mut self,
        takes: usize,
        run: impl Fn(Images, &Told<'_>) -> Images + 'a,
        trace: impl Fn(&mut Graph, &Value, &TracedTold) -> Value + 'a,
    ) -> usize {
        self.add(
            &[takes],
            move |mut all, told| run(all.swap_remove(0), told),
            move |graph, all, told| trace(graph, &all[0], told),
        )
    }

    /// The network's answer.
    pub(crate) fn forward(&self, images: Images, told: &Told<'_>) -> Images {
        self.run(images, told, &mut |_| {})
    }

    /// As [`forward`](Self::forward); calls `see` with what each segment takes, before it runs.
    pub(crate) fn run(
        &self,
        images: Images,
        told: &Told<'_>,
        see: &mut dyn FnMut(&[Images]),
    ) -> Images {
        // How often each answer is still wanted: what nobody wants any more is given away.
        let mut wanted = vec![0; self.segments.len() + 1];
        for at in self.segments.iter().flat_map(|segment| &segment.takes) {
            wanted[*at] += 1;
        }
        let mut found = vec![None; self.segments.len() + 1];
        found[START] = Some(images);
        let mut told = told.chained(self.segments.len());
        for (i, segment) in self.segments.iter().enumerate() {
            let takes = segment.takes.iter().map(|at| {
                wanted[*at] -= 1;
                let images = found[*at].take();
                let images = images.expect("a segment takes answers of those before it");
                if wanted[*at] > 0 {
                    // What later segments find is added up before it joins what this one finds.
                    found[*at] = Some(fork(images.clone()));
                }
                images
            });
            let takes: Vec<Images> = takes.collect();
            see(&takes);
            let takes = takes.into_iter().map(fork).collect();
            let told = told.pop().expect("every segment is told something");
            found[i + 1] = Some((segment.run)(takes, &told));
        }
        found.pop().flatten().expect("a network has segments")
    }

    /// [`forward`](Self::forward) in a graph.
    pub(crate) fn trace(&self, graph: &mut Graph, images: &Value, told: &TracedTold) -> Value {
        let mut found = vec![images.clone()];
        for segment in &self.segments {
            let takes = segment.takes.iter().map(|at| found[*at].clone());
            let takes: Vec<Value> = takes.collect();
            found.push((segment.trace)(graph, &takes, told));
        }
        found.pop().expect("the images, at least")
    }
}

/// All channels, of the first images first.
pub(crate) fn joined(images: Vec<Images>) -> Images {
    let joined = images.into_iter().reduce(fewstep_kernels::join_channels);
    joined.expect("a segment joins what it takes")
}

/// [`joined`] in a graph.
pub(crate) fn trace_joined(graph: &mut Graph, images: &[Value]) -> Value {
    graph.concat(&images.iter().collect::<Vec<_>>(), 1)
}
