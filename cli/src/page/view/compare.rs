//! Several sources beside each other.

use super::measure::{Distance, distances};
use super::section::{Section, Tile};
use super::word;
use crate::page::chart::{COLOURS, Chart, Line};
use crate::page::source::{FRECHET, Run, Shown};
use crate::run::recipe::Kind;
use crate::screen::progress::duration;
use maud::{Markup, PreEscaped, html};

/// What stands above the parts.
pub fn part(sources: &[Shown]) -> anyhow::Result<Section> {
    let ranked = ranked(sources);
    let mut sections = Vec::new();
    if !ranked.is_empty() {
        let head = [
            "",
            "network calls",
            "network forwards",
            "time of training",
            "Frechet distance",
        ];
        sections.push(("Distances", html! {
            (distances(&head, &ranked))
            p.note { "Smaller is better. Distances compare only where features and reference are the same. ± is the standard error where one run was measured in parts, "
                "and the deviation over seeds in a sweep." }
        }));
    }
    if let Some(cost) = cost(sources)? {
        sections.push(("Cost against quality", cost));
    }
    let curves = curves(sources)?;
    if !curves.is_empty() {
        sections.push(("Training", html! { @for chart in &curves { (chart) } }));
    }
    let names: Vec<&str> = sources.iter().map(Shown::name).collect();
    let best = best(sources);
    Ok(Section {
        title: match names.len() {
            0..=3 => names.join(", "),
            n => format!("{n} results"),
        },
        lead: html! {
            (names.len()) " results beside each other"
            @match &best {
                Some((name, value)) => { ": the least Frechet distance is " b { (value) } ", of " b { (name) } "." },
                None => "."
            }
        },
        tiles: tiles(sources),
        hero: html! {},
        sections,
    })
}

/// One point of the comparison.
struct Point {
    name: String,
    evaluations: Option<u64>,
    forwards: Option<u64>,
    seconds: Option<f64>,
    frechet: f64,
    error: Option<f64>,
}

fn points(source: &Shown) -> Vec<Point> {
    match source {
        Shown::Run(run) => of_run(run).into_iter().collect(),
        Shown::Evaluation(found) => found
            .score("frechet")
            .map(|score| Point {
                name: found.name.clone(),
                evaluations: found.evaluations,
                forwards: None,
                seconds: None,
                frechet: score.value,
                error: score.error,
            })
            .into_iter()
            .collect(),
        Shown::Sweep(sweep) => sweep
            .rows
            .iter()
            .filter(|_| sweep.distance == FRECHET)
            .map(|row| Point {
                name: format!("{}: {}", sweep.name, row.name),
                evaluations: Some(row.evaluations),
                forwards: Some(row.forwards).filter(|n| *n > 0),
                seconds: Some(row.minutes * 60.0).filter(|s| *s > 0.0),
                frechet: row.distance,
                error: row.deviation,
            })
            .collect(),
        Shown::Search(search) => search
            .best()
            .filter(|_| search.frechet)
            .and_then(|best| {
                Some(Point {
                    name: format!("{}: the best", search.name),
                    evaluations: Some(search.evaluations),
                    forwards: Some(best.forwards),
                    seconds: None,
                    frechet: best.distance?,
                    error: None,
                })
            })
            .into_iter()
            .collect(),
    }
}

fn of_run(run: &Run) -> Option<Point> {
    let (frechet, error) = run.quality()?;
    let own = run.card().and_then(|card| card.sampling.evaluations().ok());
    Some(Point {
        name: run.name.clone(),
        evaluations: own.map(|n| n as u64),
        forwards: run.forwards(),
        seconds: run.ticks.last().map(|tick| tick.seconds),
        frechet,
        error,
    })
}

fn sorted(sources: &[Shown]) -> Vec<Point> {
    let mut all: Vec<Point> = sources.iter().flat_map(points).collect();
    all.sort_by(|a, b| a.frechet.total_cmp(&b.frechet));
    all
}

fn ranked(sources: &[Shown]) -> Vec<Distance> {
    const ROWS: usize = 30;
    let dash = || "–".to_string();
    let row = |point: Point| Distance {
        name: html! { (point.name) },
        cells: vec![
            html! { (point.evaluations.map_or_else(dash, |n| n.to_string())) },
            html! { (point.forwards.map_or_else(dash, word::count)) },
            html! { (point.seconds.map_or_else(dash, duration)) },
        ],
        value: point.frechet,
        error: point.error,
    };
    sorted(sources).into_iter().take(ROWS).map(row).collect()
}

fn best(sources: &[Shown]) -> Option<(String, String)> {
    let best = sorted(sources).into_iter().next()?;
    Some((best.name, word::spread(best.frechet, best.error)))
}

