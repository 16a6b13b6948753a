//! Pictures of a text, from Stable Diffusion 1.x or a student of it: a folder of diffusers, a CompVis checkpoint, or a model
//! of ours (whose autoencoder and text encoder are where `parts.toml` beside it says).
//!
//! `cargo run --release --example stable_diffusion -- stable-diffusion-v1-5 'a lighthouse in a storm' lighthouse.png`

use fewstep::import::{Parts, open};
use fewstep::{Device, Request, image::Picture};
use std::path::Path;

pub fn run(path: &Path, prompt: &str, out: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::flex();
    let parts = Parts::of(path)?;
    // The text encoder is loaded for this line only. Guidance moves away from the empty text.
    let texts = parts.embed(&[prompt], Some(""), &device)?;
    let autoencoder = parts.autoencoder()?.load(&device)?;
    let (model, _hash) = open(path, &device)?;

    let mut sampling = model.card.sampling.clone();
    sampling.guidance = 7.5;
    let request = Request {
        sampling: Some(sampling),
        texts: Some(&texts),
        autoencoder: Some(&autoencoder),
        progress: Some(&|done, of| eprintln!("call {done} of {of}")),
        ..Request::default()
    };
    let pictures = Picture::all(model.sample(&[0, 1], &request)?)?;
    Picture::grid(&pictures, 2, 1)?.write_png(out, &[("prompt", prompt)])?;
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let typed: Vec<String> = std::env::args().skip(1).collect();
    match typed.as_slice() {
        [path, prompt, out] => run(Path::new(path), prompt, Path::new(out)),
        _ => Err("give a model, a prompt and a file for the picture".into()),
    }
}
