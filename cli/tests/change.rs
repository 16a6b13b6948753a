//! A run that goes on with other settings, for longer, or that lends its weights to another.

mod support;

use fewstep::model::File;
use serde_json::Value;
use std::fs;
use support::World;

const TRAIN: &str = "train teacher.toml --data data";
const DISTILL: &str = "distill student.toml --teacher teacher.safetensors";
const TEACHER: &str = "teacher.safetensors";
const STUDENT: &str = "student.safetensors";

fn recipe_of(world: &World, file: &str) -> Value {
    let facts = world.prints(&format!("inspect {file} --json"));
    let facts: Value = serde_json::from_str(&facts).unwrap();
    facts["recipe"].clone()
}

#[test]
fn another_rate_from_some_round_on() {
    let world = World::with_teacher();
    for (verb, product) in [(TRAIN, TEACHER), (DISTILL, STUDENT)] {
        let out = format!("a{product}");
        world.prints(&format!("{verb} --out {out} --stop-after 6"));
        let change = "--set learning-rate=1e-4 --set adam.beta2=0.99";
        let said = world.fails(
            &format!("{verb} --out {out} --resume {change} --stop-after 1"),
            0,
        );
        assert!(said.contains("from round 6 on: "), "{said}");
        assert!(said.contains("learning-rate = 0.0001, was 0."), "{said}");
        // The same again changes nothing, and neither does the command of the start.
        let said = world.fails(
            &format!("{verb} --out {out} --resume {change} --stop-after 1"),
            0,
        );
        assert!(!said.contains("from round"), "{said}");
        let said = world.fails(&format!("{verb} --out {out} --resume"), 0);
        assert!(!said.contains("from round"), "{said}");
        let recipe = recipe_of(&world, &format!("{out}/{product}"));
        let changes = recipe["changes"].as_array().unwrap();
        assert_eq!(
            (changes.len(), &changes[0]["round"]),
            (1, &6.into()),
            "{recipe}"
        );
        assert_eq!(changes[0]["adam"]["beta2"], 0.99);
        assert_eq!(changes[0]["adam"]["beta1"], 0.9);
        // The recipe in the folder does all that from the start.
        let words: Vec<&str> = verb.split_whitespace().collect();
        let again = format!("{} {out}/recipe.toml {} {}", words[0], words[2], words[3]);
        world.prints(&format!("{again} --out b{product}"));
        let whole = world.bytes(format!("{out}/{product}"));
        assert!(
            whole == world.bytes(format!("b{product}/{product}")),
            "{verb}"
        );
        world.prints(&format!("{verb} --out c{product}"));
        assert!(
            whole != world.bytes(format!("c{product}/{product}")),
            "{verb}"
        );
        // What is not of the learning is refused.
        let other = format!("{verb} --out {out} --resume --set seed=4");
        world.says(&other, 2, "`seed`");
    }
    // A rate in the file is not a wish.
    let text = String::from_utf8(world.bytes("student.toml")).unwrap();
    fs::write(world.path("student.toml"), text.replace("5e-4", "1e-3")).unwrap();
    let said = world.fails(&format!("{DISTILL} --out a{STUDENT} --resume"), 2);
    assert!(said.contains("--set learning-rate=0.001"), "{said}");
}

#[test]
fn a_run_that_ran_away_is_saved_by_another_rate() {
    let world = World::with_teacher();
    for (verb, product) in [(TRAIN, TEACHER), (DISTILL, STUDENT)] {
        let out = format!("a{product}");
        world.prints(&format!("{verb} --out {out} --tick 1 --stop-after 4"));
        let wild = format!("{verb} --out {out} --tick 100 --resume --set learning-rate=1e30");
        let said = world.fails(&wild, 1);
        assert!(said.contains("holds round 4"), "{said}");
        assert!(said.contains("--resume --set learning-rate=RATE"), "{said}");
        world.prints(&format!(
            "{verb} --out {out} --resume --set learning-rate=1e-4"
        ));
        let recipe = recipe_of(&world, &format!("{out}/{product}"));
        assert_eq!(recipe["changes"][0]["round"], 4);
    }
}

