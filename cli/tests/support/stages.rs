//! The bundled recipes for several numbers of evaluations, and for a single one after them.

use crate::support::World;
use crate::{line, parse, recipe};
use fewstep::distill::Recipe;
use fewstep::import::Checkpoint;
use fewstep::model::Card;
use indicatif::HumanCount;

/// The paper's figures for one student at 2 to 5 evaluations, and for 1 evaluation after it, with their hours.
const STAGES: [(&str, [&str; 2], [&str; 2]); 2] = [
    (
        "cifar10",
        ["4.28, 3.50, 3.18, 2.95", "4.26"],
        ["5.83", "4.88"],
    ),
    (
        "imagenet64",
        ["9.47, 5.78, 4.72, 4.21", "23.62"],
        ["12.89", "6.86"],
    ),
];

/// Checks the recipes for several numbers of evaluations and for a single one, and runs the one after the other.
pub fn rehearse(world: &World, name: &str, card: &Card) {
    let known = STAGES.iter().find(|(known, ..)| *known == name);
    let text = |suffix: &str, figures: Option<&[&str; 2]>| {
        let text = recipe(&format!("{name}-nfe{suffix}"));
        let first = text.lines().next().unwrap().to_string();
        match figures {
            Some([fid, hours]) => {
                assert!(
                    first.starts_with(&format!("# Published: FID {fid} at ")),
                    "{first}"
                );
                assert!(
                    text.contains(&format!("{hours} hours of an A100")),
                    "{text}"
                );
            }
            None => assert!(first.contains("no published figure"), "{first}"),
        }
        text
    };
    let cost_of = |text: &str, recipe: &Recipe, card: &Card| {
        let cost = recipe.cost(card).unwrap();
        let (all, teacher) = (HumanCount(cost.forwards()), HumanCount(cost.teacher));
        let line = format!("# Cost: {all} network forwards ({teacher} of the teacher");
        assert!(text.contains(&line), "{line}: {text}");
    };
    let several = text("2to5", known.map(|(_, figures, _)| figures));
    let first = parse(&several);
    assert_eq!((first.trajectories, first.rounds()), (800_000, 6250));
    assert_eq!(first.sampling().allowed_evaluations().unwrap(), 2..=5);
    cost_of(&several, &first, card);
    let single = text("1", known.map(|(.., figures)| figures));
    let second = parse(&single);
    assert_eq!((second.trajectories, second.rounds()), (2_000_000, 15_625));
    assert_eq!(second.sampling().evaluations().unwrap(), 1);
    assert!(single.contains("distance = \"l1-lpips\"") && second.learning_rate == 5e-4);
    let short = "--set batch=2 --set micro-batch=1 --set trajectories=2";
    world.prints(&format!(
        "distill {name}-nfe2to5 --teacher edm.pkl {short} --out several"
    ));
    let student = world.path("several/student.safetensors");
    let student = Checkpoint::read(&student)
        .and_then(|file| file.card())
        .unwrap();
    cost_of(&single, &second, &student);
    let list = world.prints("fetch --list");
    let command = line(&single, "fewstep distill ");
    for word in ["vgg16", "lpips-vgg"] {
        assert!(
            single.contains(&format!("fewstep fetch {word}\n")),
            "{single}"
        );
        let entry = list
            .split("\n\n")
            .find(|e| e.starts_with(&format!("{word} ")));
        let mut files = command.split("--perceptual weights/").skip(1);
        let named = files.any(|file| entry.unwrap().contains(&format!("/{}", file.trim())));
        assert!(named, "{command}: {entry:?}");
    }
    world.prints(&format!(
        "distill {name}-nfe1 --teacher several/student.safetensors --set distance=l1 {short} --out one"
    ));
    let facts = world.prints("inspect one/student.safetensors --json");
    let facts: serde_json::Value = serde_json::from_str(&facts).unwrap();
    assert_eq!(facts["evaluations"], 1);
}
