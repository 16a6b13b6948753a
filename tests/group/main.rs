//! Several processes, here threads, make the bytes of one that takes the same micro-batches.

mod cache;
mod distillation;
mod ending;
#[path = "../support/idx.rs"]
mod idx;
#[path = "../support/latent.rs"]
mod latent;
#[allow(dead_code, reason = "only a part of it is used here")]
#[path = "../support/student.rs"]
mod student;
mod teacher;
mod work;

use fewstep::group::{Alone, Group, Threads};
use fewstep::model::State;
use std::fs;
use std::sync::Arc;
use std::thread::scope;

/// What each of so many processes comes to, by their numbers.
fn together<T: Send>(size: usize, run: impl Fn(Arc<dyn Group>) -> T + Sync) -> Vec<T> {
    if size == 1 {
        return vec![run(Arc::new(Alone))];
    }
    let (members, run) = (Threads::new(size), &run);
    scope(|scope| {
        let threads = members.into_iter();
        let threads = threads.map(|member| scope.spawn(move || run(Arc::new(member))));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

/// The bytes of a state's file.
fn bytes(state: &State) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    state.write(&path).unwrap();
    fs::read(path).unwrap()
}

fn state_of(bytes: &[u8]) -> State {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    fs::write(&path, bytes).unwrap();
    State::read(&path).unwrap()
}
