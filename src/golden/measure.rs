//! How far off a result is.

use crate::Error;
use crate::network::{LatentAttention, LatentUNetConfig, NetworkConfig};

/// Why there is no error to compare with a tolerance.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The case is about something that is not built yet.
    Unsupported(String),
    /// The case cannot be read, or cannot be run.
    Error(Error),
}

/// What a kind of case calls for each of its comparisons.
pub(crate) type Report<'a> = &'a mut dyn FnMut(&str, Result<Measure, Problem>);

/// What f64 values may be off by, as the set's description says.
pub(crate) const EXACT: f64 = 1e-9;

impl Problem {
    pub(crate) fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported(what.into())
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// An error and what it may be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Measure {
    pub(crate) error: f64,
    pub(crate) tolerance: f64,
    /// The tensor that is off by so much, where the measure is of several.
    pub(crate) tensor: Option<String>,
    /// Whether a larger error is a failure; a few runs only document a quirk of the reference.
    pub(crate) required: bool,
}

impl Measure {
    pub(crate) fn new(error: f64, tolerance: f64) -> Self {
        Self {
            error,
            tolerance,
            tensor: None,
            required: true,
        }
    }

    /// The same with the tensor that it is about.
    pub(crate) fn of_tensor(self, tensor: Option<String>) -> Self {
        Self { tensor, ..self }
    }

    /// The error as a part of the tolerance.
    pub(crate) fn ratio(&self) -> f64 {
        ratio(self.error, self.tolerance)
    }

    /// The one of two that is nearer to its tolerance, or further above it.
    pub(crate) fn or_worse(self, other: Self) -> Self {
        let (mine, its) = (self.ratio(), other.ratio());
        if mine.is_nan() || mine >= its {
            self
        } else {
            other
        }
    }
}

/// The largest error of several tensors so far, and whose it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Named {
    pub(crate) error: f64,
    pub(crate) tensor: Option<String>,
}

impl Named {
    /// Keeps the error of one tensor if it is the largest.
    pub(crate) fn keep(&mut self, tensor: &str, error: f64) {
        let larger = worse(self.error, error);
        // Not `larger != self.error`, which is true for what was not a number already.
        if !self.error.is_nan() && (larger.is_nan() || larger > self.error) {
            self.error = larger;
            self.tensor = Some(tensor.to_string());
        }
    }

    /// Keeps the [`relative`] errors of one number for each tensor.
    pub(crate) fn relative<'a>(
        &mut self,
        tensors: impl Iterator<Item = &'a str>,
        got: &[f64],
        want: &[f64],
    ) {
        if got.len() != want.len() {
            self.error = f64::INFINITY;
            return;
        }
        for ((tensor, got), want) in tensors.zip(got).zip(want) {
            self.keep(tensor, relative(&[*got], &[*want]));
        }
    }
}

/// Error divided by tolerance; no error is no part of anything.
pub(crate) fn ratio(error: f64, tolerance: f64) -> f64 {
    if error == 0.0 { 0.0 } else { error / tolerance }
}

/// The larger error, where not being a number is the largest.
pub(crate) fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || a >= b { a } else { b }
}

/// max |got - want| / rms(want), the measure of images and gradients. Infinite if the numbers of values differ.
pub(crate) fn normalised(got: &[f64], want: &[f64]) -> f64 {
    let root = (want.iter().map(|w| w * w).sum::<f64>() / want.len() as f64).sqrt();
    largest(got, want, |g, w| (g - w).abs() / root)
}

/// As [`normalised`], of the worst of the samples that both lists are cut into.
pub(crate) fn normalised_each(got: &[f64], want: &[f64], samples: usize) -> f64 {
    let size = want.len() / samples.max(1);
    if got.len() != want.len() || size == 0 || !want.len().is_multiple_of(size) {
        return f64::INFINITY;
    }
    let pairs = got.chunks(size).zip(want.chunks(size));
    pairs.map(|(g, w)| normalised(g, w)).fold(0.0, worse)
}

/// max |got / want - 1|. Infinite if the numbers of values differ.
pub(crate) fn relative(got: &[f64], want: &[f64]) -> f64 {
    largest(got, want, |g, w| ((g - w) / w).abs())
}

/// The largest error over pairs; equal values have none, whatever they are divided by.
pub(crate) fn largest(got: &[f64], want: &[f64], error: impl Fn(f64, f64) -> f64) -> f64 {
    if got.len() != want.len() {
        return f64::INFINITY;
    }
    let pairs = got.iter().zip(want);
    let errors = pairs.map(|(g, w)| if g == w { 0.0 } else { error(*g, *w) });
    errors.fold(0.0, worse)
}

