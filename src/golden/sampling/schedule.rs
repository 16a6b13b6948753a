//! Noise levels.

use crate::golden::case::Case;
use crate::golden::measure::Report;
use crate::golden::measure::{Measure, Problem, relative, worse};
use crate::grid::{LogAlphaTable, Spacing};
use burn::tensor::Device;
use serde_json::Value;
use std::collections::BTreeMap;

/// A row for each spacing (the worst of its grids) and for each table of a discrete-time model.
pub(crate) fn run(case: &Case, _: &Device, report: Report<'_>) -> Result<(), Problem> {
    let tolerance = case.tolerance("rel")?;
    let mut errors: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
    for entry in case.list(case.config(), "entries")? {
        let error = grid_error(case, entry)?;
        let (count, worst) = errors
            .entry(case.text(entry, "schedule_type")?)
            .or_insert((0, 0.0));
        *count += 1;
        *worst = worse(*worst, error);
    }
    for (name, (count, worst)) in errors {
        let run = format!("{name} ({count} grids)");
        report(&run, Ok(Measure::new(worst, tolerance)));
    }
    for entry in case.list(case.config(), "tables")? {
        let name = case.text(entry, "name")?;
        let error = table_error(case, entry, name)?;
        report(&format!("table {name}"), Ok(Measure::new(error, tolerance)));
    }
    Ok(())
}

fn grid_error(case: &Case, entry: &Value) -> Result<f64, Problem> {
    let id = case.text(entry, "id")?;
    let want = case.values(&format!("out/{id}"))?;
    if case.count(entry, "num_steps")? != want.len() || want.len() < 2 {
        return Err(case.malformed(format!("out/{id} has not `num_steps` values")));
    }
    let grid = spacing(case, entry)?.grid(
        want.len() - 1,
        case.number(entry, "sigma_min")?,
        case.number(entry, "sigma_max")?,
    )?;
    Ok(relative(grid.levels(), &want))
}

fn table_error(case: &Case, entry: &Value, name: &str) -> Result<f64, Problem> {
    let table = table(case, entry)?;
    let mut worst = relative(&[table.sigma_max()], &[case.number(entry, "sigma_max")?]);
    let query = |given: &str, wanted: &str, of: &dyn Fn(f64) -> f64| {
        let given = case.values(&format!("in/{name}/{given}"))?;
        let wanted = case.values(&format!("out/{name}/{wanted}"))?;
        let got: Vec<f64> = given.into_iter().map(of).collect();
        Ok::<_, Problem>(relative(&got, &wanted))
    };
    worst = worse(
        worst,
        query("t_query", "sigma_of_t", &|t| table.sigma_of_t(t))?,
    );
    worst = worse(
        worst,
        query("sigma_query", "t_of_sigma", &|s| table.t_of_sigma(s))?,
    );
    Ok(worst)
}

/// The spacing that an entry, a run or a trace describes.
pub(crate) fn spacing(case: &Case, of: &Value) -> Result<Spacing, Problem> {
    let rho = case.number(of, "schedule_rho")?;
    Ok(match case.text(of, "schedule_type")? {
        "polynomial" => Spacing::Polynomial { rho },
        "logsnr" => Spacing::LogSnr {},
        "time_uniform" => Spacing::TimeUniform { rho },
        "discrete" => {
            let name = case.text(of, "table")?;
            let tables = case.list(case.config(), "tables")?;
            let entry = tables.iter().find(|t| t["name"] == name);
            let entry = entry.ok_or_else(|| case.malformed(format!("there is no table {name}")))?;
            Spacing::Discrete {
                rho,
                table: table(case, entry)?,
            }
        }
        other => return Err(Problem::unsupported(format!("spacing {other:?}"))),
    })
}

fn table(case: &Case, entry: &Value) -> Result<LogAlphaTable, Problem> {
    Ok(LogAlphaTable::scaled_linear(
        case.number(entry, "beta_start")?,
        case.number(entry, "beta_end")?,
        case.count(entry, "num")?,
    )?)
}
