//! What networks are in a graph: what goes in, and what their parts are told.

use crate::graph::Value;

/// What goes into a network besides the images, as values of a graph; the counterpart of [`Inputs`](super::inputs::Inputs).
#[derive(Clone, Debug)]
pub(crate) struct TracedInputs {
    /// The noise condition of each image, f64 `[batch]`, or of all of them, `[1]`.
    pub(crate) noise: Value,
    /// One-hot class labels `[batch, classes]`; `None` is zeros.
    pub(crate) labels: Option<Value>,
    /// What a text says, for a network that takes one.
    pub(crate) text: Option<TracedText>,
    /// The number of timestamps, f64 `[batch]` or `[1]`; `None` leaves the step branch out.
    pub(crate) steps: Option<Value>,
}

/// What a text says.
#[derive(Clone, Debug)]
pub(crate) struct TracedText {
    /// Its tokens, `[batch, tokens, width]`.
    pub(crate) tokens: Value,
    /// The text as a whole, `[batch, text]`, and the six sizes, `[batch, 6]`, for a network that is told them.
    pub(crate) whole: Option<[Value; 2]>,
}

/// What all parts are told, as values of a graph; the counterpart of [`Told`](super::inputs::Told).
#[derive(Clone, Debug)]
pub(crate) struct TracedTold {
    /// The embedding of noise level or time and class, `[batch or 1, embedding]`, through SiLU.
    pub(crate) time: Value,
    /// That of the number of timestamps, likewise.
    pub(crate) step: Option<Value>,
    /// The tokens of the text.
    pub(crate) context: Option<Value>,
}
