//! Distances between sets of feature vectors, in f64.

use crate::golden::case::Case;
use crate::golden::measure::Report;
use crate::golden::measure::{Measure, Problem, largest, relative, worse};
use crate::metric::{
    Accumulator, KernelReference, Moments, PrdcReference, Vectors, frechet_distance,
};
use burn::tensor::Device;

/// Rows: means, covariances, the Fréchet distance, the kernel distance, and how the sets overlap.
pub(crate) fn run(case: &Case, _: &Device, report: Report<'_>) -> Result<(), Problem> {
    let (reference, generated) = (Set::read(case, "in/ref")?, Set::read(case, "in/gen")?);
    gaussian(case, &reference.moments()?, &generated.moments()?, report)?;
    report("kernel distance", kernel(case, &reference, &generated));
    overlap(case, &reference, &generated, report)
}

/// What depends on means and covariances.
fn gaussian(
    case: &Case,
    reference: &Moments,
    generated: &Moments,
    report: Report<'_>,
) -> Result<(), Problem> {
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
    let distance = frechet_distance(reference, generated)?;
    let distance = relative(&[distance], &case.values("out/fid")?);
    let tolerance = case.tolerance("rel_fid")?;
    report("Fréchet distance", Ok(Measure::new(distance, tolerance)));
    Ok(())
}

fn kernel(case: &Case, reference: &Set, generated: &Set) -> Result<Measure, Problem> {
    let config = case.config();
    let cubic = case.number(config, "kid_degree")? == 3.0
        && case.number(config, "kid_coef0")? == 1.0
        && config["kid_gamma"] == "1/dim"
        && config["kid_subsets"].is_null();
    if !cubic {
        let what = "a kernel other than (x . y / size + 1)^3, or subsets";
        return Err(Problem::unsupported(what));
    }
    let reference = KernelReference::new(reference.vectors()?, &|_, _| {})?;
    let distance = reference.distance(&generated.vectors()?, &|_, _| {})?;
    let error = relative(&[distance], &case.values("out/kid")?);
    Ok(Measure::new(error, case.tolerance("rel_kid")?))
}

/// What depends on nearest neighbours.
fn overlap(
    case: &Case,
    reference: &Set,
    generated: &Set,
    report: Report<'_>,
) -> Result<(), Problem> {
    let nearest = case.count(case.config(), "nearest_k")?;
    let tolerance = case.tolerance("prdc_abs")?;
    let [of_reference, of_generated] = [reference, generated]
        .map(|set| Ok::<_, Problem>(PrdcReference::new(set.vectors()?, nearest, &|_, _| {})?));
    let (of_reference, of_generated) = (of_reference?, of_generated?);
    let absolute = |got: &[f64], want: &str| {
        let want = case.values(want)?;
        Ok::<_, Problem>(largest(got, &want, |g, w| (g - w).abs()))
    };
    let radii = worse(
        absolute(&of_reference.radii(), "out/radii_ref")?,
        absolute(&of_generated.radii(), "out/radii_gen")?,
    );
    report("radii", Ok(Measure::new(radii, tolerance)));
    let found = of_reference.compare(&generated.vectors()?, &|_, _| {})?;
    for (name, value) in [
        ("precision", found.precision),
        ("recall", found.recall),
        ("density", found.density),
        ("coverage", found.coverage),
    ] {
        let error = absolute(&[value], &format!("out/{name}"));
        report(name, error.map(|error| Measure::new(error, tolerance)));
    }
    Ok(())
}

/// Feature vectors of a case.
struct Set {
    values: Vec<f64>,
    size: usize,
}

impl Set {
    fn read(case: &Case, name: &str) -> Result<Self, Problem> {
        let values = case.values(name)?;
        match case.data(name)?.shape().as_slice() {
            &[rows, size] if rows >= 2 && size > 0 => Ok(Self { values, size }),
            other => {
                let reason = format!("{name} has shape {other:?}, not two or more rows");
                Err(case.malformed(reason))
            }
        }
    }

    fn vectors(&self) -> Result<Vectors<'_, f64>, Problem> {
        Ok(Vectors::new(&self.values, self.size)?)
    }

    fn moments(&self) -> Result<Moments, Problem> {
        let mut sums = Accumulator::new(self.size);
        sums.push(&self.values)?;
        Ok(sums.finish("")?)
    }
}
