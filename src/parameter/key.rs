//! What is known about a parameter besides its numbers.

/// One entry of a network's state dict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Official name, such as `model.enc.32x32_conv.weight`.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Whether it is a constant filter (`resample_filter`), which official files hold besides the parameters.
    pub buffer: bool,
    /// Whether it belongs to the step branch.
    pub step: bool,
    /// Whether training leaves it as it was drawn.
    pub(crate) fixed: bool,
    /// Whether it is the matrix or kernel of a layer, which may have a low-rank adapter.
    pub(crate) layer: bool,
    /// Whether it belongs to a layer of attention.
    pub(crate) attention: bool,
    /// Whether it is a factor of a low-rank adapter.
    pub adapter: bool,
    /// What a fresh one is.
    pub(crate) start: Start,
    /// In a layer through which the step branch tells a block: the layer that tells it the noise level.
    pub(crate) beside: Option<String>,
}

/// How the numbers of a fresh parameter are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Not at all.
    Zeros,
    /// Not at all.
    Ones,
    /// Uniform, with variance 2 / (`input` + `output`), the numbers that one output is made of and that one input goes
    /// into. [Glorot & Bengio 2010]
    Glorot {
        /// Fan in.
        input: usize,
        /// Fan out.
        output: usize,
    },
    /// Uniform in +- 1 / sqrt(fan in).
    FanIn(usize),
    /// Normal with a standard deviation of so many thousandths.
    Normal {
        /// The deviation.
        thousandths: u32,
    },
    /// Normal with variance 1 / (fan in), in single precision throughout.
    NormalFanIn(usize),
}
