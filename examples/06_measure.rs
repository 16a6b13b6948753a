//! Step 6: was it worth it? Compare with the teacher's 12 calls, image by image for the same seeds.
//!
//! `cargo run --release --example 06_measure`

use fewstep::model::Model;
use fewstep::{Device, Request, metric::paired_distance};
use std::path::Path;

pub fn run(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::flex();
    let (teacher, _) = Model::read(&folder.join("teacher.safetensors"), &device)?;
    let (student, _) = Model::read(&folder.join("student.safetensors"), &device)?;
    let seeds: Vec<u64> = (0..64).collect();
    let truth = teacher.sample(&seeds, &Request::default())?;
    // The same two calls with the teacher's weights show what distillation adds.
    let two_calls = Request {
        sampling: Some(student.card.sampling.clone()),
        ..Request::default()
    };
    let undistilled = teacher.sample(&seeds, &two_calls)?;
    let distilled = student.sample(&seeds, &Request::default())?;
    let undistilled = paired_distance(&truth, &undistilled)?;
    let distilled = paired_distance(&truth, &distilled)?;
    println!("root mean square difference to the teacher's 12 calls, in pixel units (-1..1)");
    println!("teacher with 2 calls {:.3}", undistilled.rms);
    println!("student with 2 calls {:.3}", distilled.rms);
    assert!(distilled.rms < undistilled.rms);
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(Path::new("runs/course"))
}
