//! Distances between sets of feature vectors, in f64.

use super::Report;
use super::case::Case;
use super::measure::{Measure, Problem, largest, relative, worse};
use crate::metric::{Accumulator, Moments, frechet_distance};
use burn::tensor::Device;

/// Rows: means, covariances, the Fréchet distance, and what is not built yet.
pub(super) fn run(case: &Case, _: &Device, report: Report<'_>) -> Result<(), Problem> {
    let (reference, generated) = (moments(case, "in/ref")?, moments(case, "in/gen")?);
    let tolerance = case.tolerance("rel_mu_sigma")?;
    let floor = case.tolerance("abs_mu_sigma")? / tolerance;
    let error = |got: &[f64], want: &str| {
        let want = case.values(want)?;
        Ok::<_, Problem>(largest(got, &want, |g, w| {
            (g - w).abs() / (w.abs() + floor)
        }))
    };
    let means = worse(
        error(&reference.mean, "out/mu_ref")?,
        error(&generated.mean, "out/mu_gen")?,
    );
    report("mean", Ok(Measure::new(means, tolerance)));
    let covariances = worse(
        error(&reference.covariance, "out/sigma_ref")?,
        error(&generated.covariance, "out/sigma_gen")?,
    );
    report("covariance", Ok(Measure::new(covariances, tolerance)));
    let distance = frechet_distance(&reference, &generated)?;
    let distance = relative(&[distance], &case.values("out/fid")?);
    let tolerance = case.tolerance("rel_fid")?;
    report("Fréchet distance", Ok(Measure::new(distance, tolerance)));
    for later in ["kernel distance", "precision, recall, density, coverage"] {
        report(later, Err(Problem::unsupported(later)));
    }
    Ok(())
}

fn moments(case: &Case, name: &str) -> Result<Moments, Problem> {
    let rows = case.values(name)?;
    let shape = case.data(name)?.shape();
    match shape.as_slice() {
        [(2..), features @ (1..)] => {
            let mut sums = Accumulator::new(*features);
            sums.push(&rows);
            Ok(sums.finish("")?)
        }
        other => Err(case.malformed(format!("{name} has shape {other:?}, not two or more rows"))),
    }
}
