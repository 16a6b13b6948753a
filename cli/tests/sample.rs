//! `sample` where something goes wrong, or has been done already.

#[path = "support/latent.rs"]
mod latent;
mod support;

use burn::tensor::{DType, TensorData};
use fewstep::model::File;
use std::collections::BTreeMap;
use std::fs;
use support::World;

/// The bytes of all files in a folder.
fn files(world: &World, folder: &str) -> BTreeMap<String, Vec<u8>> {
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        (name, fs::read(path).unwrap())
    };
    fs::read_dir(world.path(folder))
        .unwrap()
        .map(read)
        .collect()
}

#[test]
fn what_is_there_is_not_drawn_again_and_the_result_is_that_of_one_go() {
    let world = World::with_teacher();
    let sample = "sample teacher.safetensors --seeds 0-49 --batch 8";
    let said = world.fails(&format!("{sample} --out whole --grid"), 0);
    assert!(
        said.contains("12 evaluations") && !said.contains("already"),
        "{said}"
    );
    let whole = files(&world, "whole");
    assert_eq!(whole.len(), 52);
    // Cut off: some are there, in the middle of a batch, and others are not.
    let part = world.path("part");
    fs::create_dir(&part).unwrap();
    for name in [
        "sample.json",
        "000000.png",
        "000009.png",
        "000010.png",
        "000049.png",
    ] {
        fs::write(part.join(name), &whole[name]).unwrap();
    }
    let resume = format!("{sample} --out part --grid");
    let said = world.fails(&resume, 0);
    assert!(said.contains("part: 4 of 50 are there already"), "{said}");
    assert!(files(&world, "part") == whole);
    // All are there: the model is not even asked.
    fs::remove_file(part.join("grid.png")).unwrap();
    let said = world.fails(&resume, 0);
    assert!(
        said.contains("50 of 50") && !said.contains("evaluations"),
        "{said}"
    );
    assert!(files(&world, "part") == whole);
    // More of the same.
    let more = sample.replace("0-49", "40-59");
    let said = world.fails(&format!("{more} --out part"), 0);
    assert!(said.contains("10 of 20"), "{said}");
    assert_eq!(world.pictures("part").len(), 61);
}

#[test]
fn pictures_of_another_model_are_not_mixed_in() {
    let world = World::with_teacher();
    world.prints(
        "distill student.toml --teacher teacher.safetensors --out run --set trajectories=8",
    );
    let teacher = "sample teacher.safetensors --out images --seeds";
    world.prints(&format!("{teacher} 0-3"));
    let before = files(&world, "images");
    let student = "sample run/student.safetensors --out images --seeds";
    world.says(&format!("{student} 0-7"), 2, "another model");
    world.says(&format!("{student} 9"), 2, "--overwrite");
    world.says(
        &format!("{teacher} 2-4 --steps 3"),
        2,
        "`sampling.steps` = 12, now 3",
    );
    world.says(
        &format!("{teacher} 2-4 --class 1"),
        2,
        "`class` = not set, now 1",
    );
    world.says(&format!("{teacher} 2-4 --noise torch-cpu"), 2, "noise");
    // Without the note each picture says itself what made it.
    fs::remove_file(world.path("images/sample.json")).unwrap();
    world.says(
        &format!("{student} 3-4"),
        2,
        "images/000003.png was made by another model",
    );
    assert!(before.iter().all(|(name, bytes)| {
        name == "sample.json" || *bytes == world.bytes(format!("images/{name}"))
    }));
    // A picture that does not say it is no other than one of another program.
    let foreign = world.path("images/000009.png");
    fs::write(&foreign, world.bytes("images/000000.png").split_off(8)).unwrap();
    world.says(&format!("{student} 9"), 2, "images/000009.png");
    fs::remove_file(foreign).unwrap();
    // Thrown away where that is said: those of the wanted seeds, and no others.
    let said = world.fails(&format!("{student} 2-3 --overwrite"), 0);
    assert!(said.contains("2 files of earlier calls"), "{said}");
    let after = files(&world, "images");
    assert!(after["000001.png"] == before["000001.png"]);
    assert!(after["000002.png"] != before["000002.png"]);
    let said = world.fails(&format!("{student} 2-4"), 0);
    assert!(said.contains("2 of 3 are there"), "{said}");
    world.says(&format!("{student} 0-4"), 2, "images/000000.png");
}

/// The model with one tensor changed.
fn spoiled(
    world: &World,
    from: &str,
    to: &str,
    tensor: &str,
    change: impl Fn(usize) -> Option<f32>,
) {
    let mut file = File::read(&world.path(from)).unwrap();
    let data = file
        .tensors
        .get_mut(tensor)
        .unwrap_or_else(|| panic!("{tensor}"));
    let shape = data.shape().to_vec();
    let values = data.clone().convert_dtype(DType::F32);
    let values = values
        .iter::<f32>()
        .enumerate()
        .map(|(i, v)| change(i).unwrap_or(v));
    *data = TensorData::new(values.collect::<Vec<f32>>(), shape);
    file.write(&world.path(to)).unwrap();
}

