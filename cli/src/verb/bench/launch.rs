//! What a piece of work tells a GPU to do: how many kernels, which, and how long they take by the GPU's own clock.

use crate::screen::progress::figure;
use crate::screen::say::say;
use cubecl::config::TypeNameFormatLevel::Balanced;
use cubecl::config::type_name_format;
use cubecl::future::block_on;
use cubecl::logging::{
    Duration, LaunchObservation, LaunchObserver, ProfileDuration, TimingMethod, TimingRequest,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Kernels that are launched, by name.
struct Launches {
    /// The kernel that takes longest at the front.
    kernels: Vec<Kernel>,
    /// Whether times are the device's own; otherwise it has no clock for this, and there are none.
    timed: bool,
}

/// All launches of one kernel.
struct Kernel {
    name: String,
    launches: usize,
    seconds: f64,
}

impl Launches {
    fn count(&self) -> usize {
        self.kernels.iter().map(|kernel| kernel.launches).sum()
    }

    fn seconds(&self) -> f64 {
        self.kernels.iter().map(|kernel| kernel.seconds).sum()
    }
}

/// Names as they come, and measurements that are read when all is over: reading one waits for the device.
#[derive(Default)]
struct Watch {
    counts: Mutex<BTreeMap<&'static str, usize>>,
    measured: Mutex<Vec<(&'static str, ProfileDuration)>>,
}

/// Nothing panics while it holds a lock here.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LaunchObserver for Watch {
    fn launched(&self, kernel: &'static str) {
        *lock(&self.counts).entry(kernel).or_default() += 1;
    }

    fn timing(&self) -> TimingRequest {
        TimingRequest::Deferred
    }

    fn profiled(&self, kernel: &'static str, profile: ProfileDuration) {
        lock(&self.measured).push((kernel, profile));
    }

    // Only with CubeCL's own profile switched on, which takes the measurements for itself.
    fn timed(&self, _: &'static str, _: Duration, _: TimingMethod) {}
}

/// Kernels of a table, at most.
const LISTED: usize = 12;

/// Does some work, and prints what it launched; nothing on a CPU, which launches nothing.
pub fn say_kernels(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let found = watch(work)?;
    if found.count() == 0 {
        return Ok(());
    }
    let time = |seconds: f64| match found.timed {
        true => format!("{} ms", figure(seconds * 1e3)),
        false => "no clock".into(),
    };
    say!(
        "{:>8} launches of {} kernels, {} on the device",
        found.count(),
        found.kernels.len(),
        time(found.seconds())
    );
    for kernel in found.kernels.iter().take(LISTED) {
        let (count, time) = (kernel.launches, time(kernel.seconds));
        say!("{count:>8} {time:>12}  {}", kernel.name);
    }
    Ok(())
}

/// Does some work, and tells what it launched.
fn watch(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Launches> {
    let watch = Arc::new(Watch::default());
    let watching = LaunchObservation::new(watch.clone());
    let done = work();
    drop(watching);
    done?;
    let mut kernels: BTreeMap<String, Kernel> = BTreeMap::new();
    let mut of = |name: &str, launches, seconds| {
        let name = type_name_format(name, Balanced);
        let kernel = kernels.entry(name.clone()).or_insert(Kernel {
            name,
            launches: 0,
            seconds: 0.0,
        });
        kernel.launches += launches;
        kernel.seconds += seconds;
    };
    for (name, count) in lock(&watch.counts).iter() {
        of(name, *count, 0.0);
    }
    let mut timed = false;
    for (name, profile) in lock(&watch.measured).drain(..) {
        if profile.timing_method() == TimingMethod::Device
            && let Some(ticks) = block_on(profile.resolve())
        {
            timed = true;
            of(name, 0, ticks.duration().as_secs_f64());
        }
    }
    let mut kernels: Vec<Kernel> = kernels.into_values().collect();
    kernels.sort_by(|a, b| {
        let key = |kernel: &Kernel| (kernel.seconds, kernel.launches as f64);
        key(b)
            .partial_cmp(&key(a))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    Ok(Launches { kernels, timed })
}