#[test]
fn a_run_of_a_constant_rate_is_lengthened_to_the_same_bytes() {
    let world = World::with_teacher();
    let constant = format!("{DISTILL} --set learning-rate-schedule=constant");
    for (verb, unit, product) in [
        (TRAIN, "images", TEACHER),
        (constant.as_str(), "trajectories", STUDENT),
    ] {
        world.prints(&format!("{verb} --set {unit}=160 --out long{unit}"));
        world.prints(&format!("{verb} --set {unit}=80 --out run{unit}"));
        let short = world.bytes(format!("run{unit}/{product}"));
        // Interrupted on its way, too; a whole number may be written as others are.
        let longer = format!("{verb} --set {unit}=1.6e2 --out run{unit} --resume");
        let said = world.fails(&format!("{longer} --stop-after 4"), 0);
        assert!(said.contains(&format!("{unit} = 160, was 80")), "{said}");
        assert!(short == world.bytes(format!("run{unit}/{product}")));
        let said = world.fails(&longer, 0);
        assert!(said.contains("going on at round 14 of 20"), "{said}");
        let long = world.bytes(format!("long{unit}/{product}"));
        assert!(
            long == world.bytes(format!("run{unit}/{product}")),
            "{unit}"
        );
        // Fewer than are done cannot be.
        let fewer = format!("{verb} --set {unit}=40 --out run{unit} --resume");
        world.says(&fewer, 2, "at least the 160 that are done");
    }
}

#[test]
fn a_schedule_that_is_under_way_begins_anew_only_if_that_is_said() {
    let world = World::with_teacher();
    for (verb, unit, product) in [
        (DISTILL.to_string(), "trajectories", STUDENT),
        (format!("{TRAIN} --set decay-from=40"), "images", TEACHER),
    ] {
        let out = format!("run{unit}");
        world.prints(&format!("{verb} --set {unit}=80 --out {out}"));
        let longer = format!("{verb} --set {unit}=160 --out {out} --resume");
        world.says(&longer, 2, "--restart-schedule");
        let said = world.fails(&format!("{longer} --restart-schedule --stop-after 3"), 0);
        assert!(said.contains("begins anew"), "{said}");
        // The command that is said to go on with does not begin anew once more.
        assert!(!said.lines().last().unwrap().contains("restart"), "{said}");
        world.prints(&longer);
        let recipe = recipe_of(&world, &format!("{out}/{product}"));
        assert_eq!(recipe["changes"][0]["round"], 10);
        let words: Vec<&str> = verb.split_whitespace().collect();
        let again = format!("{} {out}/recipe.toml {} {}", words[0], words[2], words[3]);
        world.prints(&format!("{again} --out again{unit}"));
        let bytes = world.bytes(format!("{out}/{product}"));
        assert!(
            bytes == world.bytes(format!("again{unit}/{product}")),
            "{unit}"
        );
    }
    world.fails(&format!("{TRAIN} --out x --restart-schedule"), 2);
    let features = "train features.toml --data data --out f --resume --restart-schedule";
    world.says(features, 2, "feature network");
}

#[test]
fn pictures_that_have_changed_since_are_refused() {
    let world = World::new();
    let features = "train features.toml --data data";
    for (verb, out) in [(TRAIN, "teacher"), (features, "features")] {
        world.prints(&format!("{verb} --out {out} --stop-after 2"));
        let images = world.path("data/train-images-idx3-ubyte");
        let before = fs::read(&images).unwrap();
        let mut after = before.clone();
        *after.last_mut().unwrap() ^= 1;
        fs::write(&images, &after).unwrap();
        let going_on = format!("{verb} --out {out} --resume");
        world.says(&going_on, 2, "cannot go on with what data holds now");
        world.says(&going_on, 2, "the run's images");
        fs::write(&images, &before).unwrap();
        // A state of old does not know its images.
        let path = world.path(format!("{out}/state.safetensors"));
        let mut state = File::read(&path).unwrap();
        let mut json: Value = serde_json::from_str(state.json.as_deref().unwrap()).unwrap();
        let known = json.as_object_mut().unwrap();
        assert!(known.remove("data").is_some());
        known.remove("card");
        state.json = Some(json.to_string());
        state.write(&path).unwrap();
        let said = world.fails(&format!("{going_on} --stop-after 1"), 0);
        assert!(said.contains("did not note its images"), "{said}");
        let said = world.fails(&going_on, 0);
        assert!(!said.contains("did not note"), "{said}");
        world.prints(&format!("{verb} --out {out}-whole"));
        let product = format!("{out}.safetensors");
        let [a, b] = ["", "-whole"].map(|end| world.bytes(format!("{out}{end}/{product}")));
        assert!(a == b, "{verb}");
    }
}

