//! Step 3: train a teacher from a folder of pictures, here 8 x 8 pixels of generated shapes.
//!
//! `cargo run --release --example 03_train_tiny_teacher`

use fewstep::Device;
use fewstep::data::{Dataset, Options};
use fewstep::image::Picture;
use fewstep::noise::{Domain, Stream};
use fewstep::teacher::{TeacherRecipe, Trainer};
use std::path::Path;

const RECIPE: &str = r#"
images = 9600
batch = 32
learning-rate = 2e-3
average-half-life = 1000
network = { kind = "song-unet", resolution = 8, channels = 1, classes = 2, model-channels = 16, channel-multipliers = [1, 2], blocks = 1, attention-resolutions = [] }
sampling = { solver = { kind = "dpm-solver-pp" }, steps = 12, spacing = { kind = "polynomial", rho = 7 }, sigma-max = 80, sigma-min = 0.006, analytic-first-step = false }
"#;

/// A grey bar or the outline of a box, somewhere; a sub-folder is a class.
fn draw(folder: &Path, class: &str, number: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut random = Stream::new(number, Domain::Test, class.len() as u64);
    let (left, top) = (random.below(4)? as usize, random.below(4)? as usize);
    let grey = 155 + random.below(100)? as u8;
    let inked = |x: usize, y: usize| match class {
        "bar" => (left..left + 2).contains(&x),
        _ => x.abs_diff(left + 2).max(y.abs_diff(top + 2)) == 2,
    };
    let pixel = |i: usize| if inked(i % 8, i / 8) { grey } else { 0 };
    let pixels = (0..64).map(pixel).collect();
    let picture = Picture {
        width: 8,
        height: 8,
        channels: 1,
        pixels,
    };
    picture.write_png(&folder.join(format!("{class}/{number}.png")), &[])?;
    Ok(())
}

pub fn run(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let shapes = folder.join("shapes");
    for number in 0..48 {
        draw(&shapes, "bar", number)?;
        draw(&shapes, "box", number)?;
    }
    let data = Dataset::open(&shapes, &Options::new(8, 1))?;
    let mut trainer = Trainer::new(toml::from_str::<TeacherRecipe>(RECIPE)?, &Device::flex())?;
    let mut losses = Vec::new();
    while !trainer.is_finished() {
        losses.push(trainer.round(&data)?.loss);
    }
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&losses[..20]), mean(&losses[losses.len() - 20..]));
    println!("{} updates: loss {first:.3} -> {last:.3}", trainer.rounds());
    assert!(last < first / 2.0);
    trainer
        .model()?
        .write(&folder.join("teacher.safetensors"))?;
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(Path::new("runs/course"))
}
