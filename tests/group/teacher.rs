//! A teacher that several train.

use crate::{bytes, idx, state_of, together};
use burn::tensor::Device;
use fewstep::data::Dataset;
use fewstep::distill::Recipe;
use fewstep::group::{Alone, Group};
use fewstep::network::{NetworkConfig, SongUNetConfig};
use fewstep::teacher::{TeacherRecipe, Trainer};
use std::sync::Arc;

fn trained(
    data: &Dataset,
    group: Arc<dyn Group>,
    from: Option<&[u8]>,
    rounds: u64,
) -> (Vec<u8>, Vec<f64>) {
    let recipe = TeacherRecipe {
        seed: 6,
        images: 700,
        batch: 7,
        micro_batch: Some(2),
        learning_rate: 1e-3,
        warmup: 0,
        decay_from: None,
        average_half_life: 10.0,
        level_mean: -1.2,
        level_deviation: 1.2,
        sigma_data: 0.5,
        prediction: Default::default(),
        noise_table: None,
        flip: true,
        adam: Default::default(),
        network: NetworkConfig::SongUnet(SongUNetConfig {
            resolution: 8,
            channels: 1,
            classes: 0,
            model_channels: 16,
            channel_multipliers: vec![1, 2],
            blocks: 1,
            attention_resolutions: vec![8],
            augment_labels: 9,
            dropout: 0.2,
            ..SongUNetConfig::default()
        }),
        sampling: Recipe::default().sampling(),
        changes: Vec::new(),
    };
    let device = Device::flex();
    let trainer = match from {
        Some(state) => Trainer::resume(&state_of(state), &device).unwrap(),
        None => Trainer::new(recipe, &device).unwrap(),
    };
    let mut trainer = trainer.with_group(group);
    let losses = (0..rounds).map(|_| trainer.round(data).unwrap().loss);
    let losses = losses.collect();
    (bytes(&trainer.state().unwrap()), losses)
}

#[test]
fn a_teacher_has_the_same_bytes_whoever_computes() {
    let folder = tempfile::tempdir().unwrap();
    let data = idx::uneven(folder.path());
    let alone = trained(&data, Arc::new(Alone), None, 3);
    for size in [2, 4, 5] {
        for found in together(size, |group| trained(&data, group, None, 3)) {
            assert!(found == alone, "{size}");
        }
    }
    let first = together(4, |group| trained(&data, group, None, 1).0);
    let rest = together(2, |group| trained(&data, group, Some(&first[3]), 2));
    for (state, losses) in rest {
        assert!(state == alone.0 && losses == alone.1[1..]);
    }
}
