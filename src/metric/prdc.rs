//! Precision, recall, density and coverage: is every image a likely one, and is every likely image there?

use super::vectors::{Counter, Report, Vectors};
use crate::Error;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// How two sets of features overlap. A vector's ball reaches to its k-th nearest other vector of the same set, and
/// holds what is strictly nearer than that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prdc {
    /// Share of the generated vectors that lie in a ball of the reference, in [0, 1]. [Kynkaanniemi et al. 2019, Eq. 2]
    pub precision: f64,
    /// Share of the reference vectors that lie in a ball of the generated, in [0, 1]. [Kynkaanniemi et al. 2019, Eq. 2]
    pub recall: f64,
    /// Mean number of reference balls around a generated vector, divided by k: near 1 where the distributions are the
    /// same, and not bounded by it. [Naeem et al. 2020, Eq. 4]
    pub density: f64,
    /// Share of the reference vectors whose ball holds a generated vector, in [0, 1]. [Naeem et al. 2020, Eq. 5]
    pub coverage: f64,
}

/// A set of reference features with their balls, that others are measured against.
///
/// Distances are sums of squared differences in f64, so that equal vectors are at distance 0 exactly, and that of a pair
/// is the same from either side. Besides the features, memory is a few tiles of 256 kB a thread; the results do not
/// depend on the number of threads.
#[derive(Clone, Debug)]
pub struct PrdcReference<'a, T> {
    vectors: Vectors<'a, T>,
    nearest: usize,
    /// Squared.
    radii: Vec<f64>,
}

impl<'a, T: Copy + Into<f64> + Sync> PrdcReference<'a, T> {
    /// The k that papers report with.
    pub const NEAREST: usize = 5;

    /// Finds the ball of every vector: `nearest` is k, 1 or more.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if there are not more than k vectors, or k is 0.
    pub fn new(vectors: Vectors<'a, T>, nearest: usize, report: Report<'_>) -> Result<Self, Error> {
        check(&vectors, nearest)?;
        let counter = Counter::new((vectors.len() * vectors.len()) as u64, report);
        let radii = squared_radii(&vectors, nearest, &counter);
        Ok(Self {
            vectors,
            nearest,
            radii,
        })
    }

    /// The radius of each vector's ball.
    pub fn radii(&self) -> Vec<f64> {
        self.radii.iter().map(|square| square.sqrt()).collect()
    }

    /// Compares `generated` with the reference.
    ///
    /// # Errors
    /// [`Error::Incompatible`] for vectors of another size, [`Error::InvalidValue`] if there are not more than k.
    pub fn compare<U: Copy + Into<f64> + Sync>(
        &self,
        generated: &Vectors<'_, U>,
        report: Report<'_>,
    ) -> Result<Prdc, Error> {
        self.vectors.check(generated)?;
        check(generated, self.nearest)?;
        let (n, m) = (self.vectors.len(), generated.len());
        let counter = Counter::new((m * m + n * m) as u64, report);
        let radii = squared_radii(generated, self.nearest, &counter);
        // Tasks may find the same vector inside at once, in any order: the flag ends up the same.
        let inside: Vec<AtomicBool> = (0..m).map(|_| AtomicBool::new(false)).collect();
        let task = |rows: Range<usize>| {
            let mut found = Found::default();
            let (mut covered, mut recalled) = (vec![false; rows.len()], vec![false; rows.len()]);
            each_distance(
                &self.vectors,
                rows.clone(),
                generated,
                &counter,
                |i, j, d| {
                    if d < self.radii[i] {
                        found.balls += 1;
                        covered[i - rows.start] = true;
                        inside[j].store(true, Ordering::Relaxed);
                    }
                    if d < radii[j] {
                        recalled[i - rows.start] = true;
                    }
                },
            );
            found.covered = count(covered);
            found.recalled = count(recalled);
            found
        };
        let tiles = self
            .vectors
            .blocks(tile(self.vectors.size()))
            .into_par_iter();
        let found = tiles.map(task).reduce(Found::default, Found::plus);
        let precise = count(inside.into_iter().map(AtomicBool::into_inner));
        Ok(Prdc {
            precision: precise as f64 / m as f64,
            recall: found.recalled as f64 / n as f64,
            density: found.balls as f64 / (self.nearest * m) as f64,
            coverage: found.covered as f64 / n as f64,
        })
    }
}

/// Counts over some reference vectors: whole numbers, so that their order does not matter.
#[derive(Clone, Copy, Default)]
struct Found {
    /// Pairs of a generated vector and a reference ball around it.
    balls: u64,
    /// Reference vectors with a generated one in their ball.
    covered: u64,
    /// Reference vectors in the ball of a generated one.
    recalled: u64,
}

