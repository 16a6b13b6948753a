//! The part of one sweep.

use super::compare::chart;
use super::measure::{Distance, distances};
use super::section::{Section, Tile};
use super::word;
use crate::page::chart::{Chart, Line};
use crate::page::source::{Row, Sweep};
use crate::screen::progress::figure;
use maud::{PreEscaped, html};
use std::collections::{BTreeMap, BTreeSet};

/// What one sweep says.
pub fn part(sweep: &Sweep) -> anyhow::Result<Section> {
    let rows = &sweep.rows;
    let best = rows.iter().min_by(|a, b| a.distance.total_cmp(&b.distance));
    let mut by_calls: BTreeMap<u64, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        by_calls.entry(row.evaluations).or_default().push(row);
    }
    let mut sections = Vec::new();
    let others = rows.first().map(|row| row.others.as_slice());
    let others = others.unwrap_or_default().iter().map(|(title, ..)| *title);
    let last = ["seeds", "network forwards", "minutes", sweep.distance];
    let head: Vec<&str> = ["", "rank"].into_iter().chain(others).chain(last).collect();
    sections.push((
        "Distances",
        html! {
            @for (calls, rows) in &by_calls {
                p.note { b { (crate::page::draw::calls(*calls as usize)) } }
                (distances(&head, &rows.iter().map(|row| line(row)).collect::<Vec<_>>()))
            }
            p.note { "Smaller is better; ± is the standard deviation over the seeds of training." }
        },
    ));
    let mut charts = Vec::new();
    let cost: Vec<Line> = by_calls
        .iter()
        .map(|(calls, rows)| {
            let mut points: Vec<[f64; 3]> = rows
                .iter()
                .filter(|row| row.forwards > 0)
                .map(|row| {
                    [
                        row.forwards as f64,
                        row.distance,
                        row.deviation.unwrap_or(0.0),
                    ]
                })
                .collect();
            points.sort_by(|a, b| a[0].total_cmp(&b[0]));
            Line {
                name: crate::page::draw::calls(*calls as usize),
                points,
                joined: false,
            }
        })
        .filter(|line| !line.points.is_empty())
        .collect();
    let places: BTreeSet<u64> = rows.iter().map(|row| row.forwards).collect();
    if places.len() > 1 && !cost.is_empty() {
        charts.push(chart(
            &format!("{} by cost of training", capital(sweep.distance)),
            "network forwards of training",
            cost,
        )?);
    }
    if by_calls.len() > 1 {
        let of_each = rows
            .iter()
            .fold(BTreeMap::<&str, Vec<[f64; 3]>>::new(), |mut all, row| {
                let point = [
                    row.evaluations as f64,
                    row.distance,
                    row.deviation.unwrap_or(0.0),
                ];
                all.entry(&row.name).or_default().push(point);
                all
            });
        let lines = of_each.into_iter().filter(|(_, points)| points.len() > 1);
        let lines: Vec<Line> = lines
            .map(|(name, points)| Line {
                name: name.into(),
                points,
                joined: true,
            })
            .collect();
        if !lines.is_empty() {
            charts.push(chart(
                &format!("{} by calls of the network", capital(sweep.distance)),
                "network calls an image",
                lines,
            )?);
        }
    }
    if !charts.is_empty() {
        sections.push((
            "Cost against quality",
            html! { @for chart in &charts { (chart) } },
        ));
    }
    let curves: Vec<&(String, Vec<[f64; 2]>)> = sweep
        .curves
        .iter()
        .filter(|(_, points)| points.len() > 1)
        .collect();
    if !curves.is_empty() {
        let mut drawn = Vec::new();
        for (name, points) in curves.iter().take(24) {
            let small = Chart {
                title: name,
                x: "trajectories",
                log_x: false,
                lines: vec![Line::curve("", points.iter().copied())],
            };
            let last = points.last().map_or(f64::NAN, |point| point[1]);
            drawn.push(html! { figure { figcaption { b { (name) } " " (figure(last)) " at last" } (PreEscaped(small.svg()?)) } });
        }
        sections.push((
            "Training: distance to the teacher after the last step, first seed",
            html! {
                div.charts { @for chart in &drawn { (chart) } }
            },
        ));
    }
    let folder = sweep.folder.display();
    sections.push((
        "Provenance",
        word::facts(&[
            ("folder", html! { code { (folder) } }),
            (
                "tables",
                html! { code { (folder) "/sweep.csv" } ", " code { (folder) "/sweep.md" } },
            ),
        ]),
    ));
    // A student of several numbers of calls has a row for each, and was trained once.
    let settings = rows
        .iter()
        .map(|row| (row.name.as_str(), row.forwards * row.seeds));
    let settings: BTreeMap<&str, u64> = settings.collect();
    let trained: u64 = settings.values().sum();
    Ok(Section {
        title: sweep.title.clone(),
        lead: html! {
            @if let Some(best) = best {
                "The best of " (rows.len()) " rows is " b { (best.name) } " at " (crate::page::draw::calls(best.evaluations as usize))
                ", with a " (sweep.distance) " of " b { (word::spread(best.distance, best.deviation)) } ". "
            }
            @for about in &sweep.about { (about) " " }
        },
        tiles: vec![
            Tile::new(settings.len().to_string(), "settings measured", ""),
            Tile::new(
                best.map_or("–".into(), |row| figure(row.distance)),
                format!("least {}", sweep.distance),
                "",
            ),
            Tile::new(
                word::about(trained),
                "network forwards of training",
                "a backward pass counts as two",
            ),
        ],
        hero: html! {},
        sections,
    })
}

/// With a capital at the beginning.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn line(row: &Row) -> Distance {
    let others = row.others.iter();
    let others = others.map(|(_, value, spread)| html! { (word::spread(*value, *spread)) });
    Distance {
        name: html! { (row.name) },
        cells: [html! { (row.rank) }]
            .into_iter()
            .chain(others)
            .chain([
                html! { (row.seeds) },
                html! { (word::count(row.forwards)) },
                html! { (figure(row.minutes)) },
            ])
            .collect(),
        value: row.distance,
        error: row.deviation,
    }
}
