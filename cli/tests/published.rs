//! `evaluate --protocol edm`, and the commands of the front page that redo a paper's figure, on models of EDM's layout with weights
//! that are made up.

#[path = "../../tests/support/foreign.rs"]
mod foreign;
#[path = "support/inception.rs"]
mod inception;
mod support;

use fewstep::network::{NetworkConfig, SongUNetConfig};
use serde_json::Value;
use std::fs;
use support::World;

const TEACHER: &str = "weights/edm-cifar10-32x32-uncond-vp.pkl";

/// What the downloads would get: a small network of CIFAR-10's shape, Inception, and statistics of a few pictures.
fn world() -> World {
    let world = World::new();
    fs::create_dir(world.path("weights")).unwrap();
    let network = NetworkConfig::SongUnet(SongUNetConfig {
        resolution: 32,
        classes: 0,
        channel_multipliers: vec![1],
        attention_resolutions: vec![],
        ..foreign::sizes()
    });
    let mut bytes = Vec::new();
    foreign::edm_pickle(&mut bytes, &network, &mut foreign::values).unwrap();
    fs::write(world.path(TEACHER), bytes).unwrap();
    inception::weights(&world.path("weights/pt_inception-2015-12-05-6726825d.pth"));
    let pictures = "--seeds 900-905 --steps 3 --solver euler --out pictures";
    world.prints(&format!("sample {TEACHER} {pictures}"));
    world.prints(
        "evaluate pictures --features inception --write-statistics weights/cifar10-32x32.npz",
    );
    world
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn the_protocol_is_followed_and_the_papers_figure_stands_beside_ours() {
    let world = world();
    let euler = "--solver euler --steps 10";
    let evaluate = format!("evaluate {TEACHER} --protocol edm --images 3 {euler}");
    let outputs = "--json --write-statistics least.npz --report page.html";
    let facts = json(&world.prints(&format!("{evaluate} {outputs}")));
    let page = fs::read_to_string(world.path("page.html")).unwrap();
    for words in [
        "seeds 6 to 8",
        "published: Euler",
        "15.69",
        "3 images a repeat, not 50000",
    ] {
        assert!(page.contains(words), "{words}");
    }
    let repeats = facts["protocol"]["repeats"].as_array().unwrap();
    let seeds: Vec<&Value> = repeats.iter().map(|repeat| &repeat["seeds"]).collect();
    assert_eq!(
        serde_json::to_string(&seeds).unwrap(),
        "[[0,2],[3,5],[6,8]]"
    );
    let distances = repeats
        .iter()
        .map(|repeat| repeat["frechet"].as_f64().unwrap());
    let least = distances.fold(f64::INFINITY, f64::min);
    assert_eq!(facts["frechet"].as_f64(), Some(least));
    assert_eq!(
        (&facts["noise"], &facts["features_resize"]),
        (&"torch-cuda".into(), &"tensorflow".into())
    );
    assert_eq!(
        (&facts["published"]["frechet"], &facts["nfe"]),
        (&15.69.into(), &10.into())
    );
    let deviations = facts["protocol"]["deviations"].as_array().unwrap();
    assert_eq!(deviations.len(), 1, "{facts}");
    // Each repeat is what its pictures come to as files, drawn with PyTorch's noise.
    world.prints(&format!(
        "sample {TEACHER} {euler} --noise torch-cuda --seeds 3-5 --batch 3 --out second"
    ));
    let second =
        "evaluate second --features inception --reference weights/cifar10-32x32.npz --json";
    let second = json(&world.prints(second));
    let difference = second["frechet"].as_f64().unwrap() - repeats[1]["frechet"].as_f64().unwrap();
    assert!(difference.abs() < 1e-6 * least, "{second} {facts}");

    let text = world.prints(&format!(
        "{evaluate} --seeds 1 --noise torch-cpu --features-resize bilinear"
    ));
    for word in [
        "published         15.69   Euler, 10 evaluations, CIFAR-10",
        "not the protocol  3 images a repeat, not 50000",
        "not the protocol  seeds from 1",
        "not the protocol  noise torch-cpu",
        "not the protocol  a bilinear resize",
        "the least of 3",
        "repeat 3 ",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let unknown = world.prints(&format!(
        "evaluate {TEACHER} --protocol edm --images 2 --solver euler --steps 2"
    ));
    assert!(
        unknown.contains("no figure known for Euler, 2 evaluations"),
        "{unknown}"
    );

    // What is missing is said in one line, with what gets it.
    for (flags, word) in [
        ("--features net.safetensors", "--features does not go with"),
        ("--metrics kernel", "--metrics does not go with"),
        (&format!("--paired {TEACHER}"), "--paired does not go with"),
    ] {
        world.says(&format!("{evaluate} {flags}"), 2, word);
    }
    world.says("evaluate pictures --protocol edm", 2, "is no model");
    world.prints("train teacher.toml --data data --out grey");
    world.says(
        "evaluate grey/teacher.safetensors --protocol edm",
        2,
        "--reference",
    );
    for (gone, words) in [
        ("cifar10-32x32.npz", vec!["`fewstep fetch fid-cifar10`"]),
        (
            "pt_inception-2015-12-05-6726825d.pth",
            vec!["`fewstep fetch inception`", "`fewstep fetch fid-cifar10`"],
        ),
    ] {
        fs::remove_file(world.path("weights").join(gone)).unwrap();
        for word in words {
            world.says(&evaluate, 2, word);
        }
    }
}

#[test]
fn the_papers_figure_is_redone_by_the_commands_of_the_front_page() {
    let world = world();
    let page = include_str!("../../README.md");
    let section = page.split("redo the paper's figure").nth(1).unwrap();
    let block = section.split("```bash\n").nth(1).unwrap();
    let commands: Vec<&str> = block.split("```").next().unwrap().lines().collect();
    assert_eq!(commands.len(), 6);
    let mut figures = Vec::new();
    for command in commands {
        let (program, arguments) = command.split_once(' ').unwrap();
        assert_eq!(program, "fewstep");
        let less = match arguments.split(' ').next().unwrap() {
            // What it would get is made up.
            "fetch" => {
                world.prints(&format!("{arguments} --offline"));
                continue;
            }
            "inspect" => "",
            "distill" => " --set trajectories=16 --set batch=8",
            "sample" => "",
            "evaluate" => " --images 2",
            other => panic!("{other}"),
        };
        let text = world.prints(&format!("{arguments}{less}"));
        figures.extend(
            text.lines()
                .filter(|line| line.starts_with("published"))
                .map(String::from),
        );
    }
    assert!(
        figures[0].starts_with("published         4.53   SFD, 2 evaluations, CIFAR-10"),
        "{figures:?}"
    );
    assert!(
        figures[1].starts_with("published         24.97   DPM-Solver++(3M), 5 evaluations"),
        "{figures:?}"
    );
    assert!(world.path("images/cifar10-nfe2/grid.png").is_file());
    assert!(world.path("runs/cifar10/fid.npz").is_file());
}
