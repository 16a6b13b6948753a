//! What memory a work needs, as far as sizes tell, beside what there is.

use super::limit::{Limit, limits};
use crate::screen::failure::wrong;
use crate::screen::progress::{Reporter, bytes};
use fewstep::network::{NetworkConfig, Precision};

/// A forecast from sizes alone; `--dry-run` measures.
#[derive(Clone, Copy, Debug, Default)]
pub struct Need {
    /// Bytes that it cannot do without: weights and what is kept for each.
    least: u64,
    /// About what it takes, in bytes.
    likely: u64,
}

/// Bytes of an f32.
const FLOAT: u64 = 4;
/// The program itself.
const PROGRAM: u64 = 35_000_000;
/// How much of the outputs of all layers is in memory, about: while images are drawn, while gradients are computed, and the
/// latter with checkpointing. From measured runs of the bundled network and of Stable Diffusion (docs/experiments.md).
const DRAWN: f64 = 0.5;
const TAUGHT: f64 = 2.0;
const CHECKPOINTED: f64 = 1.0;

/// What a training holds.
#[derive(Clone, Copy, Debug)]
pub struct Training {
    /// Samples in memory at once.
    pub micro: usize,
    /// Whether the backward pass is run part by part.
    pub checkpointing: bool,
    /// Whether averaged weights are kept.
    pub average: bool,
    /// Bytes of each of the teacher's weights, if there is one.
    pub teacher: Option<u64>,
    /// Numbers that a student of adapters learns; it has the teacher's weights in common with it.
    pub adapters: Option<u64>,
}

impl Need {
    /// Of drawing so many images at once, with weights that are held in this type.
    pub fn drawing(
        network: &NetworkConfig,
        held: Precision,
        shape: [usize; 3],
        batch: usize,
    ) -> Self {
        let weights = network.parameter_count() * held.bytes() as u64;
        Self {
            least: weights,
            likely: PROGRAM + weights + outputs(network, shape, DRAWN * batch as f64),
        }
    }

    /// Of a training.
    pub fn training(network: &NetworkConfig, training: Training) -> Self {
        let count = network.parameter_count();
        // The weights, the optimizer's two moments and the gradients.
        let kept = 4 + u64::from(training.average);
        let of_teacher = count * training.teacher.unwrap_or(0);
        let learned = training.adapters.unwrap_or(count);
        let least = learned * kept * FLOAT + of_teacher;
        let times = match training.checkpointing {
            true => CHECKPOINTED,
            false => TAUGHT,
        };
        let outputs = outputs(
            network,
            network.image_shape(),
            times * training.micro as f64,
        );
        // Halves are widened where they are used, and a backward pass keeps what it used: without checkpointing all of them.
        let halved = training.teacher.is_some_and(|bytes| bytes < FLOAT);
        let widened = match training.adapters {
            Some(_) if halved && !training.checkpointing => count * FLOAT,
            _ => 0,
        };
        let read = match training.adapters {
            Some(_) => of_teacher,
            None => count * FLOAT,
        };
        Self {
            least,
            // A file is read in f32 before its weights are rounded, unless nothing of it learns.
            likely: PROGRAM + (least + outputs + widened).max(read),
        }
    }

    /// Compares with what there is, before anything large is loaded: an error if it cannot work, unless that is not to count,
    /// and a warning if it may not. `less` says what to change.
    pub fn check(self, less: &str, ignore: bool, reporter: Reporter) -> anyhow::Result<()> {
        match self.verdict(&limits(), less) {
            Verdict::Enough => {}
            Verdict::Tight(warning) => reporter.warn(warning),
            Verdict::Impossible(reason) if ignore => reporter.warn(reason),
            Verdict::Impossible(reason) => {
                return Err(wrong(format!(
                    "{reason}; --ignore-memory starts regardless"
                )));
            }
        }
        Ok(())
    }

