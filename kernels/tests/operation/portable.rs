use std::process::Command;

/// The same tests once more on the instructions that every machine has, and on those of AVX2 where there are wider ones.
#[test]
fn portable_kernels_pass_the_same_tests() {
    for which in ["portable", "avx2"] {
        again(which);
    }
}

fn again(which: &str) {
    let program = std::env::current_exe().expect("this program");
    let run = Command::new(program)
        .args(["--skip", "portable", "--quiet"])
        .env("FEWSTEP_SIMD", which)
        .output()
        .expect("a run");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}");
    assert!(said.contains("test result: ok"), "{said}");
}
