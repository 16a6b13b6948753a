//! The Frechet distance between two sets of features taken as normal distributions.

use super::Moments;
use crate::Error;
use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::{matmul, svd};
use faer::{Accum, Mat, MatRef, Par};
use rayon::prelude::*;

/// |m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2), in f64; never negative. [Heusel et al. 2017, Eq. 6]
///
/// With S = A A^T, the last trace is the sum of the singular values of A1^T A2: real whatever the covariances, and exact to
/// rounding where they are singular (fewer images than features), where the square root of a product's eigenvalues loses
/// half the digits. A is a Cholesky factor with pivots, which has as many columns as the covariance has ranks: of few images
/// the distance is found in no time.
///
/// # Errors
/// [`Error::Incompatible`] if the moments come from different feature networks or sizes; [`Error::InvalidValue`] if the
/// decomposition does not converge.
pub fn frechet_distance(a: &Moments, b: &Moments) -> Result<f64, Error> {
    check(a, b)?;
    let (root_a, root_b) = rayon::join(|| Root::of(a), || Root::of(b));
    distance((a, &root_a), (b, &root_b))
}

/// Moments that several others are compared with.
#[derive(Debug)]
pub struct FrechetReference<'a> {
    moments: &'a Moments,
    root: Root,
}

impl<'a> FrechetReference<'a> {
    /// Takes the reference's root once.
    pub fn new(moments: &'a Moments) -> Self {
        Self {
            moments,
            root: Root::of(moments),
        }
    }

    /// As [`frechet_distance`] from the reference to each of some moments, several at a time.
    ///
    /// # Errors
    /// As [`frechet_distance`].
    pub fn distances(&self, others: &[&Moments]) -> Result<Vec<f64>, Error> {
        let each = |other: &&Moments| {
            check(other, self.moments)?;
            distance((other, &Root::of(other)), (self.moments, &self.root))
        };
        others.par_iter().map(each).collect()
    }
}

fn check(a: &Moments, b: &Moments) -> Result<(), Error> {
    if a.mean.len() == b.mean.len() && a.features == b.features {
        return Ok(());
    }
    let name = |m: &Moments| format!("{} features of network {:.12?}", m.mean.len(), m.features);
    Err(Error::Incompatible {
        first: name(a),
        second: name(b),
        remedy: "take both moments with the same feature network".into(),
    })
}

fn distance((a, root_a): (&Moments, &Root), (b, root_b): (&Moments, &Root)) -> Result<f64, Error> {
    let size = a.mean.len();
    let pairs = a.mean.iter().zip(&b.mean);
    let shift: f64 = pairs.map(|(x, y)| (x - y).powi(2)).sum();
    let trace = |m: &Moments| -> f64 { m.covariance.iter().step_by(size + 1).sum() };
    let overlap = match root_a.rank.min(root_b.rank) {
        0 => 0.0,
        _ => {
            let (left, right) = (root_a.matrix(size), root_b.matrix(size));
            // One thread: the result must not depend on how many there are.
            let mut product = Mat::zeros(root_a.rank, root_b.rank);
            matmul::matmul(
                &mut product,
                Accum::Replace,
                left.transpose(),
                right,
                1.0,
                Par::Seq,
            );
            singular_values(&product)?.iter().sum()
        }
    };
    Ok((shift + trace(a) + trace(b) - 2.0 * overlap).max(0.0))
}

/// A with A A^T = S, column by column.
#[derive(Debug)]
struct Root {
    columns: Vec<f64>,
    rank: usize,
}

impl Root {
    /// The Cholesky factor whose next pivot is always the largest that is left. [Higham 2002, Sec. 10.3]
    fn of(moments: &Moments) -> Self {
        let size = moments.mean.len();
        let covariance = &moments.covariance;
        let mut left: Vec<f64> = covariance.iter().step_by(size + 1).copied().collect();
        let largest = left.iter().copied().fold(0.0, f64::max);
        // What is below the rounding of the largest is zero, or its root would count.
        let floor = size as f64 * f64::EPSILON * largest;
        let mut columns: Vec<f64> = Vec::new();
        let mut rank = 0;
        while rank < size {
            let pivot = (0..size).fold(0, |best, i| if left[i] > left[best] { i } else { best });
            if left[pivot] <= floor {
                break;
            }
            let mut column = covariance[pivot * size..(pivot + 1) * size].to_vec();
            for earlier in columns.chunks_exact(size) {
                let factor = earlier[pivot];
                let pairs = column.iter_mut().zip(earlier);
                pairs.for_each(|(value, earlier)| *value -= factor * earlier);
            }
            let root = left[pivot].sqrt();
            for (value, left) in column.iter_mut().zip(&mut left) {
                *value /= root;
                *left -= *value * *value;
            }
            // Its row is done, and only rounding is left of it.
            column[pivot] = root;
            left[pivot] = 0.0;
            columns.extend(column);
            rank += 1;
        }
        Self { columns, rank }
    }

    fn matrix(&self, size: usize) -> MatRef<'_, f64> {
        MatRef::from_column_major_slice(&self.columns, size, self.rank)
    }
}

fn singular_values(matrix: &Mat<f64>) -> Result<Vec<f64>, Error> {
    let (rows, columns) = (matrix.nrows(), matrix.ncols());
    let mut values = Diag::zeros(rows.min(columns));
    let none = svd::ComputeSvdVectors::No;
    let scratch = svd::svd_scratch::<f64>(rows, columns, none, none, Par::Seq, Default::default());
    svd::svd(
        matrix.as_ref(),
        values.as_mut(),
        None,
        None,
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|error| not_converged(format!("{error:?}")))?;
    Ok(values.column_vector().iter().copied().collect())
}

