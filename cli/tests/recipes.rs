//! The bundled recipes of the paper's rows: what they say, and that they run.

#[path = "../../tests/support/foreign.rs"]
mod foreign;
#[path = "support/latent.rs"]
mod latent;
#[path = "support/stages.rs"]
mod stages;
mod support;

use fewstep::adapter::{Layers, Lora};
use fewstep::distill::Recipe;
use fewstep::grid::Spacing;
use fewstep::import::Checkpoint;
use fewstep::model::Card;
use fewstep::network::{DhariwalUNetConfig, NetworkConfig, Precision, SongUNetConfig};
use indicatif::HumanCount;
use std::fs;
use std::path::Path;
use support::World;

/// The paper's figures for 2, 3, 4 and 5 evaluations: FID with 50,000 images, and hours of an A100.
const PUBLISHED: [(&str, Option<[[&str; 2]; 4]>); 4] = [
    (
        "cifar10",
        Some([
            ["4.53", "0.64"],
            ["3.58", "0.92"],
            ["3.24", "1.17"],
            ["3.06", "1.42"],
        ]),
    ),
    (
        "imagenet64",
        Some([
            ["10.25", "3.34"],
            ["6.35", "4.63"],
            ["4.99", "5.98"],
            ["4.33", "7.11"],
        ]),
    ),
    ("ffhq", None),
    ("afhqv2", None),
];

/// A network of the right kind and image size, of a few thousand weights.
fn network(name: &str) -> NetworkConfig {
    if name == "imagenet64" {
        return NetworkConfig::DhariwalUnet(DhariwalUNetConfig {
            model_channels: 32,
            // Heads are 64 channels wide.
            channel_multipliers: vec![1, 1, 2],
            blocks: 1,
            attention_resolutions: vec![16],
            ..DhariwalUNetConfig::default()
        });
    }
    NetworkConfig::SongUnet(SongUNetConfig {
        resolution: if name == "cifar10" { 32 } else { 64 },
        model_channels: 8,
        channel_multipliers: vec![1, 1, 1],
        blocks: 1,
        dropout: 0.1,
        ..SongUNetConfig::default()
    })
}

fn recipe(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../recipes/{name}.toml"));
    fs::read_to_string(path).unwrap()
}

/// The line of a text that holds `word`.
fn line<'a>(text: &'a str, word: &str) -> &'a str {
    let line = text.lines().find(|line| line.contains(word));
    line.unwrap_or_else(|| panic!("no {word} in {text}"))
}

fn rehearse(name: &str, figures: Option<[[&str; 2]; 4]>) {
    let world = World::new();
    let mut bytes = Vec::new();
    foreign::edm_pickle(&mut bytes, &network(name), &mut foreign::values).unwrap();
    fs::write(world.path("edm.pkl"), bytes).unwrap();
    let card = Checkpoint::read(&world.path("edm.pkl")).and_then(|file| file.card());
    let card = card.unwrap();
    for nfe in 2..=5 {
        let full = format!("{name}-nfe{nfe}");
        let text = recipe(&full);
        let first = text.lines().next().unwrap();
        match figures.map(|f| f[nfe - 2]) {
            Some([fid, hours]) => {
                assert!(
                    first.starts_with(&format!("# Published: FID {fid}, ")),
                    "{first}"
                );
                assert!(
                    text.contains(&format!("{hours} hours of an A100")),
                    "{text}"
                );
            }
            None => assert!(
                first.contains("no published figure") && !text.contains("A100"),
                "{text}"
            ),
        }
        assert!(first.contains(&format!("{nfe} evaluations")), "{first}");
        // The settings that the figures were made with.
        for setting in [
            "trajectories = 200000",
            "batch = 128",
            "substeps = 4",
            "sigma-min = 0.006",
            "sigma-max = 80.0",
            "teacher-solver = { kind = \"dpm-solver-pp\", order = 3 }",
            "learning-rate = 5e-5",
            "distance = \"l1\"",
        ] {
            assert!(text.lines().any(|l| l == setting), "{full}: {setting}");
        }
        // What it says it costs is what `--dry-run` counts.
        let mut table: toml::Table = toml::from_str(&text).unwrap();
        table.remove("kind");
        let parsed: Recipe = toml::Value::Table(table).try_into().unwrap();
        assert_eq!((parsed.rounds(), parsed.steps), (1563, nfe + 1));
        let cost = parsed.cost(&card).unwrap();
        let total = HumanCount(cost.forwards()).to_string();
        let teacher = HumanCount(cost.teacher).to_string();
        let line_of_cost = format!("# Cost: {total} network forwards ({teacher} of the teacher");
        assert!(text.contains(&line_of_cost), "{line_of_cost}: {text}");
        if nfe == 2 {
            let option = format!("distill --recipe {full} --teacher edm.pkl --dry-run");
            let dry = world.prints(&option);
            for words in [
                format!("network forwards: {total} (teacher {teacher}, "),
                "teacher 12, student 2".into(),
                "rounds: 1563 (3126 updates)".into(),
            ] {
                assert!(dry.contains(&words), "{words}: {dry}");
            }
        }
        // The commands in it name what is there.
        let command = line(&text, "fewstep distill ");
        assert!(
            command.contains(&format!("distill {full} --teacher weights/")),
            "{command}"
        );
        let file = command.rsplit_once('/').unwrap().1;
        let weights = line(&text, "fewstep fetch ").rsplit_once(' ').unwrap().1;
        let list = world.prints("fetch --list");
        let entry = list
            .split("\n\n")
            .find(|e| e.starts_with(&format!("{weights} ")));
        assert!(
            entry.unwrap().contains(&format!("/{file}")),
            "{weights}: {list}"
        );
        assert!(entry.unwrap().contains(&format!("{name}-nfe2")), "{list}");
    }
    stages::rehearse(&world, name, &card);
    // And it runs.
    let short = "--set trajectories=2 --set batch=2 --set micro-batch=1 --out run";
    world.prints(&format!("distill {name}-nfe2 --teacher edm.pkl {short}"));
    let facts = world.prints("inspect run/student.safetensors --json");
    let facts: serde_json::Value = serde_json::from_str(&facts).unwrap();
    assert_eq!(
        (&facts["kind"], &facts["evaluations"]),
        (&"student".into(), &2.into())
    );
}

