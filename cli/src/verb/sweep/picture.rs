//! The picture of a sweep: distance against a setting, the cost or the number of network calls. A build without the feature
//! `plots` draws none.

#![cfg_attr(
    not(feature = "plots"),
    allow(dead_code, reason = "what only drawings need")
)]

use super::plan::Plan;
use super::table::{Row, deviation, mean};
#[cfg(feature = "plots")]
use anyhow::anyhow;
#[cfg(feature = "plots")]
use fewstep::model::write_atomically;
#[cfg(feature = "plots")]
use plotters::prelude::*;
use std::path::Path;

/// Size in pixels of the drawing's coordinates; SVG scales.
pub const SIZE: (u32, u32) = (900, 560);
const FONT: &str = "sans-serif";

/// What belongs together in a picture.
pub struct Series {
    /// For the legend; none if empty.
    pub name: String,
    /// From left to right: place, height, and half of the error bar.
    pub points: Vec<[f64; 3]>,
}

/// Names and scales of the axes.
pub struct Axes<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
    pub log_x: bool,
    pub log_y: bool,
    /// Names for the places 0, 1, ... to the right.
    pub names: Vec<String>,
}

/// Draws the rows.
pub fn draw(plan: &Plan, rows: &[Row<'_>], path: &Path) -> anyhow::Result<()> {
    let point = |x: f64, row: &Row<'_>| {
        [
            x,
            mean(row.distances()),
            deviation(row.distances()).unwrap_or(0.0),
        ]
    };
    let mut series: Vec<Series> = Vec::new();
    let mut names = Vec::new();
    let mut add = |name: String, point| match series.iter_mut().find(|s| s.name == name) {
        Some(series) => series.points.push(point),
        None => series.push(Series {
            name,
            points: vec![point],
        }),
    };
    let several = rows
        .iter()
        .any(|row| row.evaluations != rows[0].evaluations);
    match &plan.plot.x {
        Some(key) => {
            for row in rows {
                if let Some(x) = place(row, key) {
                    add(series_name(row, key), point(x, row));
                }
            }
        }
        None => {
            for row in rows {
                let at = names.iter().position(|n| *n == row.trial.name);
                let at = at.unwrap_or_else(|| {
                    names.push(row.trial.name.clone());
                    names.len() - 1
                });
                let name = match several {
                    true => format!("{} evaluations", row.evaluations),
                    false => String::new(),
                };
                add(name, point(at as f64, row));
            }
        }
    }
    for series in &mut series {
        series.points.sort_by(|a, b| a[0].total_cmp(&b[0]));
    }
    let axes = Axes {
        title: &plan.title,
        x: plan.plot.x.as_deref().unwrap_or(""),
        y: rows.first().map_or("", Row::distance),
        log_x: plan.plot.log_x,
        log_y: plan.plot.log_y,
        names,
    };
    write(&series, &axes, path)
}

/// Where a row stands to the right.
fn place(row: &Row<'_>, key: &str) -> Option<f64> {
    match key {
        "nfe" => Some(row.evaluations as f64),
        "forwards" => Some(row.forwards as f64),
        _ => row.trial.number(key),
    }
}

/// What a row has in common with those that are joined to it by a line.
fn series_name(row: &Row<'_>, key: &str) -> String {
    if row.trial.number(key).is_none() || row.trial.settings.iter().all(|(k, _)| k != key) {
        return row.trial.name.clone();
    }
    let others = row.trial.settings.iter().filter(|(k, _)| k != key);
    let others: Vec<_> = others.map(|(k, v)| format!("{k} = {v}")).collect();
    others.join(", ")
}

/// Writes nothing: tables say the same.
#[cfg(not(feature = "plots"))]
#[allow(clippy::unnecessary_wraps, reason = "as where it is drawn")]
pub fn write(_series: &[Series], _axes: &Axes<'_>, _path: &Path) -> anyhow::Result<()> {
    Ok(())
}

/// Writes an SVG file.
#[cfg(feature = "plots")]
pub fn write(series: &[Series], axes: &Axes<'_>, path: &Path) -> anyhow::Result<()> {
    if series.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    plot(series, axes, &mut text).map_err(|e| anyhow!("cannot draw {}: {e}", path.display()))?;
    Ok(write_atomically(path, text.as_bytes())?)
}

/// A scale that is linear or logarithmic: what is drawn, and what its numbers stand for.
#[derive(Clone, Copy)]
struct Scale {
    log: bool,
    low: f64,
    high: f64,
}

impl Scale {
    fn new(log: bool, values: impl Iterator<Item = f64> + Clone) -> Self {
        // A logarithm needs positive numbers.
        let log = log && values.clone().all(|v| v > 0.0);
        let drawn = values.map(|v| if log { v.log10() } else { v });
        let low = drawn.clone().fold(f64::INFINITY, f64::min);
        let high = drawn.fold(f64::NEG_INFINITY, f64::max);
        let room = if high > low { 0.06 * (high - low) } else { 0.5 };
        Self {
            log,
            low: low - room,
            high: high + room,
        }
    }

    fn of(self, value: f64) -> f64 {
        if self.log {
            // Error bars may go below zero.
            value.max(f64::MIN_POSITIVE).log10().max(self.low)
        } else {
            value
        }
    }

    fn label(self, drawn: f64) -> String {
        let value = if self.log { 10f64.powf(drawn) } else { drawn };
        match value.abs() {
            v if v >= 1e5 => format!("{value:.1e}"),
            v if v >= 100.0 => format!("{value:.0}"),
            v if v >= 10.0 => format!("{value:.1}"),
            _ => format!("{value:.2}"),
        }
    }
}

