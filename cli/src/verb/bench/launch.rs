//! What a piece of work tells a GPU to do: how many kernels, which, and how long they take by the GPU's own clock.

use cubecl::config::TypeNameFormatLevel::Balanced;
use cubecl::config::type_name_format;
use cubecl::future::block_on;
use cubecl::logging::{
    Duration, LaunchObservation, LaunchObserver, ProfileDuration, TimingMethod, TimingRequest,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Kernels that are launched, by name.
pub struct Launches {
    /// The kernel that takes longest at the front.
    pub kernels: Vec<Kernel>,
    /// Whether times are the device's own; otherwise it has no clock for this, and there are none.
    pub timed: bool,
}

/// All launches of one kernel.
pub struct Kernel {
    pub name: String,
    pub launches: usize,
    pub seconds: f64,
}

impl Launches {
    pub fn count(&self) -> usize {
        self.kernels.iter().map(|kernel| kernel.launches).sum()
    }

    pub fn seconds(&self) -> f64 {
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

/// Does some work, and tells what it launched.
pub fn watch(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Launches> {
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
