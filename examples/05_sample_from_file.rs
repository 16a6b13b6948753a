//! Step 5: sample from a model file. It says itself how; nothing else is needed, whatever kind of model it is.
//!
//! `cargo run --release --example 05_sample_from_file`

use fewstep::model::Model;
use fewstep::{Device, Request, image::Picture};
use std::path::Path;

pub fn run(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let (model, _hash) = Model::read(&folder.join("student.safetensors"), &Device::flex())?;
    let how = &model.card.sampling;
    println!("{} calls, {}", how.evaluations()?, how.solver);
    assert_eq!(how.evaluations()?, 2);

    let seeds: Vec<u64> = (0..16).collect();
    let images = model.sample(&seeds, &Request::default())?;
    // Image i depends on seed i alone, so a part of the batch gives the same images.
    let again = model.sample(&[5, 6], &Request::default())?;
    let difference = (images.clone().narrow(0, 5, 2) - again).max_abs();
    assert!(difference.into_scalar::<f64>() < 1e-4);

    // A request says what differs from the file's own way: here the class, else drawn by each seed.
    let boxes = Request {
        class: Some(1),
        ..Request::default()
    };
    assert_eq!(model.classes_of(&[5, 6], &boxes)?, Some(vec![1, 1]));
    let boxes = model.sample(&seeds, &boxes)?;

    for (name, images) in [("student.png", images), ("boxes.png", boxes)] {
        let file = folder.join(name);
        Picture::grid(&Picture::all(images)?, 8, 6)?.write_png(&file, &[("seeds", "0-15")])?;
        println!("wrote {}", file.display());
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(Path::new("runs/course"))
}