#[cfg(feature = "plots")]
type Failed = Box<dyn std::error::Error>;

/// Height in pixels of a line of the legend.
const ROW: i32 = 18;

/// What the numbers to the right and the colours stand for.
#[cfg(feature = "plots")]
fn legend(series: &[Series], axes: &Axes<'_>) -> Vec<(Option<RGBAColor>, String)> {
    let numbers = axes.names.iter().enumerate();
    let numbers = numbers.map(|(at, name)| (None, format!("{}  {name}", at + 1)));
    let colors = series
        .iter()
        .enumerate()
        .filter(|(_, s)| !s.name.is_empty());
    let colors = colors.map(|(at, s)| (Some(Palette99::pick(at).to_rgba()), s.name.clone()));
    colors.chain(numbers).collect()
}

#[cfg(feature = "plots")]
fn plot(series: &[Series], axes: &Axes<'_>, text: &mut String) -> Result<(), Failed> {
    let points = || series.iter().flat_map(|s| &s.points);
    let x = match axes.names.len() {
        0 => Scale::new(axes.log_x, points().map(|p| p[0])),
        n => Scale {
            log: false,
            low: -0.5,
            high: n as f64 - 0.5,
        },
    };
    let y = Scale::new(axes.log_y, points().map(|p| p[1]));
    // Room for the error bars.
    let (least, most) = points().fold((y.low, y.high), |(low, high), p| {
        (low.min(y.of(p[1] - p[2])), high.max(y.of(p[1] + p[2])))
    });
    let legend = legend(series, axes);
    let columns = if legend.iter().any(|(_, l)| l.len() > 60) {
        1
    } else {
        2
    };
    let rows = legend.len().div_ceil(columns) as i32;
    let below = if rows > 0 { rows * ROW + 12 } else { 0 };
    let size = (SIZE.0, SIZE.1 + below as u32);
    let root = SVGBackend::with_string(text, size).into_drawing_area();
    root.fill(&WHITE)?;
    let (above, under) = root.split_vertically(SIZE.1);
    let mut chart = ChartBuilder::on(&above)
        .caption(axes.title, (FONT, 18))
        .margin(12)
        .x_label_area_size(45)
        .y_label_area_size(70)
        .build_cartesian_2d(x.low..x.high, least..most)?;
    let name = |at: &f64| match axes.names.is_empty() {
        true => x.label(*at),
        false => {
            let whole = (at - at.round()).abs() < 1e-6 && *at > -0.5;
            let number = at.round() as usize + 1;
            if whole && number <= axes.names.len() {
                number.to_string()
            } else {
                String::new()
            }
        }
    };
    let height = |at: &f64| y.label(*at);
    let mut mesh = chart.configure_mesh();
    mesh.x_desc(axes.x)
        .y_desc(axes.y)
        .x_label_formatter(&name)
        .y_label_formatter(&height)
        .light_line_style(WHITE)
        .label_style((FONT, 13));
    if !axes.names.is_empty() {
        mesh.x_labels(2 * axes.names.len() + 1);
    }
    mesh.draw()?;
    for (at, one) in series.iter().enumerate() {
        let color = Palette99::pick(at).to_rgba();
        let line = one.points.iter().map(|p| (x.of(p[0]), y.of(p[1])));
        if axes.names.is_empty() {
            chart.draw_series(LineSeries::new(line.clone(), color.stroke_width(2)))?;
        }
        let bars = one.points.iter().filter(|p| p[2] > 0.0).map(|p| {
            let (low, high) = (y.of(p[1] - p[2]), y.of(p[1] + p[2]));
            ErrorBar::new_vertical(x.of(p[0]), low, y.of(p[1]), high, color.filled(), 8)
        });
        chart.draw_series(bars)?;
        let dots = line.map(|at| Circle::new(at, 4, color.filled()));
        chart.draw_series(dots)?;
    }
    // Under the plot, where it hides nothing.
    for (at, (color, line)) in legend.into_iter().enumerate() {
        let (row, column) = (at as i32 % rows, at as i32 / rows);
        let (x, y) = (30 + column * (SIZE.0 as i32 / columns as i32), row * ROW);
        if let Some(color) = color {
            under.draw(&Circle::new((x, y + ROW / 2), 4, color.filled()))?;
        }
        under.draw(&Text::new(line, (x + 14, y + 3), (FONT, 13)))?;
    }
    root.present()?;
    Ok(())
}

#[cfg(feature = "plots")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_its_points_names_and_title() {
        let series = [
            Series {
                name: "one".into(),
                points: vec![[1.0, 5.0, 0.5], [10.0, 3.0, 0.0]],
            },
            Series {
                name: "two".into(),
                points: vec![[1.0, 4.0, 0.0]],
            },
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.svg");
        let mut axes = Axes {
            title: "A title",
            x: "cost",
            y: "height",
            log_x: true,
            log_y: false,
            names: vec![],
        };
        write(&series, &axes, &path).unwrap();
        let text = fs_err::read_to_string(&path).unwrap();
        for word in ["A title", "cost", "height", "one", "two"] {
            assert!(text.contains(word), "{word}");
        }
        // Three points, the middle of an error bar, and two signs of the legend.
        assert_eq!(text.matches("<circle").count(), 6);
        axes.names = vec!["first run".into(), "second run".into()];
        write(&series[1..], &axes, &path).unwrap();
        let text = fs_err::read_to_string(&path).unwrap();
        assert!(
            text.contains("first run") && text.contains("second run"),
            "{text}"
        );
        write(&[], &axes, &folder.path().join("none.svg")).unwrap();
        assert!(!folder.path().join("none.svg").exists());
    }
}
