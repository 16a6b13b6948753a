//! What is started several times by a launcher, without a build that shares the work out.

#![cfg(not(feature = "mpi"))]

mod support;

use support::World;

#[test]
fn a_build_that_works_alone_does_not_work_several_times() {
    let world = World::with_teacher();
    let of = |rank: &str, arguments: &str| {
        let mut command = world.run(arguments);
        command.env("OMPI_COMM_WORLD_SIZE", "4");
        let output = command.env("OMPI_COMM_WORLD_RANK", rank).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), text)
    };
    for (arguments, word) in [
        (
            "distill student.toml --teacher teacher.safetensors --out run",
            "--features mpi",
        ),
        ("train teacher.toml --data data --out run", "--features mpi"),
        ("sweep x.toml", "start it once"),
        ("demo", "start it once"),
    ] {
        let (status, text) = of("0", arguments);
        assert_eq!(status, Some(2), "{arguments}: {text}");
        assert!(
            text.starts_with("error: 4 processes were started: ") && text.contains(word),
            "{arguments}: {text}"
        );
        assert_eq!(text.lines().count(), 1, "{arguments}: {text}");
        // Once is enough.
        assert_eq!(of("3", arguments), (Some(2), String::new()), "{arguments}");
    }
    assert!(!world.path("run").exists());
    // Several fill a cache together anyhow.
    let trajectories =
        "-q trajectories student.toml --teacher teacher.safetensors --cache cache --rounds 0-1";
    assert_eq!(of("1", trajectories).0, Some(0));
    // One of one is one.
    let mut command = world.run("inspect teacher.safetensors");
    command.env("PMI_SIZE", "1").env("PMI_RANK", "0");
    assert!(command.output().unwrap().status.success());
}
