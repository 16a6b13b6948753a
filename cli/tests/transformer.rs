//! The recipe of a transformer, made small: trained, stopped and gone on with, distilled, sampled and copied by the tool.

mod support;

use support::World;

/// The bundled recipe for 8 x 8 pixels, 300 updates.
const TRAIN: &str = "train fashion-mnist-transformer --data data --tick 30 --set images=2400 --set batch=8 --set warmup=80 \
     --set decay-from=1600 --set network.resolution=8 --set network.classes=0 --set network.patch=2 --set network.width=16 \
     --set network.depth=2 --set network.heads=2 --set network.dropout=0.1";

#[test]
fn a_transformer_goes_all_the_way() {
    let world = World::new();
    world.prints(&format!("{TRAIN} --out whole"));
    let text = String::from_utf8(world.bytes("whole/metrics.jsonl")).unwrap();
    let losses: Vec<f64> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["loss"].as_f64().unwrap())
        .collect();
    // It learns: measured 0.52 of 1.45.
    assert_eq!(losses.len(), 10);
    let last = losses[7..].iter().sum::<f64>() / 3.0;
    assert!(last < 0.5 * losses[0], "{losses:?}");

    world.prints(&format!("{TRAIN} --out parts --stop-after 130"));
    world.prints(&format!("{TRAIN} --out parts --resume"));
    let teacher = "teacher.safetensors";
    assert!(world.bytes(format!("parts/{teacher}")) == world.bytes(format!("whole/{teacher}")));

    let distill = format!("distill student.toml --teacher whole/{teacher}");
    world.prints(&format!("{distill} --out student"));
    world.prints(&format!("{distill} --out again --stop-after 7"));
    world.prints(&format!("{distill} --out again --resume"));
    let student = "student.safetensors";
    assert!(world.bytes(format!("again/{student}")) == world.bytes(format!("student/{student}")));

    world.prints(&format!("convert student/{student} copy.safetensors"));
    world.prints(&format!("sample student/{student} --seeds 0-3 --out first"));
    world.prints("sample copy.safetensors --seeds 0-3 --out second");
    let pictures = world.pictures("first");
    assert_eq!(pictures.len(), 4);
    assert!(pictures == world.pictures("second"));
    let teachers = format!("sample whole/{teacher} --seeds 0-3 --out third");
    world.prints(&teachers);
    assert!(pictures != world.pictures("third"));
}
