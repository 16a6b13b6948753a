//! The part of one search for a recipe.

use super::compare::chart;
use super::measure::{Distance, distances};
use super::section::{Section, Tile};
use super::word;
use crate::page::chart::Line;
use crate::page::draw::calls;
use crate::page::source::{Entry, Search};
use crate::screen::progress::{duration, figure};
use maud::{Markup, html};

/// What one search says.
pub fn part(search: &Search) -> anyhow::Result<Section> {
    let best = search.best();
    let target = search.target();
    let mut entries: Vec<&Entry> = search.entries.iter().collect();
    let value = |entry: &Entry| entry.distance.unwrap_or(f64::INFINITY);
    entries.sort_by(|a, b| (b.rung.cmp(&a.rung)).then(value(a).total_cmp(&value(b))));
    let head = [
        "",
        "rung",
        "trajectories",
        "network forwards",
        "substeps",
        "levels",
        "free first step",
        "learning rate",
        "growth",
        target,
    ];
    let rows: Vec<Distance> = entries
        .iter()
        .filter(|e| e.distance.is_some())
        .map(|e| line(e))
        .collect();
    let away = entries.len() - rows.len();
    let mut sections = vec![(
        "Candidates",
        html! {
            (distances(&head, &rows))
            p.note { "The furthest trained first; smaller is better. " (search.images) " images behind each number."
                @if away > 0 { " " (away) " trainings ran away and have none." } }
        },
    )];
    let mut lines = Vec::new();
    for bracket in 0..=search.entries.iter().map(|e| e.bracket).max().unwrap_or(0) {
        let points = search.entries.iter().filter(|e| e.bracket == bracket);
        let points = points.filter_map(|e| Some([e.forwards as f64, e.distance?, 0.0]));
        let line = Line {
            name: format!("bracket {}", bracket + 1),
            points: points.collect(),
            joined: false,
        };
        if !line.points.is_empty() {
            lines.push(line);
        }
    }
    if !lines.is_empty() {
        sections.insert(
            0,
            (
                "Cost against quality",
                chart(target, "network forwards of training", lines)?,
            ),
        );
    }
    if let Some(recipe) = &search.recipe {
        sections.push((
            "The recipe that it found",
            html! { pre { code { (recipe) } } },
        ));
    }
    sections.push((
        "Provenance",
        word::facts(&[
            ("folder", html! { code { (search.folder.display()) } }),
            ("teacher, SHA-256", html! { code.long { (search.teacher) } }),
        ]),
    ));
    let seconds: f64 = search.entries.iter().map(|e| e.seconds).sum();
    Ok(Section {
        title: search.name.clone(),
        lead: lead(search, best),
        tiles: vec![
            Tile::new(
                best.and_then(|b| b.distance).map_or("–".into(), figure),
                target,
                "of the best",
            ),
            Tile::new(search.evaluations.to_string(), "network calls an image", ""),
            Tile::new(
                search.entries.len().to_string(),
                "measurements",
                duration(seconds),
            ),
            Tile::new(word::count(search.budget), "trajectories of budget", ""),
        ],
        hero: html! {},
        sections,
    })
}

fn lead(search: &Search, best: Option<&Entry>) -> Markup {
    let first = search
        .entries
        .iter()
        .find(|e| e.bracket == 0 && e.place == 0 && e.rung == 0);
    html! {
        "A search for the recipe of a student of " b { (calls(search.evaluations as usize)) }
        @match best.and_then(|best| Some((best, best.distance?))) {
            Some((best, distance)) => {
                ": the best is at " b { (figure(distance)) } " (" (search.target()) ") after " (word::count(best.trajectories)) " trajectories"
                @if let Some(begun) = first.and_then(|first| first.distance) {
                    ". The recipe that it began with was at " (figure(begun)) " in the first rung, after "
                    (word::count(first.map_or(0, |first| first.trajectories)))
                }
                "."
            },
            None => ". Nothing is measured yet."
        }
    }
}

fn line(entry: &Entry) -> Distance {
    let levels = match entry.curve {
        Some([slope, shift]) => format!("slope {}, shift {}", figure(slope), figure(shift)),
        None => "as in the first recipe".into(),
    };
    Distance {
        name: html! { (format!("{}.{}", entry.bracket + 1, entry.place + 1)) },
        cells: vec![
            html! { (entry.rung + 1) },
            html! { (word::count(entry.trajectories)) },
            html! { (word::count(entry.forwards)) },
            html! { (entry.substeps) },
            html! { (levels) },
            html! { (if entry.free_first_step { "yes" } else { "no" }) },
            html! { (figure(entry.learning_rate)) },
            html! { (figure(entry.growth)) },
        ],
        value: entry.distance.unwrap_or(f64::NAN),
        error: None,
    }
}
