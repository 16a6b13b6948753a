//! The kernel distance between two sets of features.

use super::vectors::{Counter, Report, Vectors};
use crate::Error;
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use rayon::prelude::*;

/// Vectors that are multiplied at a time; a block of 256 x 2048 numbers takes 4 MB. Fixed, because sums depend on it.
const BLOCK: usize = 256;

/// A set of reference features that others are measured against: what of the kernel distance depends on the reference
/// alone is computed once.
///
/// The distance is the unbiased estimate of the squared maximum mean discrepancy with the kernel
/// (x . y / size + 1)^3: the mean over all pairs within each set, a vector with itself left out, less twice the mean
/// over all pairs between them. Zero in expectation for two sets of one distribution, so it may be a little below.
/// [Binkowski et al. 2018, Sec. 4]
///
/// In f64. Besides the features, memory is a few blocks of 256 vectors a thread; the result does not depend on the
/// number of threads.
#[derive(Clone, Debug)]
pub struct KernelReference<'a, T> {
    vectors: Vectors<'a, T>,
    within: f64,
}

impl<'a, T: Copy + Into<f64> + Sync> KernelReference<'a, T> {
    /// Compares the reference with itself.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for fewer than 2 vectors.
    pub fn new(vectors: Vectors<'a, T>, report: Report<'_>) -> Result<Self, Error> {
        let counter = Counter::new(pairs_within(&vectors)?, report);
        let within = mean_within(&vectors, &counter);
        Ok(Self { vectors, within })
    }

    /// The distance to `generated`, not multiplied by anything.
    ///
    /// # Errors
    /// [`Error::Incompatible`] for vectors of another size, [`Error::InvalidValue`] for fewer than 2 of them.
    pub fn distance<U: Copy + Into<f64> + Sync>(
        &self,
        generated: &Vectors<'_, U>,
        report: Report<'_>,
    ) -> Result<f64, Error> {
        self.vectors.check(generated)?;
        let between = (self.vectors.len() * generated.len()) as u64;
        let counter = Counter::new(pairs_within(generated)? + between, report);
        let within = mean_within(generated, &counter);
        Ok(self.within + within - 2.0 * self.mean_between(generated, &counter))
    }

    fn mean_between<U: Copy + Into<f64> + Sync>(
        &self,
        other: &Vectors<'_, U>,
        counter: &Counter<'_>,
    ) -> f64 {
        let sum = |rows| {
            let a = self.vectors.rows(rows);
            let sums = other.blocks(BLOCK).into_iter().map(|columns| {
                let values = kernel(&a, &other.rows(columns), other.size());
                counter.add(values.nrows() * values.ncols());
                total(&values, |_, _| true)
            });
            sums.sum::<f64>()
        };
        let pairs = self.vectors.len() as f64 * other.len() as f64;
        in_order(self.vectors.blocks(BLOCK), sum) / pairs
    }
}

/// Pairs that are looked at within a set: each with those at and after it in blocks.
fn pairs_within<T: Copy + Into<f64> + Sync>(vectors: &Vectors<'_, T>) -> Result<u64, Error> {
    if vectors.len() < 2 {
        let expected = "at least 2 to have a kernel distance";
        return Err(Error::invalid("images", vectors.len(), expected));
    }
    let blocks = vectors.blocks(BLOCK);
    let pairs = blocks
        .iter()
        .map(|rows| rows.len() * (vectors.len() - rows.start));
    Ok(pairs.sum::<usize>() as u64)
}

/// Mean kernel over the pairs of different vectors of one set.
fn mean_within<T: Copy + Into<f64> + Sync>(vectors: &Vectors<'_, T>, counter: &Counter<'_>) -> f64 {
    let blocks = vectors.blocks(BLOCK);
    let sum = |rows: std::ops::Range<usize>| {
        let first = rows.start;
        let a = vectors.rows(rows);
        // The kernel is symmetric: every pair once.
        let after = blocks.iter().filter(|columns| columns.start >= first);
        let sums = after.map(|columns| {
            let values = kernel(&a, &vectors.rows(columns.clone()), vectors.size());
            counter.add(values.nrows() * values.ncols());
            let diagonal = columns.start == first;
            total(&values, |i, j| !diagonal || i < j)
        });
        sums.sum::<f64>()
    };
    let n = vectors.len() as f64;
    2.0 * in_order(blocks.clone(), sum) / (n * (n - 1.0))
}

/// Adds up the results of tasks in their order, whichever is done first.
fn in_order(
    blocks: Vec<std::ops::Range<usize>>,
    task: impl Fn(std::ops::Range<usize>) -> f64 + Sync,
) -> f64 {
    let sums: Vec<f64> = blocks.into_par_iter().map(&task).collect();
    sums.iter().sum()
}

/// The kernel of every vector of `a` with every vector of `b`.
fn kernel(a: &[f64], b: &[f64], size: usize) -> Mat<f64> {
    let a = MatRef::from_row_major_slice(a, a.len() / size, size);
    let b = MatRef::from_row_major_slice(b, b.len() / size, size);
    let mut values = Mat::zeros(a.nrows(), b.nrows());
    matmul(&mut values, Accum::Replace, a, b.transpose(), 1.0, Par::Seq);
    for column in values.col_iter_mut() {
        for value in column.iter_mut() {
            let base = *value / size as f64 + 1.0;
            *value = base * base * base;
        }
    }
    values
}

