//! A world in which every verb has what it needs.

#[path = "latent.rs"]
mod latent;

use crate::support::World;
use std::fs;

/// A world with data, teachers of every kind, features, recipes, texts and a sweep.
pub fn world() -> World {
    let world = World::with_teacher();
    world.prints("train features.toml --data data --out net --set epochs=1");
    fs::rename(
        world.path("net/features.safetensors"),
        world.path("net.safetensors"),
    )
    .unwrap();
    latent::diffusers(&world);
    latent::write(&world.path("ldm.safetensors"), latent::ldm());
    fs::write(world.path("sd.toml"), latent::SD).unwrap();
    fs::write(world.path("prompts.txt"), "a cat\na dog\n").unwrap();
    let sweep = "title = 'x'\nrecipe = 'student.toml'\nteacher = 'teacher.safetensors'\n[[run]]\nname = 'one'\n";
    fs::write(world.path("sweep.toml"), sweep).unwrap();
    world
}
