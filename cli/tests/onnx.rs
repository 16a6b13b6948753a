//! `convert --to onnx`: what is typed, and what is refused. That onnxruntime computes what we do is in `tests/onnx.rs` of the library.

mod support;

use std::fs;
use support::World;

#[test]
fn onnx_is_written_and_what_does_not_go_with_it_is_said() {
    let world = World::with_teacher();
    let convert = "convert teacher.safetensors";
    let size = |name: &str| fs::metadata(world.path(name)).unwrap().len();
    for (name, more) in [
        ("denoiser.onnx", ""),
        ("half.onnx", "--dtype f16"),
        ("whole.onnx", "--whole --nfe 4"),
    ] {
        let said = world.prints(&format!("{convert} {name} --to onnx {more}"));
        assert_eq!(said, format!("{name}\n"));
        let text = String::from_utf8_lossy(&world.bytes(name)).into_owned();
        assert!(text.contains("\"format\":1,\"kind\":\"teacher\""), "{name}");
    }
    assert!(size("half.onnx") * 4 < size("denoiser.onnx") * 3);
    // One call of the network for each evaluation, over the same weights.
    let calls = |name: &str| {
        let bytes = world.bytes(name);
        let resizes = bytes.windows(6).filter(|word| *word == b"Resize");
        resizes.count()
    };
    assert!(calls("denoiser.onnx") > 0 && calls("whole.onnx") == 4 * calls("denoiser.onnx"));
    for (arguments, word) in [
        ("out.safetensors --to onnx", ".onnx"),
        ("out.onnx", ".safetensors"),
        ("out.onnx --to onnx --dtype bf16", "f16"),
        ("out.onnx --to onnx --dropout 0.1", "--dropout"),
        ("out.safetensors --whole", "--to onnx"),
        ("denoiser.onnx --to onnx", "--overwrite"),
        ("other.onnx --to onnx", "other.onnx.data"),
        ("out.onnx --to onnx --nfe 0", "--nfe"),
    ] {
        fs::write(world.path("other.onnx.data"), "weights of another").unwrap();
        world.says(&format!("{convert} {arguments}"), 2, word);
    }
    // A student of several step counts is told theirs, or folded for one.
    world.prints("distill several.toml --teacher teacher.safetensors --out s");
    let convert = "convert s/student.safetensors";
    let told = |name: &str, more: &str| {
        world.prints(&format!("{convert} {name} --to onnx {more}"));
        let bytes = world.bytes(name);
        bytes.windows(10).any(|word| word == b"timestamps")
    };
    assert!(told("several.onnx", "") && !told("one.onnx", "--nfe 3"));
    let refused = format!("{convert} no.onnx --to onnx --nfe 9");
    world.says(&refused, 2, "2 to 5");
}