impl Found {
    fn plus(self, other: Self) -> Self {
        Self {
            balls: self.balls + other.balls,
            covered: self.covered + other.covered,
            recalled: self.recalled + other.recalled,
        }
    }
}

fn count(flags: impl IntoIterator<Item = bool>) -> u64 {
    flags.into_iter().map(u64::from).sum()
}

fn check<T: Copy + Into<f64> + Sync>(vectors: &Vectors<'_, T>, k: usize) -> Result<(), Error> {
    if k == 0 {
        return Err(Error::invalid("nearest", k, "1 or more"));
    }
    if vectors.len() <= k {
        let expected = format!("more than {k} to have a {k}. nearest neighbour");
        return Err(Error::invalid("images", vectors.len(), expected));
    }
    Ok(())
}

/// Vectors in a tile, such that two tiles stay in a core's cache.
fn tile(size: usize) -> usize {
    (32_768 / size).clamp(4, 64)
}

/// The square of each vector's distance to its k-th nearest other vector.
fn squared_radii<T: Copy + Into<f64> + Sync>(
    vectors: &Vectors<'_, T>,
    k: usize,
    counter: &Counter<'_>,
) -> Vec<f64> {
    let tiles = vectors.blocks(tile(vectors.size())).into_par_iter();
    let task = |rows: Range<usize>| {
        // The k smallest of each row so far, in rising order.
        let mut smallest = vec![f64::INFINITY; rows.len() * k];
        each_distance(vectors, rows.clone(), vectors, counter, |i, j, d| {
            let row = i - rows.start;
            let kept = &mut smallest[row * k..(row + 1) * k];
            if i != j && d < kept[k - 1] {
                let place = kept.partition_point(|x| *x <= d);
                kept[place..].rotate_right(1);
                kept[place] = d;
            }
        });
        let largest: Vec<f64> = smallest.chunks(k).map(|kept| kept[k - 1]).collect();
        largest
    };
    tiles.map(task).collect::<Vec<_>>().concat()
}

/// Calls `visit` with the squared distance of every pair of `rows` of `a` with `b`.
fn each_distance<T: Copy + Into<f64> + Sync, U: Copy + Into<f64> + Sync>(
    a: &Vectors<'_, T>,
    rows: Range<usize>,
    b: &Vectors<'_, U>,
    counter: &Counter<'_>,
    mut visit: impl FnMut(usize, usize, f64),
) {
    let size = a.size();
    let left = a.rows(rows.clone());
    for columns in b.blocks(tile(size)) {
        let right = b.rows(columns.clone());
        for (i, x) in rows.clone().zip(left.chunks_exact(size)) {
            for (j, y) in columns.clone().zip(right.chunks_exact(size)) {
                visit(i, j, squared_distance(x, y));
            }
        }
        counter.add(rows.len() * columns.len());
    }
}

