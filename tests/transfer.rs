//! What goes between processor and device while networks are at work. A file of its own: counts are those of the process.

use fewstep::Device;
use fewstep::transfer::Transfers;
use fewstep::workload::{Preset, Workload};

#[test]
fn a_round_reads_a_number_for_each_check_and_nothing_else() {
    let device = Device::flex();
    let model = Preset::FashionMnist.model(&device).unwrap();
    let batch = 2;
    let mut work = Workload::new(&model, batch, &device).unwrap();
    // Trajectories of the next round are not to be solved beside it.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    pool.install(|| {
        let (forward, _) = Transfers::of(|| work.forward());
        // One row of waves of the noise level.
        assert_eq!((forward.sent, forward.read), (1, 0));
        let (first, _) = Transfers::of(|| work.round().unwrap());
        let (second, _) = Transfers::of(|| work.round().unwrap());
        // Three distances, and whether the gradients of two steps are finite: four bytes each.
        assert_eq!((second.read, second.read_bytes), (5, 20));
        // Noise and classes, and a row of waves for each of 14 calls of the network.
        let images = (batch * 32 * 32 + batch * 10) as u64 * 4;
        let waves = forward.sent_bytes;
        assert_eq!(
            (second.sent, second.sent_bytes),
            (2 + 14, images + 14 * waves)
        );
        assert_eq!(first.read, second.read);
    });
}