#[test]
fn a_state_is_a_model() {
    let world = World::with_teacher();
    world.prints(&format!("{TRAIN} --out t --snapshots 4 --keep 3"));
    let names = fs::read_dir(world.path("t")).unwrap();
    let names = names.map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut kept: Vec<String> = names.filter(|n| n.starts_with("state-")).collect();
    kept.sort();
    let rounds = [32, 36, 40].map(|r| format!("state-{r:07}.safetensors"));
    assert_eq!(kept, rounds);
    world.prints("distill several.toml --teacher teacher.safetensors --out s --snapshots 4");
    world.prints(&format!("{DISTILL} --out plain"));
    for (state, product) in [
        ("t/state.safetensors", "t/teacher.safetensors"),
        ("t/state-0000040.safetensors", "t/teacher.safetensors"),
        ("s/state.safetensors", "s/student.safetensors"),
        ("plain/state.safetensors", "plain/student.safetensors"),
    ] {
        for (file, out) in [(state, "a"), (product, "b")] {
            let _ = fs::remove_dir_all(world.path(out));
            world.prints(&format!("sample {file} --seeds 0-3 --out {out}"));
        }
        assert!(world.pictures("a") == world.pictures("b"), "{state}");
        // As a file of its own it is the product.
        world.prints(&format!(
            "convert {state} {product}.copy.safetensors --overwrite"
        ));
        let [copy, whole] = [format!("{product}.copy.safetensors"), product.to_string()]
            .map(|name| File::read(&world.path(name)).unwrap());
        assert_eq!(copy.tensors, whole.tensors);
    }
    world.prints("sample t/state-0000032.safetensors --seeds 0-3 --out early");
    assert!(world.pictures("early") != world.pictures("b"));
    world.prints("sample s/state-0000008.safetensors --nfe 4 --seeds 0 --out nfe4");
    // The state of a feature network is none.
    world.prints("train features.toml --data data --out f");
    world.says("sample f/state.safetensors", 2, "training state");

    // A run lends its weights, finished or not.
    world.prints(&format!("{TRAIN} --out stopped --stop-after 30"));
    for from in ["stopped", "stopped/state.safetensors", "t"] {
        let out = from.replace(['/', '.'], "-");
        world.prints(&format!(
            "{TRAIN} --from {from} --set images=16 --out from-{out}"
        ));
    }
    let product = |out: &str| world.bytes(format!("from-{out}/teacher.safetensors"));
    assert!(product("stopped") == product("stopped-state-safetensors"));
    assert!(product("stopped") != product("t"));
}

#[test]
fn a_teacher_that_answers_no_numbers_is_called_that() {
    let world = World::with_teacher();
    let path = world.path("teacher.safetensors");
    let mut file = File::read(&path).unwrap();
    let tensor = file.tensors.get_mut("model.map_layer0.weight").unwrap();
    let mut values: Vec<f32> = tensor.try_to_vec().unwrap();
    values.fill(f32::NAN);
    *tensor = burn::tensor::TensorData::new(values, tensor.shape().to_vec());
    file.write(&path).unwrap();
    let said = world.fails(&format!("{DISTILL} --out run"), 1);
    assert!(
        said.contains("the teacher's images are not finite at round 0"),
        "{said}"
    );
    assert!(!said.contains("learning-rate=RATE"), "{said}");
    // And the numbers in the bar have a name.
    assert!(
        said.contains("distances: how far the student is from the teacher"),
        "{said}"
    );
}
