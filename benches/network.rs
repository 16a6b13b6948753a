//! Times the networks that figures are reported for: forward, forward and backward, and a round of distillation.
//!
//! `cargo bench --bench network`, or a part of it: `cargo bench --bench network -- bench64/forward`. `RAYON_NUM_THREADS`
//! sets the threads.

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use fewstep::Device;
use fewstep::workload::{Preset, Workload};
use std::cell::OnceCell;
use std::hint::black_box;
use std::time::Duration;

fn networks(criterion: &mut Criterion) {
    for preset in Preset::ALL {
        let mut group = criterion.benchmark_group(preset.name());
        // A round takes seconds.
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.warm_up_time(Duration::from_millis(500));
        group.throughput(Throughput::Elements(preset.batch() as u64));
        // Only made if one of its benches is asked for.
        let prepared = OnceCell::new();
        let model = || prepared.get_or_init(|| preset.model(&Device::flex()).expect("a preset"));
        let workload =
            || Workload::new(model(), preset.batch(), &Device::flex()).expect("a preset");
        let plain = OnceCell::new();
        group.bench_function("forward", |bencher| {
            let workload = plain.get_or_init(workload);
            bencher.iter(|| black_box(workload.forward()));
        });
        group.bench_function("gradient", |bencher| {
            let workload = plain.get_or_init(workload);
            bencher.iter(|| black_box(workload.gradient()));
        });
        let mut started = None;
        group.bench_function("round", |bencher| {
            let workload = started.get_or_insert_with(workload);
            bencher.iter(|| black_box(workload.round().expect("a finite distance")));
        });
        group.finish();
    }
}

criterion_group!(benches, networks);
criterion_main!(benches);