fn tiles(sources: &[Shown]) -> Vec<Tile> {
    let count = |what: fn(&&Shown) -> bool| sources.iter().filter(what).count();
    let kinds = [
        (count(|s| matches!(s, Shown::Run(_))), "run", "runs"),
        (count(|s| matches!(s, Shown::Sweep(_))), "sweep", "sweeps"),
        (
            count(|s| matches!(s, Shown::Search(_))),
            "search",
            "searches",
        ),
        (
            count(|s| matches!(s, Shown::Evaluation(_))),
            "measurement",
            "measurements",
        ),
    ];
    let kinds = kinds.into_iter().filter(|(n, ..)| *n > 0);
    let tile = |(n, one, more): (usize, &str, &str)| {
        Tile::new(n.to_string(), if n == 1 { one } else { more }, "")
    };
    kinds.map(tile).collect()
}

/// Distance by what the training cost, and by what an image costs.
fn cost(sources: &[Shown]) -> anyhow::Result<Option<Markup>> {
    type By = fn(&Point) -> Option<u64>;
    let choices: [(&str, &str, By); 2] = [
        (
            "Frechet distance by cost of training",
            "network forwards of training",
            |p| p.forwards,
        ),
        (
            "Frechet distance by cost of an image",
            "network calls an image",
            |p| p.evaluations,
        ),
    ];
    let mut charts = Vec::new();
    for (title, x, by) in choices {
        let line = |source: &Shown| {
            let mut points: Vec<[f64; 3]> = points(source)
                .iter()
                .filter_map(|p| Some([by(p)? as f64, p.frechet, p.error.unwrap_or(0.0)]))
                .collect();
            points.sort_by(|a, b| a[0].total_cmp(&b[0]));
            Line {
                name: source.name().into(),
                points,
                joined: false,
            }
        };
        let lines: Vec<Line> = sources
            .iter()
            .map(line)
            .filter(|l| !l.points.is_empty())
            .collect();
        // All at one place are in the table already.
        let mut places = lines
            .iter()
            .flat_map(|line| &line.points)
            .map(|point| point[0]);
        let first = places.next();
        if places.all(|place| Some(place) == first) {
            continue;
        }
        let chart = Chart {
            title,
            x,
            log_x: x.starts_with("network forwards"),
            lines,
        };
        charts.push(html! { figure { figcaption { b { (title) } } (legend(&chart)) (PreEscaped(chart.svg()?)) } });
    }
    Ok(
        (!charts.is_empty())
            .then(|| html! { div.charts.few { @for chart in &charts { (chart) } } }),
    )
}

/// Losses of all teachers in one chart, last distances of all students in another.
fn curves(sources: &[Shown]) -> anyhow::Result<Vec<Markup>> {
    let mut charts = Vec::new();
    for (kind, title, x) in [
        (
            Kind::Distillation,
            "Distance to the teacher after the last step",
            "trajectories",
        ),
        (Kind::Teacher, "Loss of teachers", "images"),
    ] {
        let runs = sources
            .iter()
            .filter_map(Shown::run)
            .filter(|run| run.kind == kind);
        let line = |run: &Run| {
            let points = run.ticks.iter();
            let points = points.filter_map(|t| Some([t.units as f64, *t.values.last()?]));
            Line::curve(&run.name, points)
        };
        let lines: Vec<Line> = runs
            .map(line)
            .filter(|line| line.points.len() > 1)
            .collect();
        if lines.len() > 1 {
            charts.push(chart(title, x, lines)?);
        }
    }
    Ok(charts)
}

/// A chart of several lines, with what their colours stand for; no more lines than there are colours.
pub fn chart(title: &str, x: &str, mut lines: Vec<Line>) -> anyhow::Result<Markup> {
    let all = lines.len();
    lines.truncate(COLOURS.len());
    let shown = lines.len();
    let chart = Chart {
        title,
        x,
        log_x: false,
        lines,
    };
    Ok(html! { div.charts.few { figure {
        figcaption { b { (title) } @if all > shown { " (the first " (shown) " of " (all) ")" } }
        (legend(&chart))
        (PreEscaped(chart.svg()?))
    } } })
}

/// What the colours stand for.
fn legend(chart: &Chart<'_>) -> Markup {
    html! { @if chart.lines.len() > 1 { ul.legend { @for (at, line) in chart.lines.iter().enumerate() {
        li { svg viewBox="0 0 10 10" aria-hidden="true" { circle class={ "s" (at % COLOURS.len() + 1) } cx="5" cy="5" r="5" {} } (line.name) }
    } } } }
}