    fn verdict(self, limits: &[Limit], less: &str) -> Verdict {
        let tightest = |hard: bool| {
            let limits = limits.iter().filter(|limit| limit.hard || !hard);
            limits.min_by_key(|limit| limit.bytes)
        };
        if let Some(limit) = tightest(true).filter(|limit| limit.bytes < self.least) {
            return Verdict::Impossible(format!(
                "this needs more than {} of memory, for weights alone, and {} is {}; {less}",
                bytes(self.least),
                limit.what,
                bytes(limit.bytes)
            ));
        }
        match tightest(false).filter(|limit| limit.bytes < self.likely) {
            None => Verdict::Enough,
            Some(limit) => Verdict::Tight(format!(
                "this may need about {} of memory, and {} is {}; if it does not suffice, {less}",
                bytes(self.likely),
                limit.what,
                bytes(limit.bytes)
            )),
        }
    }
}

/// What a comparison comes to.
#[derive(Debug)]
enum Verdict {
    Enough,
    Tight(String),
    Impossible(String),
}

/// About how many bytes the outputs of all layers take, for so many images: a convolution of 3 x 3 makes a number from nine times its
/// input channels, which are hardly ever fewer than those of the first level.
fn outputs(network: &NetworkConfig, [_, height, width]: [usize; 3], images: f64) -> u64 {
    let config = serde_json::to_value(network).unwrap_or_default();
    let channels = config["model-channels"].as_u64().unwrap_or(1).max(1);
    let [_, own_height, own_width] = network.image_shape();
    let numbers = network.multiply_adds() / (9 * channels);
    let larger = (height * width) as f64 / (own_height * own_width) as f64;
    (numbers as f64 * larger * images) as u64 * FLOAT
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep::network::LatentUNetConfig;

    fn limit(bytes: u64, hard: bool) -> Limit {
        Limit {
            bytes,
            what: "the box".into(),
            hard,
        }
    }

    #[test]
    fn only_what_cannot_work_is_refused() {
        let need = Need {
            least: 2_000_000_000,
            likely: 3_000_000_000,
        };
        let verdict = |limits: &[Limit]| need.verdict(limits, "lower it");
        assert!(matches!(verdict(&[]), Verdict::Enough));
        assert!(matches!(
            verdict(&[limit(3_000_000_000, true)]),
            Verdict::Enough
        ));
        let tight = [limit(2_500_000_000, true), limit(1_000_000_000, false)];
        let Verdict::Tight(said) = verdict(&tight) else {
            panic!()
        };
        assert_eq!(
            said,
            "this may need about 3.00 GB of memory, and the box is 1.00 GB; if it does not suffice, lower it"
        );
        let small = [limit(1_500_000_000, true), limit(9_000_000_000, false)];
        let Verdict::Impossible(said) = verdict(&small) else {
            panic!()
        };
        assert!(
            said.contains("2.00 GB") && said.contains("1.50 GB") && said.contains("lower it"),
            "{said}"
        );
    }

    /// What was measured (docs/experiments.md), and what sizes alone tell of it.
    #[test]
    fn forecasts_are_about_what_was_measured() {
        let near = |need: Need, measured: f64, allowed: f64| {
            let off = need.likely as f64 / measured - 1.0;
            assert!(
                off.abs() < allowed && need.least < need.likely,
                "{need:?}: {measured}"
            );
        };
        let network = NetworkConfig::LatentUnet(LatentUNetConfig::stable_diffusion());
        let drawing = Need::drawing(&network, Precision::F32, [4, 64, 64], 2);
        near(drawing, 4.27e9, 0.15);
        let wide = Need::drawing(&network, Precision::F32, [4, 64, 128], 2);
        assert_eq!(wide.least, drawing.least);
        assert!(wide.likely > drawing.likely);
        let training = Training {
            micro: 1,
            checkpointing: true,
            average: false,
            teacher: Some(2),
            adapters: None,
        };
        let round = Need::training(&network, training);
        // 15.5 GB before the first activation.
        assert_eq!(round.least / 100_000_000, 154);
        near(round, 16.57e9, 0.15);
        let bundled = serde_json::json!({
            "kind": "song-unet", "resolution": 32, "channels": 1, "classes": 10, "model-channels": 16,
            "channel-multipliers": [1, 2, 2], "blocks": 2, "attention-resolutions": [8],
        });
        let network: NetworkConfig = serde_json::from_value(bundled).unwrap();
        let training = Training {
            micro: 40,
            checkpointing: false,
            teacher: Some(4),
            ..training
        };
        near(Need::training(&network, training), 245e6, 0.2);
    }
}
