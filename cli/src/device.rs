//! The device and the threads to compute with.

use crate::args::Global;
use crate::failure::wrong;
use crate::progress::Reporter;
use anyhow::Context as _;
use fewstep::Device;

/// What every verb works with.
pub struct Context {
    /// Where to compute.
    pub device: Device,
    /// Where progress goes.
    pub reporter: Reporter,
}

impl Context {
    /// Starts the threads and picks the device.
    pub fn new(global: &Global) -> anyhow::Result<Self> {
        let device = match global.device.as_str() {
            "cpu" => Device::flex(),
            other => {
                let message = format!("there is no device `{other}`; this build has: cpu");
                return Err(wrong(message));
            }
        };
        let threads = global.threads.map_or(0, usize::from);
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            // Otherwise this thread would hand each operation to another, and wait for it.
            .use_current_thread()
            .build_global()
            .context("cannot start the threads")?;
        Ok(Self {
            device,
            reporter: Reporter::new(global.quiet),
        })
    }
}

/// The largest memory this process has used so far in bytes, where the system tells.
pub fn peak_memory() -> Option<u64> {
    let status = fs_err::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
