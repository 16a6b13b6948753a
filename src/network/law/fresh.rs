//! Fresh weights are drawn as the official ones are.

use super::configs;
use crate::network::parameters;
use burn::tensor::Device;

/// Bounds and deviations of fresh weights; the deviation of a uniform number in +-1 is 1 / sqrt(3).
#[test]
fn fresh_weights_have_their_official_spread() {
    for (which, config) in configs() {
        let network = config.init(1, &Device::flex()).unwrap();
        let mut fan_in = 0;
        for p in parameters(&network) {
            let values: Vec<f64> = p.data.iter::<f64>().collect();
            let largest = values.iter().fold(0.0, |a: f64, v| a.max(v.abs()));
            let squares: f64 = values.iter().map(|v| v * v).sum();
            let deviation = (squares / values.len() as f64).sqrt();
            let place = format!("{which} {}", p.name);
            let adm = ["adm", "latent", "text", "whole"].contains(&which);
            if p.shape.len() > 1 {
                fan_in = p.shape[1..].iter().product();
            }
            let transformer = which == "dit";
            if transformer && (p.name.contains("_embedder.mlp") || p.name.contains("table")) {
                if p.shape.len() > 1 {
                    assert!((deviation - 0.02).abs() < 0.004, "{place}: {deviation}");
                } else {
                    assert_eq!(largest, 0.0, "{place}");
                }
                continue;
            }
            let (last, norms) = if transformer {
                // The step branch begins as in the official networks, not at zero.
                let last = ["adaLN_modulation", "final_layer.linear"].as_slice();
                (last, [].as_slice())
            } else if p.name.contains("diffusion_model") {
                let last = [".out_layers.3.", ".proj_out.", "model.out.2."].as_slice();
                (last, [".norm", "_layers.0.", "model.out.0."].as_slice())
            } else {
                let last = ["conv1.", "proj.", "_aux_conv.", "out_conv."].as_slice();
                (last, ["norm"].as_slice())
            };
            let norm = norms.iter().any(|name| p.name.contains(name));
            let bound = if last.iter().any(|name| p.name.contains(name)) {
                0.0
            } else if norm {
                f64::from(p.name.ends_with("weight"))
            } else if p.name.ends_with("freqs") {
                assert!((8.0..32.0).contains(&deviation), "{place}: {deviation}");
                continue;
            } else if adm && p.name.contains("map_label") {
                assert!((deviation - 1.0).abs() < 0.2, "{place}: {deviation}");
                continue;
            } else if adm {
                1.0 / (fan_in as f64).sqrt()
            } else if p.shape.len() > 1 {
                // A transformer's is drawn as the matrix that it is.
                let kernel = match transformer {
                    true => 1,
                    false => p.shape[2..].iter().product::<usize>(),
                };
                (6.0 / (fan_in + p.shape[0] * kernel) as f64).sqrt()
            } else {
                0.0
            };
            assert!(largest <= bound * 1.000_001, "{place}: {largest} {bound}");
            if norm || bound == 0.0 {
                assert_eq!(largest, bound, "{place}");
            } else if values.len() > 500 {
                let ratio = deviation / bound * 3f64.sqrt();
                assert!((ratio - 1.0).abs() < 0.1, "{place}: {ratio}");
            } else {
                assert!(largest > 0.3 * bound, "{place}: {largest} {bound}");
            }
        }
    }
}
