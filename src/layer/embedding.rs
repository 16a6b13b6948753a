//! Embeddings of scalars in waves of many frequencies.

use crate::graph::{Graph, Value};
use crate::parameter::{Site, Start};
use crate::transfer;
use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use std::f64::consts::TAU;

/// The frequencies of a [`sinusoid`], and which half comes first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Endpoint {
    /// (1/10000)^(j / (n/2 - 1)), output `[sin, cos]`: DDPM++.
    Included,
    /// (1/10000)^(j / (n/2)), output `[cos, sin]`: ADM.
    Excluded,
}

/// Embeds `values` into `[values, channels]`, computed in f64 on the host. [EDM App. B, DDPM App. B]
pub(crate) fn sinusoid(
    values: &[f64],
    channels: usize,
    endpoint: Endpoint,
    dtype: DType,
    device: &Device,
) -> Tensor<2> {
    let sine_first = endpoint == Endpoint::Included;
    waves(
        values,
        &frequencies(channels, endpoint),
        sine_first,
        dtype,
        device,
    )
}

/// [`sinusoid`] in a graph: values of f64.
pub(crate) fn trace_sinusoid(
    graph: &mut Graph,
    values: &Value,
    channels: usize,
    endpoint: Endpoint,
) -> Value {
    let sine_first = endpoint == Endpoint::Included;
    graph.waves(values, &frequencies(channels, endpoint), sine_first)
}

fn frequencies(channels: usize, endpoint: Endpoint) -> Vec<f64> {
    let half = channels / 2;
    let span = match endpoint {
        Endpoint::Included => (half - 1).max(1),
        Endpoint::Excluded => half,
    };
    let frequencies = (0..half).map(|j| 1e-4f64.powf(j as f64 / span as f64));
    frequencies.collect()
}

/// Sines and cosines of values times frequencies, `[values, 2 frequencies]`.
fn waves(
    values: &[f64],
    frequencies: &[f64],
    sine_first: bool,
    dtype: DType,
    device: &Device,
) -> Tensor<2> {
    let columns = 2 * frequencies.len();
    let mut rows = Vec::with_capacity(values.len() * columns);
    for value in values {
        let sines = |rows: &mut Vec<f32>| {
            rows.extend(frequencies.iter().map(|f| (value * f).sin() as f32));
        };
        if sine_first {
            sines(&mut rows);
        }
        rows.extend(frequencies.iter().map(|f| (value * f).cos() as f32));
        if !sine_first {
            sines(&mut rows);
        }
    }
    transfer::send(
        TensorData::new(rows, [values.len(), columns]),
        (device, dtype),
    )
}

/// Waves of random frequencies that are drawn once and never trained: NCSN++. [EDM Tab. 7, Song et al. 2021]
#[derive(Module, Debug)]
pub(crate) struct Fourier {
    freqs: Param<Tensor<1>>,
}

impl Fourier {
    /// Fresh frequencies.
    const START: Start = Start::Normal {
        thousandths: 16_000,
    };

    pub(crate) fn new(channels: usize, site: &Site<'_>) -> Self {
        Self {
            freqs: site.fixed("freqs", channels / 2, Self::START),
        }
    }

    /// Embeds `values` into `[values, channels]`: `[sin, cos]` of 2 pi times value times frequency, computed in f64 on
    /// the host because arguments reach hundreds. For the same reason nothing here has a gradient.
    pub(crate) fn forward(&self, values: &[f64], dtype: DType, device: &Device) -> Tensor<2> {
        waves(values, &self.frequencies(), true, dtype, device)
    }

    /// [`forward`](Self::forward) in a graph: values of f64.
    pub(crate) fn trace(&self, graph: &mut Graph, values: &Value) -> Value {
        graph.waves(values, &self.frequencies(), true)
    }

    fn frequencies(&self) -> Vec<f64> {
        let frequencies = self.freqs.val().without_autodiff();
        let frequencies = transfer::read(frequencies.cast(DType::F32));
        frequencies.iter::<f64>().map(|f| TAU * f).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: frequencies 1 and 0.01 without the end, 1 and 0.0001 with it.
    #[test]
    fn halves_are_in_their_official_order() {
        let embed = |endpoint| {
            let rows = sinusoid(&[3.0], 4, endpoint, DType::F32, &Device::flex());
            rows.into_data().iter::<f32>().collect::<Vec<_>>()
        };
        let wave = |f: f64| ((3.0 * f).sin() as f32, (3.0 * f).cos() as f32);
        let ((s0, c0), (s1, c1), (s2, c2)) = (wave(1.0), wave(0.01), wave(1e-4));
        assert_eq!(embed(Endpoint::Excluded), [c0, c1, s0, s1]);
        assert_eq!(embed(Endpoint::Included), [s0, s2, c0, c2]);
    }
}