#[test]
fn cifar10() {
    rehearse(PUBLISHED[0].0, PUBLISHED[0].1);
}

#[test]
fn imagenet64() {
    rehearse(PUBLISHED[1].0, PUBLISHED[1].1);
}

#[test]
fn ffhq() {
    rehearse(PUBLISHED[2].0, PUBLISHED[2].1);
}

#[test]
fn afhqv2() {
    rehearse(PUBLISHED[3].0, PUBLISHED[3].1);
}

/// What sets the latent rows apart: how the published figure is called, the smallest level, the order of the teacher's
/// solver, its weights, and what else the command needs.
struct Latent {
    name: &'static str,
    figure: &'static str,
    smallest: f64,
    order: usize,
    weights: &'static str,
    more: &'static str,
}

fn parse(text: &str) -> Recipe {
    let mut table: toml::Table = toml::from_str(text).unwrap();
    table.remove("kind");
    toml::Value::Table(table).try_into().unwrap()
}

/// Checks the recipes of a latent model at 2 to 5 evaluations, and for all of them, and runs one.
fn rehearse_latent(world: &World, row: &Latent, teacher: &str, card: &Card) {
    let name = row.name;
    let list = world.prints("fetch --list");
    let entry = list
        .split("\n\n")
        .find(|e| e.starts_with(&format!("{} ", row.weights)));
    let entry = entry.unwrap();
    assert!(entry.contains("licence: "), "{entry}");
    for (suffix, evaluations) in [
        ("2", 2..=2),
        ("3", 3..=3),
        ("4", 4..=4),
        ("5", 5..=5),
        ("2to5", 2..=5),
    ] {
        let full = format!("{name}-nfe{suffix}");
        let text = recipe(&full);
        let first = text.lines().next().unwrap();
        let unknown = format!("# Published figure not known to us ({}; ", row.figure);
        assert!(first.starts_with(&unknown), "{first}");
        assert!(
            first.contains(&format!("{} evaluations", suffix.replace("to", " to "))),
            "{first}"
        );
        let parsed = parse(&text);
        let Spacing::Discrete { rho, table } = &parsed.spacing else {
            panic!("{full}: {:?}", parsed.spacing);
        };
        assert_eq!(*rho, 1.0);
        // The teacher's own table, from its largest level down.
        assert_eq!(card.answer.preconditioning, table.clone().into());
        assert!((parsed.sigma_max / table.sigma_max() - 1.0).abs() < 1e-12);
        assert_eq!(parsed.sigma_min, row.smallest);
        let solver = format!(
            "teacher-solver = {{ kind = \"dpm-solver-pp\", order = {}, prediction = \"noise\" }}",
            row.order
        );
        let several = suffix == "2to5";
        let trajectories = if several { 800_000 } else { 200_000 };
        let trajectories = format!("trajectories = {trajectories}");
        for setting in [
            solver.as_str(),
            trajectories.as_str(),
            "batch = 128",
            "substeps = 4",
            "analytic-first-step = true",
            "learning-rate = 5e-5",
            "distance = \"l1\"",
        ] {
            assert!(text.lines().any(|l| l == setting), "{full}: {setting}");
        }
        let known = parsed.sampling().allowed_evaluations().unwrap();
        assert_eq!(known, evaluations, "{full}");
        let weight = if row.name == "sd15" { 7.5 } else { 1.0 };
        assert_eq!((parsed.guidance, parsed.teacher_guidance), (weight, 1.0));
        let cost = parsed.cost(card).unwrap();
        let (total, of_teacher) = (HumanCount(cost.forwards()), HumanCount(cost.teacher));
        let line_of_cost = format!("# Cost: {total} network forwards ({of_teacher} of the teacher");
        assert!(text.contains(&line_of_cost), "{line_of_cost}: {text}");
        let command = line(&text, "fewstep distill ");
        let said = format!("distill {full} --teacher weights/");
        assert!(command.contains(&said), "{command}");
        assert_eq!(command.contains("--prompts FILE"), row.name == "sd15");
        assert!(line(&text, "fewstep fetch ").contains(&format!("fetch {}", row.weights)));
    }
    assert!(entry.contains(&format!("{name}-nfe2")), "{entry}");
    let short = "--set trajectories=2 --set batch=2 --set micro-batch=1";
    let distill = format!(
        "distill {name}-nfe2to5 --teacher {teacher} {} {short}",
        row.more
    );
    world.prints(&format!("{distill} --out run"));
    let facts = world.prints("inspect run/student.safetensors --json");
    let facts: serde_json::Value = serde_json::from_str(&facts).unwrap();
    assert_eq!(facts["evaluations"], serde_json::json!([2, 5]));
}

