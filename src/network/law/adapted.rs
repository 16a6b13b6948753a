//! Laws of networks with low-rank adapters, of every kind.

use super::*;
use crate::network::adapted::{AdaptedLayer, learns};

const SCALE: f64 = 1.5;

/// An adapter in every layer, of rank 3 where that is of use.
fn everywhere(config: &NetworkConfig) -> Adapters {
    let layers = config.adapted_layers().into_iter();
    let size = |layer: &AdaptedLayer| Adapter {
        rank: layer.full_rank().min(3),
        scale: SCALE,
    };
    layers.map(|l| (l.name.clone(), size(&l))).collect()
}

/// With factors that are not zero.
fn adapted(config: &NetworkConfig, base: &Network) -> Network {
    let network = base
        .clone()
        .with_adapters(config, &everywhere(config), 5)
        .unwrap();
    let keys = network.keys().clone();
    replace(network, &mut |i, _, shape| {
        let len = shape.iter().product();
        let numbers = random([len], 500 + i as u64, &Device::flex());
        keys.all()[i].adapter.then(|| numbers.mul_scalar(0.1))
    })
}

fn tracked(network: Network) -> Network {
    let network = network.with_frozen_base();
    network.to_device(&Device::flex().autodiff()).train()
}

#[test]
fn adapters_start_as_nothing_and_share_the_weights() {
    for (name, config) in configs() {
        let base = stirred(&config);
        let batch = Batch::new(&config, &Device::flex());
        let before = values(&batch.answer(&base, Some(4)));
        for precision in [Precision::F32, Precision::Bf16] {
            let base = base.clone().with_precision(precision).unwrap();
            let before = match precision {
                Precision::F32 => before.clone(),
                _ => values(&batch.answer(&base, Some(4))),
            };
            let with = |seed| {
                let all = everywhere(&config);
                base.clone().with_adapters(&config, &all, seed).unwrap()
            };
            let network = with(5);
            assert_eq!(values(&batch.answer(&network, Some(4))), before, "{name}");
            let factors = |network: &Network| -> Vec<_> {
                let all = parameters(network).into_iter();
                all.filter(|p| p.name.contains(".lora_")).collect()
            };
            let (own, same, other) = (factors(&network), factors(&with(5)), factors(&with(6)));
            assert_eq!(own.len(), 2 * config.adapted_layers().len(), "{name}");
            for ((a, b), c) in own.iter().zip(&same).zip(&other) {
                assert_eq!(a.data, b.data);
                let is_down = a.name.ends_with("lora_A.weight");
                assert_eq!(a.data != c.data, is_down, "{name}: {}", a.name);
                assert_eq!(a.data.dtype(), burn::tensor::DType::F32);
            }
        }
    }
}

#[test]
fn merged_weights_answer_as_their_factors_do() {
    for (name, config) in configs() {
        let base = stirred(&config);
        let batch = Batch::new(&config, &Device::flex());
        let network = adapted(&config, &base);
        let wanted = values(&batch.answer(&network, Some(4)));
        let plain = network.without_adapters(&config).unwrap();
        assert_eq!(
            values(&batch.answer(&plain, Some(4))),
            values(&batch.answer(&base, Some(4)))
        );
        let factors: std::collections::BTreeMap<_, _> = gather(&network)
            .into_iter()
            .map(|g| (g.name, (g.shape, g.tensor.unwrap())))
            .collect();
        let factor = |name: String| {
            let (shape, tensor) = factors.get(&name)?;
            Some(
                tensor
                    .clone()
                    .reshape([shape[0], tensor.dims()[0] / shape[0]]),
            )
        };
        let merged = plain.merged(&mut |layer| {
            let down = factor(format!("{layer}.lora_A.weight"))?;
            Some((down, factor(format!("{layer}.lora_B.weight"))?, SCALE))
        });
        let got = values(&batch.answer(&merged, Some(4)));
        let largest = wanted.iter().fold(0f32, |m, v| m.max(v.abs()));
        let off = got.iter().zip(&wanted);
        let off = off.fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest;
        // Roundings of f32 in some ten layers.
        assert!(off < 2e-5, "{name}: {off}");
        assert!(values(&batch.answer(&base, Some(4))) != wanted);
    }
}

#[test]
fn only_adapters_and_the_step_branch_have_gradients() {
    for (name, config) in configs() {
        let network = adapted(&config, &stirred(&config));
        let learning = network.keys().all().iter().map(learns);
        let learning: Vec<bool> = learning.collect();
        let tracked = tracked(network.clone());
        let batch = Batch::new(&config, &Device::flex().autodiff());
        let found = gradients(
            &tracked,
            &probe(&batch.answer(&tracked, Some(4))).backward(),
        );
        for (gradient, learns) in found.iter().zip(&learning) {
            assert_eq!(
                gradient.tensor.is_some(),
                *learns,
                "{name}: {}",
                gradient.name
            );
            let size = gradient
                .tensor
                .clone()
                .map(|t| t.abs().max().into_scalar::<f64>());
            assert!(
                size.is_none_or(|size| size > 1e-8),
                "{name}: {}",
                gradient.name
            );
        }
        // Part by part they are the same.
        let images = Batch::new(&config, &Device::flex());
        let inputs = images.inputs(Some(4));
        let (answer, recorded) = tracked.record(images.images.clone(), inputs);
        let answer = answer.autodiff().require_grad();
        let mut of_answer = probe(&answer).backward();
        let gradient = answer.grad_remove(&mut of_answer).unwrap();
        let mut sum = None;
        tracked.backward(recorded, inputs, gradient, &mut sum);
        for (a, b) in found.iter().zip(&sum.unwrap()) {
            let bits = |g: &Gathered| g.tensor.clone().map(|t| t.into_data());
            assert!(bits(a) == bits(b), "{name}: {}", a.name);
        }
        // They are slopes.
        let squares = found.iter().filter_map(|g| g.tensor.clone());
        let squares = squares.map(|t| t.square().sum().into_scalar::<f64>());
        let norm = squares.sum::<f64>().sqrt();
        let moved = |by: f64| {
            let old = gather(&network);
            let network = replace(network.clone(), &mut |i, _, _| {
                let step = found[i].tensor.clone()?.mul_scalar(by / norm);
                Some(old[i].tensor.clone()? + step)
            });
            probe(&images.answer(&network, Some(4))).into_scalar::<f64>()
        };
        let step = 1e-3;
        let slope = (moved(step) - moved(-step)) / (2.0 * step);
        assert!((slope / norm - 1.0).abs() < 1e-2, "{name}: {slope} {norm}");
    }
}

#[test]
fn adapters_of_no_layer_are_refused() {
    for (_, config) in configs() {
        let with = |name: &str, rank| {
            let all = [(name.to_string(), Adapter { rank, scale: 1.0 })];
            let network = config.blank(&Device::flex()).unwrap();
            network.with_adapters(&config, &all.into_iter().collect(), 0)
        };
        let step = config.keys().into_iter();
        let mut step = step.filter(|key| key.step && key.name.ends_with(".weight"));
        let step = step.next_back().unwrap().name;
        for name in ["nothing", step.trim_end_matches(".weight")] {
            let error = with(name, 1).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        let known = &config.adapted_layers()[0].name;
        assert!(with(known, 0).unwrap_err().to_string().contains("rank"));
        assert!(with(known, 1).unwrap().is_adapted());
    }
}
