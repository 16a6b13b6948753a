//! Distances with their error bars, and the page of one measurement.

use super::section::{Section, Tile, table};
use super::word;
use crate::page::source::{Evaluation, Protocol};
use crate::screen::progress::figure;
use maud::{Markup, PreEscaped, html};

/// A row of a table of distances.
pub struct Distance {
    pub name: Markup,
    /// What stands behind the number.
    pub cells: Vec<Markup>,
    pub value: f64,
    pub error: Option<f64>,
}

/// A table in which each number has its place on a common scale that begins at nothing; the number's title is the last of `head`.
pub fn distances(head: &[&str], rows: &[Distance]) -> Markup {
    let finite = rows.iter().map(|row| row.value + row.error.unwrap_or(0.0));
    let most = finite.filter(|v| v.is_finite()).fold(0.0, f64::max);
    let cells: Vec<Vec<Markup>> = rows
        .iter()
        .map(|row| {
            let value = html! { b { (word::spread(row.value, row.error)) } };
            let mut cells = vec![
                row.name.clone(),
                value,
                interval(row.value, row.error, most),
            ];
            cells.extend(row.cells.iter().cloned());
            cells
        })
        .collect();
    // What matters first: on a phone the rest is beside the page.
    let [name, rest @ ..] = head else {
        return html! {};
    };
    let (value, rest) = rest
        .split_last()
        .map_or(("", rest), |(value, rest)| (*value, rest));
    let head: Vec<&str> = [*name, value, ""]
        .into_iter()
        .chain(rest.iter().copied())
        .collect();
    html! { div.distances { (table(&head, &cells)) } }
}

/// A bar from nothing to a number, with its error bar.
pub fn interval(value: f64, error: Option<f64>, most: f64) -> Markup {
    let place = |value: f64| 1.0 + 98.0 * (value / most.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
    let whisker = error.filter(|error| *error > 0.0).map(|error| {
        let [low, high] = [place(value - error), place(value + error)];
        format!("<path class=\"whisker\" d=\"M{low:.1} 8H{high:.1}M{low:.1} 4v8M{high:.1} 4v8\"/>")
    });
    let width = place(value) - 1.0;
    PreEscaped(format!(
        "<svg class=\"bar\" viewBox=\"0 0 100 16\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <rect x=\"1\" y=\"3\" width=\"{width:.1}\" height=\"10\" rx=\"1\"/>{}</svg>",
        whisker.unwrap_or_default()
    ))
}

/// What is measured of a model by `evaluate`, number by number.
pub fn scores(all: &[Evaluation]) -> Markup {
    html! { @for found in all {
        div.measured {
            p.note {
                b { (found.file) }
                @if let Some(hash) = &found.hash { " " (word::hash(hash)) }
                @if let Some(n) = found.evaluations { ", " (n) " network calls" }
                @if let Some(n) = found.images { ", " (word::count(n)) " images" }
                @if let Some((name, hash)) = &found.features { "; features " (name) " " (word::hash(hash)) }
                @if let Some(n) = found.blocks { "; ± of distances is the standard error, from " (n) " parts of the images" }
            }
            (table(&["", "value"], &found.scores.iter().map(|score| vec![
                html! { (score.title()) },
                html! { b { (word::spread(score.value, score.error)) } },
            ]).collect::<Vec<_>>()))
            @if let Some(found) = &found.protocol { (protocol(found)) }
        }
    } }
}

/// How a published protocol was followed, and what was published.
fn protocol(found: &Protocol) -> Markup {
    let repeats = found.repeats.iter().map(|(first, last, distance)| {
        vec![
            html! { "seeds " (first) " to " (last) },
            html! { (format!("{distance:.2}")) },
        ]
    });
    let published = found.published.iter().map(|(figure, method, source)| {
        vec![
            html! { "published: " (method) " (" (source) ")" },
            html! { (figure) },
        ]
    });
    let rows: Vec<Vec<Markup>> = repeats.chain(published).collect();
    html! {
        p.note { "The least distance of the repeats counts, as EDM states it." }
        (table(&["", "Frechet distance"], &rows))
        @if found.published.is_none() { p.note { "No published figure is known for this method and number of calls." } }
        @for deviation in &found.deviations { p.note { "Not the protocol: " (deviation) "." } }
    }
}

/// The page of one measurement.
pub fn part(found: &Evaluation) -> Section {
    let tiles = found.scores.iter().take(6).map(|score| {
        let note = score.error.map(|error| format!("± {}", figure(error)));
        Tile::new(figure(score.value), score.title(), note.unwrap_or_default())
    });
    let lead = html! {
        "Images of " code { (found.file) }
        @if let Some(sampling) = &found.sampling { ", sampled with " (sampling) }
        @if let Some(n) = found.images { ": " (word::count(n)) " of them" }
        "."
    };
    let mut facts = Vec::new();
    if let Some(hash) = &found.hash {
        facts.push(("model, SHA-256", html! { code.long { (hash) } }));
    }
    if let Some((name, hash)) = &found.features {
        facts.push(("features", html! { (name) br; code.long { (hash) } }));
    }
    if let Some(from) = &found.from {
        facts.push(("read from", html! { code { (from.display()) } }));
    }
    Section {
        title: found.name.clone(),
        lead,
        tiles: tiles.collect(),
        hero: html! {},
        sections: vec![
            ("Measurements", scores(std::slice::from_ref(found))),
            ("Provenance", word::facts(&facts)),
        ],
    }
}