fn not_converged(error: String) -> Error {
    Error::invalid("covariance", error, "a matrix with a decomposition")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Accumulator;
    use crate::model::File;
    use crate::noise::{Domain, Stream};
    use std::path::Path;

    fn moments(rows: &[f64], size: usize) -> Moments {
        let mut sums = Accumulator::new(size);
        sums.push(rows).unwrap();
        sums.finish("").unwrap()
    }

    fn normals(index: u64, count: usize) -> Vec<f64> {
        let values = Stream::new(3, Domain::Test, index).normals(count);
        values.into_iter().map(f64::from).collect()
    }

    #[test]
    fn golden_case() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../shared/golden/metrics_gauss64.safetensors");
        if !path.is_file() {
            assert!(
                std::env::var_os("CI").is_none_or(|v| v != "true"),
                "{} is missing",
                path.display()
            );
            println!("skipped: {} is not here", path.display());
            return;
        }
        let file = File::read(&path).unwrap();
        let get = |name: &str| -> Vec<f64> { file.tensors[name].iter::<f64>().collect() };
        let close = |got: &[f64], name: &str, tolerance: f64| {
            let want = get(name);
            assert_eq!(got.len(), want.len());
            for (got, want) in got.iter().zip(want) {
                let error = (got - want).abs();
                assert!(
                    error <= tolerance * want.abs() + 1e-12,
                    "{name}: {got} instead of {want}"
                );
            }
        };
        let (reference, generated) = (moments(&get("in/ref"), 64), moments(&get("in/gen"), 64));
        close(&reference.mean, "out/mu_ref", 1e-12);
        close(&generated.mean, "out/mu_gen", 1e-12);
        close(&reference.covariance, "out/sigma_ref", 1e-12);
        close(&generated.covariance, "out/sigma_gen", 1e-12);
        let distance = frechet_distance(&reference, &generated).unwrap();
        close(&[distance], "out/fid", 1e-7);
    }

    #[test]
    fn known_distances() {
        let diagonal = |mean: [f64; 2], variance: [f64; 2]| Moments {
            count: 10,
            mean: mean.to_vec(),
            covariance: vec![variance[0], 0.0, 0.0, variance[1]],
            features: String::new(),
        };
        // Commuting covariances: |m|^2 + sum of (s1 - s2)^2.
        let (a, b) = (
            diagonal([0.0, 0.0], [1.0, 4.0]),
            diagonal([3.0, 4.0], [9.0, 0.0]),
        );
        let distance = frechet_distance(&a, &b).unwrap();
        assert!((distance - (25.0 + 4.0 + 4.0)).abs() < 1e-12, "{distance}");
        // In two dimensions tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)), M = S1 S2, which need not commute.
        let mut a = diagonal([0.0, 0.0], [2.0, 1.0]);
        let mut b = diagonal([0.0, 0.0], [1.0, 3.0]);
        (a.covariance[1], a.covariance[2]) = (0.5, 0.5);
        (b.covariance[1], b.covariance[2]) = (-1.0, -1.0);
        let (trace, determinant) = (2.0 + 3.0 - 2.0 * 0.5, (2.0 - 0.25) * (3.0 - 1.0));
        let overlap = f64::sqrt(trace + 2.0 * f64::sqrt(determinant));
        let distance = frechet_distance(&a, &b).unwrap();
        assert!(
            (distance - (7.0 - 2.0 * overlap)).abs() < 1e-12,
            "{distance}"
        );
    }

    #[test]
    fn singular_covariances_keep_their_digits() {
        // 10 vectors of 24 numbers: rank 9. The distance to itself is zero, to a shifted copy the shift.
        let rows = normals(0, 240);
        let a = moments(&rows, 24);
        let scale: f64 = a.covariance.iter().step_by(25).sum();
        assert!(frechet_distance(&a, &a).unwrap() < 1e-13 * scale);
        let shifted: Vec<f64> = rows.iter().map(|v| v + 0.5).collect();
        let distance = frechet_distance(&a, &moments(&shifted, 24)).unwrap();
        assert!((distance - 24.0 * 0.25).abs() < 1e-12 * scale, "{distance}");
        // Against no variance at all, the distance is the trace.
        let point = moments(&[0.0; 240], 24);
        let mean: f64 = a.mean.iter().map(|m| m * m).sum();
        let distance = frechet_distance(&a, &point).unwrap();
        assert!((distance - scale - mean).abs() < 1e-12 * scale);
    }

    #[test]
    fn one_reference_gives_the_distances_of_each() {
        let all = [1, 2, 3].map(|i| moments(&normals(i, 40), 8));
        let reference = FrechetReference::new(&all[0]);
        let found = reference.distances(&[&all[0], &all[1], &all[2]]).unwrap();
        for (found, other) in found.iter().zip(&all) {
            let expected = frechet_distance(other, &all[0]).unwrap();
            assert_eq!(*found, expected);
        }
    }

    #[test]
    fn it_is_symmetric_and_refuses_other_features() {
        let (a, b) = (moments(&normals(1, 600), 6), moments(&normals(2, 900), 6));
        let (ab, ba) = (
            frechet_distance(&a, &b).unwrap(),
            frechet_distance(&b, &a).unwrap(),
        );
        assert!((ab - ba).abs() < 1e-12 && ab > 0.0);
        let other = Moments {
            features: "x".into(),
            ..b
        };
        assert!(frechet_distance(&a, &other).is_err());
        assert!(frechet_distance(&a, &moments(&normals(2, 100), 5)).is_err());
    }
}