#[test]
fn numbers_that_are_not_finite_are_an_error_and_no_black_pictures() {
    let world = World::with_teacher();
    let file = File::read(&world.path("teacher.safetensors")).unwrap();
    let last = file.tensors.iter().filter(|(name, data)| {
        name.contains("dec") && name.ends_with("bias") && data.shape().to_vec() == [1]
    });
    let last: Vec<_> = last.map(|(name, _)| name.clone()).collect();
    let [last] = last.as_slice() else {
        panic!("{last:?}")
    };
    for (bad, name) in [(f32::NAN, "nan"), (f32::INFINITY, "inf")] {
        let file = format!("{name}.safetensors");
        spoiled(&world, "teacher.safetensors", &file, last, |_| Some(bad));
        let sample = format!("sample {file} --seeds 0-40 --out {name}");
        world.says(&sample, 1, "seeds 0, 1, 2, 3, 4 and 27 more");
        world.says(&sample, 1, "not finite");
        world.says(&sample, 1, "first after step 1 of 12 (noise level 80 to ");
        world.says(
            &format!("{sample} --solver euler --steps 1 --denoise-to-zero"),
            1,
            "step 1 of 1",
        );
        assert!(!world.path(name).exists());
        // Nor is it measured.
        world.says(
            &format!("evaluate {file} --paired teacher.safetensors --images 20"),
            1,
            "not finite",
        );
        // A preview is left out, and the run goes on.
        let said = world.fails(
            &format!("distill student.toml --teacher {file} --set trajectories=8 --out {name}-run"),
            1,
        );
        assert!(said.contains("not finite"), "{said}");
    }
}

#[test]
fn one_black_channel_is_named() {
    let world = World::new();
    latent::ours(&world);
    let last = "first_stage_model.decoder.conv_out.bias";
    spoiled(
        &world,
        "ldm.safetensors",
        "spoiled.safetensors",
        last,
        |i| (i == 1).then_some(f32::NAN),
    );
    let sample = "sample teacher.safetensors --seeds 3-4 --out images --autoencoder";
    world.says(
        &format!("{sample} spoiled.safetensors"),
        1,
        "seed 3: numbers that are not finite (NaN or infinite), in what the autoencoder makes",
    );
    world.says(
        &format!("{sample} spoiled.safetensors"),
        1,
        "in channel 1 of 3",
    );
    assert!(world.pictures("images").is_empty());
    // The network of the latents, likewise.
    let file = File::read(&world.path("teacher.safetensors")).unwrap();
    let last = file
        .tensors
        .keys()
        .find(|name| name.ends_with(".out.2.bias"));
    let last = last.unwrap();
    spoiled(
        &world,
        "teacher.safetensors",
        "latents.safetensors",
        last,
        |i| (i == 2).then_some(f32::INFINITY),
    );
    world.says(
        "sample latents.safetensors --latents --seeds 5 --out other",
        1,
        "seed 5: numbers that are not finite",
    );
}

#[test]
fn latents_are_kept_until_their_pictures_are_written() {
    let world = World::new();
    latent::ours(&world);
    let whole = world.bytes("ldm.safetensors");
    let sample =
        "sample teacher.safetensors --seeds 0-5 --out images --autoencoder ldm.safetensors";
    world.prints(&sample.replace("--out images", "--out whole"));
    // It is whole when the run begins, and cut short when it is needed: as if it had been replaced meanwhile.
    let last = "first_stage_model.decoder.conv_out.bias";
    spoiled(
        &world,
        "ldm.safetensors",
        "spoiled.safetensors",
        last,
        |_| Some(f32::NAN),
    );
    let broken = sample.replace("ldm.safetensors", "spoiled.safetensors");
    let said = world.fails(&format!("-q {broken} --overwrite"), 1);
    assert!(
        said.contains("images holds 0 of 6, and the latents of 6 more"),
        "{said}"
    );
    // The very command goes on, with another autoencoder.
    let (_, command) = said.split_once('`').unwrap();
    let (command, _) = command.split_once('`').unwrap();
    let (_, words) = command.split_once(" -q ").unwrap();
    assert_eq!(words, broken);
    // Those latents, and no others: the network is not asked again.
    let kept = world.path("images/000003.latents.safetensors");
    let bytes = fs::read(world.path("images/000002.latents.safetensors")).unwrap();
    let mut other = File::read(&kept).unwrap();
    other.tensors = File::read(&world.path("images/000002.latents.safetensors"))
        .unwrap()
        .tensors;
    other.write(&kept).unwrap();
    fs::remove_file(world.path("images/000004.latents.safetensors")).unwrap();
    fs::remove_file(world.path("images/sample.json")).unwrap();
    let said = world.fails(&words.replace("spoiled", "ldm"), 0);
    assert!(said.contains("evaluations"), "{said}");
    let (pictures, expected) = (world.pictures("images"), world.pictures("whole"));
    assert_eq!(pictures["000003.png"], expected["000002.png"]);
    for seed in [0, 1, 2, 4, 5] {
        let name = format!("{seed:06}.png");
        assert_eq!(pictures[&name], expected[&name]);
    }
    // They have done their work.
    assert_eq!(files(&world, "images").len(), 7);
    // Of another model, or cut short, they are drawn again.
    fs::remove_file(world.path("images/000002.png")).unwrap();
    fs::write(
        world.path("images/000002.latents.safetensors"),
        &bytes[..bytes.len() - 9],
    )
    .unwrap();
    world.prints(sample);
    assert_eq!(
        world.pictures("images")["000002.png"],
        expected["000002.png"]
    );
    // Those that a program left when it was ended after the picture go, too.
    fs::write(world.path("images/000004.latents.safetensors"), &bytes).unwrap();
    world.prints(sample);
    assert_eq!(files(&world, "images").len(), 7);
    // Latents that were asked for are decoded, too, and stay.
    world.prints("sample teacher.safetensors --seeds 0-5 --out kept --latents");
    let said = world.fails(&sample.replace("--out images", "--out kept"), 0);
    assert!(!said.contains("evaluations"), "{said}");
    assert_eq!(world.pictures("kept"), expected);
    assert!(world.path("kept/000003.safetensors").exists());
    assert!(whole == world.bytes("ldm.safetensors"));
}