/// Eight sums side by side, which the compiler turns into vector instructions.
fn squared_distance(x: &[f64], y: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (xs, ys) = (x.chunks_exact(8), y.chunks_exact(8));
    let rest = xs.remainder().iter().zip(ys.remainder());
    let rest: f64 = rest.map(|(x, y)| (x - y) * (x - y)).sum();
    for (x, y) in xs.zip(ys) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum += (x - y) * (x - y);
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::{Domain, Stream};

    fn normals(index: u64, count: usize) -> Vec<f32> {
        Stream::new(5, Domain::Test, index).normals(count)
    }

    fn compare(a: &[f32], b: &[f32], size: usize, k: usize) -> Prdc {
        let reference = PrdcReference::new(Vectors::new(a, size).unwrap(), k, &|_, _| {});
        let generated = Vectors::new(b, size).unwrap();
        reference.unwrap().compare(&generated, &|_, _| {}).unwrap()
    }

    /// The definitions, with whole lists of distances.
    fn by_definition(a: &[f32], b: &[f32], size: usize, k: usize) -> Prdc {
        let distance = |x: &[f32], y: &[f32]| {
            let pairs = x.iter().zip(y);
            let squares = pairs.map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2));
            squares.sum::<f64>().sqrt()
        };
        let radii = |set: &[f32]| -> Vec<f64> {
            let of = |i: usize, x: &[f32]| {
                let others = set.chunks(size).enumerate().filter(|(j, _)| *j != i);
                let mut all: Vec<f64> = others.map(|(_, y)| distance(x, y)).collect();
                all.sort_by(f64::total_cmp);
                all[k - 1]
            };
            set.chunks(size)
                .enumerate()
                .map(|(i, x)| of(i, x))
                .collect()
        };
        let (of_a, of_b) = (radii(a), radii(b));
        let (n, m) = (of_a.len() as f64, of_b.len() as f64);
        let balls = |y: &[f32]| {
            let pairs = a.chunks(size).zip(&of_a);
            pairs.filter(|(x, r)| distance(x, y) < **r).count() as f64
        };
        let counts: Vec<f64> = b.chunks(size).map(balls).collect();
        let recalled = a.chunks(size).filter(|x| {
            let mut pairs = b.chunks(size).zip(&of_b);
            pairs.any(|(y, r)| distance(x, y) < *r)
        });
        let covered = a.chunks(size).zip(&of_a).filter(|(x, r)| {
            let mut others = b.chunks(size);
            others.any(|y| distance(x, y) < **r)
        });
        Prdc {
            precision: counts.iter().filter(|c| **c > 0.0).count() as f64 / m,
            recall: recalled.count() as f64 / n,
            density: counts.iter().sum::<f64>() / (k as f64 * m),
            coverage: covered.count() as f64 / n,
        }
    }

    #[test]
    fn tiles_give_the_definition() {
        for (n, m, size, k) in [
            (6, 7, 1, 5),
            (64, 65, 3, 1),
            (200, 131, 11, 5),
            (70, 150, 16, 3),
        ] {
            let (a, b) = (normals(0, n * size), normals(1, m * size));
            let b: Vec<f32> = b.iter().map(|v| 0.8 * v + 0.3).collect();
            let got = compare(&a, &b, size, k);
            assert_eq!(got, by_definition(&a, &b, size, k), "{n} {m} {size} {k}");
        }
    }

    #[test]
    fn a_few_points_on_a_line() {
        // Radii with k = 1: 1, 1, 2 and, of the generated, 0.5, 0.5, 8.5.
        let reference = [0f32, 1.0, 3.0];
        let generated = [0.5f32, 1.0, 9.5];
        let got = compare(&reference, &generated, 1, 1);
        // 0.5 lies in the balls of 0 and 1; 1 in that of 1 alone: 0 and 3 are exactly as far as their radius.
        let expected = Prdc {
            precision: 2.0 / 3.0,
            // 1 is a generated point and 3 is 6.5 from 9.5, but 0 is exactly as far from 0.5 as that one reaches.
            recall: 2.0 / 3.0,
            density: 3.0 / 3.0,
            coverage: 2.0 / 3.0,
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn equal_sets_and_far_sets() {
        let a = normals(0, 300 * 4);
        let itself = compare(&a, &a, 4, 5);
        assert_eq!(
            (itself.precision, itself.recall, itself.coverage),
            (1.0, 1.0, 1.0)
        );
        // Each ball holds its own centre and the k - 1 nearest, but not the k-th.
        assert_eq!(itself.density, 1.0);
        let far: Vec<f32> = a.iter().map(|v| v + 1000.0).collect();
        let apart = compare(&a, &far, 4, 5);
        let nothing = Prdc {
            precision: 0.0,
            recall: 0.0,
            density: 0.0,
            coverage: 0.0,
        };
        assert_eq!(apart, nothing);
        // One repeated image: likely, but nearly nothing is covered.
        let one = a[..4].repeat(300);
        let collapsed = compare(&a, &one, 4, 5);
        assert_eq!((collapsed.precision, collapsed.recall), (1.0, 0.0));
        assert!(collapsed.coverage < 0.1, "{collapsed:?}");
    }

    #[test]
    fn threads_do_not_matter() {
        let (a, b) = (normals(0, 9 * 400), normals(1, 9 * 300));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| compare(&a, &b, 9, 5))
        };
        let one = run(1);
        for threads in [2, 3, 7] {
            assert_eq!(run(threads), one);
        }
    }

    #[test]
    fn too_few_vectors_are_refused() {
        let few = normals(0, 10);
        let vectors = Vectors::new(&few, 2).unwrap();
        let error = PrdcReference::new(vectors, 5, &|_, _| {}).unwrap_err();
        assert!(error.to_string().contains("more than 5"), "{error}");
        assert!(PrdcReference::new(vectors, 0, &|_, _| {}).is_err());
        let reference = PrdcReference::new(vectors, 4, &|_, _| {}).unwrap();
        let fewer = Vectors::new(&few[..8], 2).unwrap();
        assert!(reference.compare(&fewer, &|_, _| {}).is_err());
        let other = Vectors::new(&few, 1).unwrap();
        assert!(reference.compare(&other, &|_, _| {}).is_err());
    }
}