/// Which entries of an attention bias belong to keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyBias {
    /// How many entries of q, of k and of v follow each other.
    run: usize,
}

impl Default for KeyBias {
    /// EDM's networks: q, k and v take turns.
    fn default() -> Self {
        Self { run: 1 }
    }
}

impl KeyBias {
    pub(crate) fn of(network: &NetworkConfig) -> Self {
        match network {
            NetworkConfig::LatentUnet(LatentUNetConfig {
                attention: LatentAttention::Pixels { head_channels },
                ..
            }) => Self {
                run: *head_channels,
            },
            _ => Self::default(),
        }
    }

    /// Leaves the entries out of a bias whose gradient is zero in theory: a key bias adds the same to every score of a
    /// query, and the softmax forgets it. What is stored of them is rounding noise.
    pub(crate) fn leave_out(self, name: &str, values: Vec<f64>) -> Vec<f64> {
        if !name.ends_with("qkv.bias") {
            return values;
        }
        let entries = values.into_iter().enumerate();
        entries
            .filter(|(i, _)| i / self.run % 3 != 1)
            .map(|(_, v)| v)
            .collect()
    }
}

/// The relative error of values, or the absolute one below 1: a time may be 0.
pub(crate) fn times_error(got: &[f64], want: &[f64]) -> f64 {
    if got.len() != want.len() {
        return f64::INFINITY;
    }
    let pairs = got.iter().zip(want);
    pairs
        .map(|(g, w)| (g - w).abs() / w.abs().max(1.0))
        .fold(0.0, worse)
}

/// Square root of the sum of squares.
pub(crate) fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_those_of_the_readme() {
        let want = [3.0, -4.0, 0.0, 5.0];
        let root = 12.5f64.sqrt();
        assert_eq!(normalised(&[3.0, -4.0, 1.0, 5.5], &want), 1.0 / root);
        assert_eq!(relative(&[3.0, -5.0, 0.0, 5.0], &want), 0.25);
        let each = normalised_each(&[1.0, 2.0, 30.0, 10.0], &[1.0, 1.0, 10.0, 10.0], 2);
        assert_eq!(each, 2.0);
    }

    #[test]
    fn what_is_not_a_number_is_never_lost() {
        assert!(normalised(&[f64::NAN, 9.0], &[1.0, 1.0]).is_nan());
        assert!(normalised(&[9.0, f64::NAN], &[1.0, 1.0]).is_nan());
        assert!(relative(&[f64::NAN], &[1.0]).is_nan());
        let bad = Measure::new(f64::NAN, 1.0);
        let fine = Measure::new(0.5, 1.0);
        let [one, other] = [(&fine, &bad), (&bad, &fine)];
        for (a, b) in [one, other] {
            assert!(a.clone().or_worse(b.clone()).error.is_nan());
        }
        assert_eq!(Measure::new(2.0, 8.0).or_worse(fine.clone()), fine);
    }

    #[test]
    fn the_worst_tensor_is_named() {
        let mut worst = Named::default();
        worst.relative(
            ["a", "b", "c"].into_iter(),
            &[1.0, 3.0, 2.0],
            &[1.0, 2.0, 1.9],
        );
        assert_eq!((worst.error, worst.tensor.as_deref()), (0.5, Some("b")));
        worst.keep("d", f64::NAN);
        worst.keep("e", 9.0);
        assert!(worst.error.is_nan());
        assert_eq!(worst.tensor.as_deref(), Some("d"));
        worst = Named::default();
        worst.relative(["a"].into_iter(), &[1.0], &[]);
        assert_eq!(worst.error, f64::INFINITY);
    }

    #[test]
    fn lists_of_other_lengths_do_not_match() {
        assert_eq!(normalised(&[1.0], &[1.0, 2.0]), f64::INFINITY);
        assert_eq!(normalised_each(&[1.0; 3], &[1.0; 4], 2), f64::INFINITY);
        assert_eq!(normalised_each(&[], &[], 2), f64::INFINITY);
        assert_eq!(relative(&[1.0, 2.0], &[]), f64::INFINITY);
    }

    #[test]
    fn key_biases_are_left_out() {
        let values = || (0..6).map(f64::from).collect::<Vec<_>>();
        let leave_out = |run, name: &str| KeyBias { run }.leave_out(name, values());
        let bias = "model.enc.8x8_block0.qkv.bias";
        assert_eq!(leave_out(1, bias), [0.0, 2.0, 3.0, 5.0]);
        assert_eq!(leave_out(2, bias), [0.0, 1.0, 4.0, 5.0]);
        assert_eq!(leave_out(1, "model.enc.qkv.weight"), values());
    }
}