/// The sum of the entries that `wanted(row, column)` picks.
fn total(values: &Mat<f64>, wanted: impl Fn(usize, usize) -> bool) -> f64 {
    let mut sum = 0.0;
    for j in 0..values.ncols() {
        // A column at a time keeps the partial sums small.
        let rows = (0..values.nrows()).filter(|&i| wanted(i, j));
        sum += rows.map(|i| values[(i, j)]).sum::<f64>();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::{Domain, Stream};

    fn normals(index: u64, count: usize) -> Vec<f32> {
        Stream::new(4, Domain::Test, index).normals(count)
    }

    fn distance(a: &[f32], b: &[f32], size: usize) -> f64 {
        let reference = KernelReference::new(Vectors::new(a, size).unwrap(), &|_, _| {});
        let generated = Vectors::new(b, size).unwrap();
        reference.unwrap().distance(&generated, &|_, _| {}).unwrap()
    }

    /// The definition, pair by pair.
    fn by_definition(a: &[f32], b: &[f32], size: usize) -> f64 {
        let kernel = |x: &[f32], y: &[f32]| {
            let pairs = x.iter().zip(y);
            let dot: f64 = pairs.map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            (dot / size as f64 + 1.0).powi(3)
        };
        let mean = |a: &[f32], b: &[f32], same: bool| {
            let (mut sum, mut count) = (0.0, 0.0);
            for (i, x) in a.chunks(size).enumerate() {
                for (j, y) in b.chunks(size).enumerate() {
                    if !(same && i == j) {
                        sum += kernel(x, y);
                        count += 1.0;
                    }
                }
            }
            sum / count
        };
        mean(a, a, true) + mean(b, b, true) - 2.0 * mean(a, b, false)
    }

    #[test]
    fn blocks_give_the_definition() {
        // Sizes around the block, so that whole, cut and single blocks occur.
        for (n, m) in [(2, 3), (255, 256), (257, 40), (530, 300)] {
            let (a, b) = (normals(0, 5 * n), normals(1, 5 * m));
            let b: Vec<f32> = b.iter().map(|v| 0.9 * v + 0.4).collect();
            let (got, want) = (distance(&a, &b, 5), by_definition(&a, &b, 5));
            assert!((got - want).abs() < 1e-11, "{n} {m}: {got} {want}");
        }
    }

    #[test]
    fn one_distribution_has_no_distance_on_average_and_another_has() {
        let mean = |shift: f32| {
            let one = |i: u64| {
                let shifted: Vec<f32> = normals(2 * i, 800).iter().map(|v| v + shift).collect();
                distance(&normals(2 * i + 1, 800), &shifted, 8)
            };
            let values: Vec<f64> = (0..30).map(one).collect();
            let mean = values.iter().sum::<f64>() / 30.0;
            let square = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 29.0;
            (mean, (square / 30.0).sqrt())
        };
        let (same, error) = mean(0.0);
        assert!(same.abs() < 4.0 * error, "{same} +- {error}");
        let (other, error) = mean(0.5);
        assert!(other > 10.0 * error, "{other} +- {error}");
    }

    #[test]
    fn threads_do_not_matter_and_every_pair_is_reported() {
        let (a, b) = (normals(0, 7 * 900), normals(1, 7 * 700));
        let last = AtomicPair::default();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let vectors = Vectors::new(&a, 7).unwrap();
                let reference = KernelReference::new(vectors, &|_, _| {}).unwrap();
                let generated = Vectors::new(&b, 7).unwrap();
                let report = |done, total| last.keep(done, total);
                reference.distance(&generated, &report).unwrap().to_bits()
            })
        };
        let one = run(1);
        for threads in [1, 2, 3, 7] {
            assert_eq!(run(threads), one);
            let (done, total) = last.get();
            assert_eq!(done, total);
            assert!(total >= 900 * 700, "{total}");
        }
    }

    /// The largest count heard of, and the total.
    #[derive(Default)]
    struct AtomicPair(std::sync::Mutex<(u64, u64)>);

    impl AtomicPair {
        fn keep(&self, done: u64, total: u64) {
            let mut kept = self.0.lock().unwrap();
            *kept = (kept.0.max(done), total);
        }
        fn get(&self) -> (u64, u64) {
            std::mem::take(&mut *self.0.lock().unwrap())
        }
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let one = [1f32, 2.0];
        assert!(KernelReference::new(Vectors::new(&one, 2).unwrap(), &|_, _| {}).is_err());
        let four = [1f32, 2.0, 3.0, 4.0];
        let reference = KernelReference::new(Vectors::new(&four, 2).unwrap(), &|_, _| {}).unwrap();
        let other = Vectors::new(&four, 1).unwrap();
        assert!(reference.distance(&other, &|_, _| {}).is_err());
        let few = Vectors::new(&one, 2).unwrap();
        assert!(reference.distance(&few, &|_, _| {}).is_err());
    }
}
