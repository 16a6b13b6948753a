//! Sinusoidal embeddings of scalars.

use burn::tensor::{DType, Device, Tensor, TensorData};

/// Whether the lowest frequency is exactly 1/10000.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Endpoint {
    /// Frequencies (1/10000)^(j / (n/2 - 1)), output `[sin, cos]`: DDPM++.
    Included,
}

/// Embeds `values` into `[values, channels]`, computed in f64 on the host. [EDM App. B, DDPM App. B]
pub(crate) fn sinusoid(
    values: &[f64],
    channels: usize,
    endpoint: Endpoint,
    dtype: DType,
    device: &Device,
) -> Tensor<2> {
    let half = channels / 2;
    let span = match endpoint {
        Endpoint::Included => (half - 1).max(1),
    };
    let frequencies = (0..half).map(|j| 1e-4f64.powf(j as f64 / span as f64));
    let frequencies: Vec<f64> = frequencies.collect();
    let mut rows = Vec::with_capacity(values.len() * channels);
    for value in values {
        rows.extend(frequencies.iter().map(|f| (value * f).sin() as f32));
        rows.extend(frequencies.iter().map(|f| (value * f).cos() as f32));
    }
    Tensor::from_data(
        TensorData::new(rows, [values.len(), channels]),
        (device, dtype),
    )
}
