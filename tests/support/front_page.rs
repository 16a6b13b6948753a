use fewstep::{Device, Request, model::Model, image::Picture};
use std::path::Path;

pub fn run() -> Result<(), fewstep::Error> {
    let (model, _hash) = Model::read(Path::new("runs/demo/student.safetensors"), &Device::flex())?;
    let images = model.sample(&[0, 1, 2, 3], &Request::default())?;
    Picture::grid(&Picture::all(images)?, 4, 2)?.write_png(Path::new("four.png"), &[])?;
    Ok::<(), fewstep::Error>(())
}