#[test]
fn latent_models() {
    let world = World::new();
    latent::ours(&world);
    let card = Checkpoint::read(&world.path("teacher.safetensors")).and_then(|file| file.card());
    for (name, figure, weights) in [
        (
            "ldm-bedroom",
            "SFD, Table 4: LSUN Bedroom, latent",
            "ldm-lsun-bedroom",
        ),
        ("ldm-ffhq", "FFHQ, latent", "ldm-ffhq"),
    ] {
        let row = Latent {
            name,
            figure,
            smallest: 0.006,
            order: 3,
            weights,
            more: "--overwrite",
        };
        rehearse_latent(&world, &row, "teacher.safetensors", card.as_ref().unwrap());
    }
}

#[test]
fn stable_diffusion() {
    let world = World::new();
    latent::diffusers(&world);
    fs::write(world.path("prompts.txt"), "a cat\nxyz\n").unwrap();
    let card = Checkpoint::read(&world.path("sd")).and_then(|file| file.card());
    let row = Latent {
        name: "sd15",
        figure: "SFD, Table 5: Stable Diffusion 1.5",
        smallest: 0.1,
        order: 2,
        weights: "sd15",
        more: "--prompts prompts.txt",
    };
    rehearse_latent(&world, &row, "sd", &card.unwrap());
    let dry = "distill sd15-nfe4 --teacher sd --prompts prompts.txt --dry-run";
    let dry = world.prints(dry);
    for words in ["# prompts: 2", "teacher 20, student 4", "guidance = 7.5"] {
        assert!(dry.contains(words), "{words}: {dry}");
    }
}

/// A recipe of adapters is that of the whole student but for what adapters change, and says what it costs.
#[test]
fn adapters_are_distilled_as_the_whole_student() {
    let about = |text: &str, start: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with(start));
        lines.map(String::from).collect()
    };
    for name in ["sd15", "sd21", "sdxl"] {
        for suffix in ["2", "3", "4", "5", "2to5"] {
            let [whole, own] = ["", "-lora"].map(|end| recipe(&format!("{name}-nfe{suffix}{end}")));
            let wanted = Recipe {
                lora: Some(Lora {
                    rank: 64,
                    alpha: Some(64.0),
                    layers: Layers::Attention,
                }),
                gradient_checkpointing: true,
                teacher_precision: Precision::F16,
                learning_rate: 1e-4,
                ..parse(&whole)
            };
            assert_eq!(parse(&own), wanted, "{name}-nfe{suffix}-lora");
            assert_eq!(about(&own, "# Cost: "), about(&whole, "# Cost: "));
            let command = line(&own, "fewstep distill ").replace("-lora ", " ");
            assert_eq!(command, line(&whole, "fewstep distill "));
            let first = own.lines().next().unwrap();
            let evaluations = format!("{} evaluations", suffix.replace("to", " to "));
            assert!(
                first.contains(&evaluations) && first.ends_with("Not measured here."),
                "{first}"
            );
            // Others know no step branch.
            assert_eq!(own.contains("--to kohya"), suffix != "2to5", "{own}");
        }
    }
}

#[test]
fn a_recipe_is_named_once() {
    let world = World::with_teacher();
    let teacher = "--teacher teacher.safetensors --dry-run";
    let option = world.prints(&format!("distill --recipe student.toml {teacher}"));
    assert!(option.contains("trajectories = 160"), "{option}");
    world.fails(
        &format!("distill student.toml --recipe student.toml {teacher}"),
        2,
    );
    let none = world.fails(&format!("distill {teacher}"), 2);
    assert!(none.contains("RECIPE"), "{none}");
    world.fails("train --data data", 2);
    world.prints("train --recipe teacher.toml --data data --dry-run");
}

#[test]
fn a_folder_of_the_same_name_does_not_hide_a_recipe() {
    let world = World::with_teacher();
    std::fs::create_dir(world.path("demo")).unwrap();
    let said = world.prints("distill demo --teacher teacher.safetensors --dry-run");
    assert!(said.contains("levels = [80.0, 6.0, 1.0, 0.006]"), "{said}");
    std::fs::create_dir(world.path("other")).unwrap();
    let typed = "distill other --teacher teacher.safetensors --dry-run";
    world.says(typed, 2, "no recipe file other");
}
