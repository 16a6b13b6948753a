//! What the folder says of itself: `README.md`.

use super::written::Written;
use crate::model::Card;
use std::path::Path;

/// The file.
pub(super) const NAME: &str = "README.md";

/// The text for a folder of this name.
pub(super) fn page(written: &Written, card: &Card, folder: &Path) -> String {
    let calls = written.calls();
    let title = match calls.as_str() {
        "" => "A model for diffusers".to_string(),
        "1" => "A picture in one network call".into(),
        _ => format!("A picture in {calls} network calls"),
    };
    let levels = written.schedules.iter().map(|schedule| {
        let list: Vec<String> = schedule.levels.iter().map(|s| format!("{s:.4}")).collect();
        let (last, called) = list.split_last().map_or(("", &list[..]), |(a, b)| (a, b));
        format!(
            "* {} calls, at noise levels (sigmas) {}; sampling ends at {last}.\n",
            schedule.calls(),
            called.join(", ")
        )
    });
    let levels: String = levels.collect();
    let mut text = format!(
        "---\nlibrary_name: diffusers\npipeline_tag: text-to-image\n---\n\n# {title}\n\nDistilled and written by fewstep {}. The parts \
         besides the U-Net are those of the model that it was distilled from, whose licence counts.\n\n```python\n{}```\n\n{}\n",
        card.version,
        written.snippet(folder),
        written.needs()
    );
    if levels.is_empty() {
        return text;
    }
    text += &format!("\n## How it is sampled\n\n{levels}");
    if written.schedules.iter().any(|s| s.start != s.levels[0]) {
        text += "* The first step of the student calls no network: it is in the noise that sampling starts from.\n";
    }
    text += &format!(
        "* Guidance {}. No other number of steps and no other scheduler: the student has learned these steps only.\n",
        written.guidance
    );
    if written.told.is_some() || written.unit != 1.0 {
        text += "\n## What is written otherwise\n\nSo that diffusers' own scheduler takes the student's steps in the default call:\n\n";
        if let (Some(told), [schedule]) = (&written.told, written.schedules.as_slice()) {
            let pairs = told.iter().zip(&schedule.times);
            let pairs: Vec<String> = pairs.map(|(a, b)| format!("{a} for {b:.1}")).collect();
            text += &format!(
                "* The scheduler tells the times {}, and `time_embedding.linear_1` of the U-Net is written for them. A ControlNet, which \
                 is told them as well, is off by as much.\n",
                pairs.join(", ")
            );
        }
        if written.unit != 1.0 {
            text += &format!(
                "* Latents are the student's times {:.5}: in `conv_in` and `conv_out` of the U-Net, and in `scaling_factor` of the \
                 autoencoder. Who takes another autoencoder gives it the same `scaling_factor`.\n",
                written.unit
            );
        }
        text += "\nThe weights as they were are in `unet/fewstep.safetensors`, from which fewstep reads them. With \
                 `--scheduler fewstep` nothing is written otherwise.\n";
    }
    text
}
