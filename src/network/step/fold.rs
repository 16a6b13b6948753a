//! Folding the step branch away for one number of steps. [SFD Sec. 3.3]

use crate::Error;
use crate::network::{Network, NetworkConfig};
use crate::parameter::{Named, by_name, device, replace};
use burn::tensor::{DType, Tensor, TensorData};
use std::collections::BTreeMap;

/// Turns a network with the step branch into a plain one that does the same for one number of timestamps: what the
/// branch tells each block is then a constant, which `affine` can hold. Exact but for the rounding of the folded
/// weights to f32.
///
/// # Errors
/// [`Error::Incompatible`] if the network has no step branch.
pub fn fold_step_branch(
    config: &NetworkConfig,
    network: &Network,
    timestamps: usize,
) -> Result<(NetworkConfig, Network), Error> {
    let device = device(network);
    let Some(embedding) = network.step_embedding(timestamps, &device) else {
        return Err(Error::Incompatible {
            first: "folding the step condition".into(),
            second: "a network without a step branch".into(),
            remedy: "it is a plain network already; use it as it is".into(),
        });
    };
    let embedding = numbers(embedding.reshape([-1]));
    let values = by_name(network);
    let mut folded = BTreeMap::new();
    for key in network.keys().all() {
        let (Some(beside), [_, _]) = (&key.beside, key.shape.as_slice()) else {
            continue;
        };
        let step = key.name.trim_end_matches("weight");
        let named = |name: String| values.get(&name).cloned().map(numbers).unwrap_or_default();
        let bias = named(format!("{step}bias"));
        let rows = named(key.name.clone());
        let rows = rows.chunks(embedding.len());
        let term = rows.zip(bias).map(|(row, bias)| {
            let product = row.iter().zip(&embedding).map(|(w, e)| w * e);
            product.sum::<f64>() + bias
        });
        let term: Vec<f64> = term.collect();
        let mut weight = named(format!("{beside}.weight"));
        let mut bias = named(format!("{beside}.bias"));
        config.step_use().fold(&mut weight, &mut bias, &term);
        folded.insert(format!("{beside}.weight"), weight);
        folded.insert(format!("{beside}.bias"), bias);
    }
    let config = config.with_step_branch(false);
    let plain = config.blank(&device)?;
    let plain = replace(plain, &mut |_, name, _| match folded.remove(name) {
        Some(values) => {
            let len = values.len();
            let values: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
            Some(Tensor::from_data(TensorData::new(values, [len]), &device))
        }
        None => values.get(name).cloned(),
    });
    Ok((config, plain))
}

fn numbers(tensor: Tensor<1>) -> Vec<f64> {
    let data = tensor.into_data_dtype(DType::F32);
    data.iter::<f64>().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Images;
    use crate::network::law::filled;
    use crate::network::{
        DhariwalUNetConfig, Inputs, LatentAttention, LatentUNetConfig, SongUNetConfig,
        TransformerConfig, parameters,
    };
    use crate::noise::latents;
    use burn::tensor::Device;

    /// A DDPM++, an ADM, a latent network and a transformer, the second wide enough for attention.
    fn configs(step_branch: bool) -> [NetworkConfig; 4] {
        [
            NetworkConfig::SongUnet(SongUNetConfig {
                resolution: 8,
                channels: 2,
                classes: 3,
                model_channels: 8,
                channel_multipliers: vec![1, 2],
                blocks: 1,
                attention_resolutions: vec![4],
                augment_labels: 0,
                dropout: 0.0,
                step_branch,
                ..SongUNetConfig::default()
            }),
            NetworkConfig::DhariwalUnet(DhariwalUNetConfig {
                resolution: 8,
                channels: 2,
                classes: 3,
                model_channels: 32,
                channel_multipliers: vec![1, 2],
                blocks: 1,
                attention_resolutions: vec![4],
                augment_labels: 0,
                dropout: 0.0,
                step_branch,
            }),
            NetworkConfig::LatentUnet(LatentUNetConfig {
                resolution: 8,
                channels: 2,
                model_channels: 32,
                channel_multipliers: vec![2, 2],
                blocks: 1,
                attention_factors: vec![2],
                attention: LatentAttention::Pixels { head_channels: 16 },
                added: None,
                dropout: 0.0,
                step_branch,
            }),
            NetworkConfig::Transformer(TransformerConfig {
                resolution: 8,
                channels: 2,
                classes: 3,
                patch: 2,
                width: 32,
                depth: 2,
                heads: 2,
                dropout: 0.0,
                step_branch,
            }),
        ]
    }

    fn answer(network: &Network, steps: Option<usize>) -> Vec<f32> {
        let images: Images = latents(&[1, 2], [2, 8, 8], &Device::flex());
        let inputs = Inputs {
            noise: &[0.7],
            steps,
            ..Inputs::default()
        };
        network
            .forward(images, inputs)
            .into_data()
            .try_to_vec()
            .unwrap()
    }

    fn difference(a: &[f32], b: &[f32]) -> f32 {
        let largest = b.iter().fold(0f32, |m, v| m.max(v.abs()));
        let pairs = a.iter().zip(b);
        pairs.fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest
    }

    #[test]
    fn a_folded_network_does_the_same_without_the_branch() {
        for (with, without) in configs(true).iter().zip(configs(false)) {
            let whole = filled(with, 3);
            for timestamps in [3, 4, 7] {
                let (folded_config, folded) = fold_step_branch(with, &whole, timestamps).unwrap();
                assert_eq!(folded_config, without);
                let names = |network| parameters(network).into_iter().map(|p| p.name);
                assert!(names(&folded).eq(names(&filled(&without, 3))));
                let wanted = answer(&whole, Some(timestamps));
                let error = difference(&answer(&folded, None), &wanted);
                // A few roundings of f32 in each of some ten layers.
                assert!(error < 1e-5, "{timestamps}: {error}");
                // Another number of steps is told apart, and so is none at all.
                assert!(difference(&answer(&whole, Some(5)), &wanted) > 1e-2);
                assert!(difference(&answer(&whole, None), &wanted) > 1e-2);
            }
        }
        let plain = &configs(false)[0];
        let error = fold_step_branch(plain, &filled(plain, 3), 4).unwrap_err();
        assert!(
            error.to_string().contains("without a step branch"),
            "{error}"
        );
    }
}
