//! `fewstep devices`: where this build can compute.

use crate::context::{HINT, INTERFACES, label};
use crate::screen::say::say;
use clap::Args;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  fewstep devices
  fewstep sample student.safetensors --seeds 0-63 --device vulkan:0";

/// `fewstep devices`
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Lists the devices that `--device` knows.
pub fn run(verb: &Verb) -> anyhow::Result<ExitCode> {
    let threads = rayon::current_num_threads();
    let mut found = vec![("cpu".to_string(), format!("{threads} threads"))];
    for interface in INTERFACES {
        for (index, device) in (interface.devices)().iter().enumerate() {
            let name = label(device);
            found.push((format!("{}:{index}", interface.name), name));
        }
    }
    if verb.json {
        let list = found
            .iter()
            .map(|(device, name)| serde_json::json!({"device": device, "name": name}));
        say!("{}", serde_json::Value::Array(list.collect()));
    } else {
        for (device, name) in found {
            say!("{device:<12}{name}");
        }
        if INTERFACES.is_empty() {
            say!("{HINT}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
