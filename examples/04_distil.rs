//! Step 4: distil the teacher of step 3 into a student that needs 2 calls. No data: only noise goes in.
//!
//! `cargo run --release --example 04_distil`

use fewstep::Device;
use fewstep::distill::{Distiller, Recipe, TrajectorySource};
use fewstep::model::Model;
use std::path::Path;

pub fn run(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::flex();
    let (teacher, hash) = Model::read(&folder.join("teacher.safetensors"), &device)?;
    // The published recipe, but shorter and faster: 3 steps of which the first is free, 4 teacher steps in each.
    let recipe = Recipe {
        trajectories: 4000,
        batch: 16,
        learning_rate: 2e-3,
        ..Recipe::default()
    };
    // Checked, alone and with its teacher: nothing trains by a recipe that is not.
    let recipe = recipe.for_teacher(&teacher.card)?;
    let trajectories = TrajectorySource::new(&recipe, &teacher, &device)?;
    println!(
        "teacher: {} calls a trajectory",
        trajectories.evaluations()?
    );

    // The library does one round at a time; printing, stopping and saving are up to the caller.
    let mut distiller = Distiller::new(recipe, &teacher, hash, &device)?;
    let mut ends = Vec::new();
    while !distiller.is_finished() {
        let round = distiller.advance(&trajectories)?;
        if distiller.rounds() % 50 == 1 {
            let learning_rate = round.learning_rate;
            println!(
                "distance after each step {:.2?}, rate {learning_rate}",
                round.distances
            );
        }
        ends.push(round.distances[2]);
    }
    let (first, last) = (ends[0], ends[ends.len() - 20..].iter().sum::<f64>() / 20.0);
    println!("distance to the teacher's images, summed over pixels: {first:.2} -> {last:.2}");
    assert!(last < 0.5 * first);
    distiller
        .model()?
        .write(&folder.join("student.safetensors"))?;
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(Path::new("runs/course"))
}
