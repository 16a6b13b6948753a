//! The device and the threads to compute with.

use crate::group::Together;
use crate::screen::failure::wrong;
use crate::screen::progress::Reporter;
use crate::typed::whole;
use anyhow::Context as _;
use clap::Args;
use fewstep::Device;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// A way to a GPU.
pub struct Interface {
    /// As typed before the colon.
    pub name: &'static str,
    /// What it finds on this machine.
    pub devices: fn() -> Vec<Device>,
}

/// Those of this build, the one that `--device auto` tries first at the front.
pub const INTERFACES: &[Interface] = &[
    #[cfg(feature = "cuda")]
    Interface {
        name: "cuda",
        devices: || all(DeviceType::Cuda),
    },
    #[cfg(feature = "rocm")]
    Interface {
        name: "rocm",
        devices: || all(DeviceType::Rocm),
    },
    #[cfg(feature = "metal")]
    Interface {
        name: "metal",
        devices: || all(DeviceType::Metal),
    },
    #[cfg(feature = "vulkan")]
    Interface {
        name: "vulkan",
        devices: || all(DeviceType::Vulkan),
    },
    #[cfg(feature = "wgpu")]
    Interface {
        name: "wgpu",
        devices: || all(DeviceType::Wgpu),
    },
];

/// What a build without GPUs says.
pub const HINT: &str = "this build computes on the CPU only; for a GPU, build it with --features vulkan (or metal, rocm, \
                    wgpu, cuda)";

#[cfg(feature = "gpu")]
use burn::tensor::DeviceType;

#[cfg(feature = "gpu")]
fn all(kind: DeviceType) -> Vec<Device> {
    Device::enumerate(kind).into_iter().collect()
}

/// What it is called in a report.
pub fn label(device: &Device) -> String {
    device_name(device).unwrap_or_else(|| format!("{device:?}"))
}

/// What the maker calls it.
#[cfg(feature = "gpu")]
fn device_name(device: &Device) -> Option<String> {
    Some(device.identity()?.name.to_string())
}

#[cfg(not(feature = "gpu"))]
fn device_name(_: &Device) -> Option<String> {
    None
}

/// Whether it is a processor that stands in for a GPU, and is slower than the processor itself: Mesa's, Google's and
/// Microsoft's.
fn is_software(name: &str) -> bool {
    let name = name.to_lowercase();
    let known = [
        "llvmpipe",
        "lavapipe",
        "softpipe",
        "swiftshader",
        "basic render",
        "warp",
    ];
    known.iter().any(|software| name.contains(software))
}

/// The device that was typed: `cpu`, `auto`, or an interface with a number, such as `vulkan:0` (0 if left out), or with `auto`.
/// `local` is this process's place among those of the command on this machine, and how many these are: with `auto` each takes
/// another.
fn find(typed: &str, local: [usize; 2]) -> anyhow::Result<Device> {
    if typed == "cpu" {
        return Ok(Device::flex());
    }
    if typed == "auto" {
        let found = INTERFACES.iter().map(|i| (i.devices)());
        let found = found.map(|mut all| {
            all.retain(|device| !is_software(&label(device)));
            all
        });
        let first = found.into_iter().find(|all| !all.is_empty());
        return first.map_or_else(|| Ok(Device::flex()), |all| own(typed, all, local));
    }
    let (name, index) = typed.split_once(':').unwrap_or((typed, "0"));
    if let Some(interface) = INTERFACES.iter().find(|i| i.name == name)
        && index == "auto"
    {
        return own(typed, (interface.devices)(), local);
    }
    let index: Option<usize> = index.parse().ok();
    let interface = INTERFACES.iter().find(|i| i.name == name);
    let (Some(interface), Some(index)) = (interface, index) else {
        let known: Vec<_> = INTERFACES
            .iter()
            .map(|i| format!(", {}:0", i.name))
            .collect();
        let hint = if INTERFACES.is_empty() {
            format!("; {HINT}")
        } else {
            String::new()
        };
        return Err(wrong(format!(
            "there is no device `{typed}`; this build has: auto, cpu{}{hint}",
            known.concat()
        )));
    };
    let mut devices = (interface.devices)();
    let count = devices.len();
    if index >= count {
        return Err(wrong(format!(
            "--device {typed}: {name} finds {count} devices here; `fewstep devices` lists them"
        )));
    }
    Ok(devices.swap_remove(index))
}

/// This process's own of some devices.
fn own(
    typed: &str,
    mut all: Vec<Device>,
    [place, processes]: [usize; 2],
) -> anyhow::Result<Device> {
    let count = all.len();
    if processes > count {
        return Err(wrong(format!(
            "--device {typed}: {processes} processes on this machine, and {count} devices; start one for each, or name one that \
             all are to share"
        )));
    }
    Ok(all.swap_remove(place))
}

/// Options of every verb.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Processor threads to use [default: all cores; of several processes (mpirun) each takes its share]
    #[arg(long, global = true, value_name = "N", env = "FEWSTEP_THREADS", value_parser = whole::<NonZeroUsize>(1..=4096))]
    pub threads: Option<NonZeroUsize>,
    /// Where to compute: cpu, auto, or in a build with GPUs one such as vulkan:0 (`fewstep devices` lists them); of several
    /// processes (mpirun) on a machine, auto and cuda:auto give each its own
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        default_value = "cpu",
        env = "FEWSTEP_DEVICE"
    )]
    pub device: String,
    /// Start even where a known limit on memory does not suffice
    #[arg(long, global = true)]
    pub ignore_memory: bool,
    /// Show no progress
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// What every verb works with.
pub struct Context {
    /// Where to compute.
    pub device: Device,
    /// Where progress goes.
    pub reporter: Reporter,
    /// Whether to start where a known limit on memory does not suffice.
    pub ignore_memory: bool,
    /// The processes of this command.
    pub together: Arc<Together>,
}

impl Context {
    /// Starts the threads and picks the device.
    pub fn new(global: &Global, together: &Arc<Together>) -> anyhow::Result<Self> {
        let device = find(&global.device, together.local())?;
        let threads = global.threads.map(usize::from).or(together.threads());
        let threads = threads.unwrap_or(0);
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            // Otherwise this thread would hand each operation to another, and wait for it.
            .use_current_thread()
            .build_global()
            .context("cannot start the threads")?;
        let reporter = Reporter::new(global.quiet).quieter(!together.leads());
        if together.size() > 1 {
            let (size, threads) = (together.size(), rayon::current_num_threads());
            reporter.say(format!(
                "{size} processes, the first with {threads} threads"
            ));
        }
        Ok(Self {
            device,
            reporter,
            ignore_memory: global.ignore_memory,
            together: Arc::clone(together),
        })
    }
}
