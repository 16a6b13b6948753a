//! The part of one training: sentence, numbers, pictures, curves, recipe and where all of it comes from.

use super::measure::{Distance, distances, scores};
use super::section::{Section, Tile, table};
use super::word;
use crate::page::chart::{Chart, Line};
use crate::page::draw::{Sheets, calls};
use crate::page::embed::Embed;
use crate::page::source::{RECIPE, Run, Summary, Tick};
use crate::run::recipe::Kind;
use crate::screen::progress::{bytes, duration, figure};
use maud::{Markup, PreEscaped, html};

/// What one run says. `rows` is how many drawn rows are on the whole page.
pub fn part(
    run: &Run,
    drawn: Option<&Sheets>,
    rows: usize,
    embed: &Embed,
) -> anyhow::Result<Section> {
    let previews = previews(run, embed)?;
    let demo = run.picture.as_deref().filter(|_| drawn.is_none());
    let demo = demo.map(|picture| embed.preview(picture, 4)).transpose()?;
    let mut sections = Vec::new();
    let hero = match (drawn, demo) {
        (Some(sheets), _) => sheet(sheets, rows),
        (None, Some(picture)) => {
            html! { figure.frames { img src=(picture) alt="Rows of pictures for the same seeds: teacher, teacher with few calls, student"; } }
        }
        (None, None) => previews.clone().unwrap_or_else(|| html! {}),
    };
    let measured = measured(run);
    if let Some(table) = measured {
        sections.push(("Distances", table));
    }
    if !run.evaluations.is_empty() {
        sections.push(("Measurements", scores(&run.evaluations)));
    }
    if let Some(curves) = curves(run)? {
        sections.push(("Training", curves));
    }
    if let Some(previews) = previews.filter(|_| !hero_is_preview(run, drawn)) {
        sections.push(("Previews while it was trained", previews));
    }
    sections.push((
        "Recipe",
        html! {
            details { summary { "recipe.toml, all of it" } pre { code { (run.recipe) } } }
        },
    ));
    sections.push(("Provenance", provenance(run)));
    Ok(Section {
        title: run.name.clone(),
        lead: lead(run),
        tiles: tiles(run),
        hero,
        sections,
    })
}

fn hero_is_preview(run: &Run, drawn: Option<&Sheets>) -> bool {
    drawn.is_none() && run.picture.is_none()
}

/// The one sentence.
fn lead(run: &Run) -> Markup {
    let done = run.ticks.last().map_or(0, |tick| tick.units);
    let unit = run.unit();
    let card = run.card();
    if let Some(summary) = &run.summary
        && let [teacher, plain, student] = summary.rows.as_slice()
    {
        let times = plain.frechet / student.frechet;
        return html! {
            "A student of " b { (calls(student.evaluations as usize)) } ": its Frechet distance is " b { (figure(student.frechet)) }
            ", where the teacher has " (figure(plain.frechet)) " with as many and " (figure(teacher.frechet)) " with "
            (calls(teacher.evaluations as usize)) @if times > 1.0 { " — " (figure(times)) " times closer to the data than without distillation" } "."
        };
    }
    let state = match (run.finished, run.rounds) {
        (true, _) => html! {},
        (false, Some(rounds)) => {
            let round = run.ticks.last().map_or(0, |tick| tick.round);
            html! { " Round " (word::count(round)) " of " (word::count(rounds)) " so far." }
        }
        (false, None) => html! { " It is not finished." },
    };
    match run.kind {
        Kind::Distillation => {
            let few = card.and_then(|card| card.sampling.allowed_evaluations().ok());
            let few = few.or_else(|| {
                run.distillation
                    .as_ref()?
                    .sampling()
                    .allowed_evaluations()
                    .ok()
            });
            let few = few.map(|few| match few.start() == few.end() {
                true => calls(*few.start()),
                false => format!("{} to {}", few.start(), calls(*few.end())),
            });
            html! {
                "A student of " b { (few.unwrap_or_default()) } ", distilled on " (word::count(done)) " " (unit) " of "
                @match run.parent() { Some(parent) => { "teacher " (word::hash(parent)) }, None => { "its teacher" } }
                "." (state)
                @if let Some((frechet, error)) = run.frechet() { " Frechet distance " b { (word::spread(frechet, error)) } "." }
            }
        }
        Kind::Teacher => html! {
            "A teacher, trained on " (word::count(done)) " " (unit) " (repeats counted)."
            (state)
            @if let Some((frechet, error)) = run.frechet() { " Frechet distance " b { (word::spread(frechet, error)) } "." }
        },
        Kind::Features => html! {
            "A classifier whose features distances are measured by, trained on " (word::count(done)) " " (unit) "." (state)
        },
    }
}

/// The numbers that matter.
fn tiles(run: &Run) -> Vec<Tile> {
    let mut tiles = Vec::new();
    if let Some(card) = run.card()
        && run.kind == Kind::Distillation
        && let Ok(range) = card.sampling.allowed_evaluations()
    {
        let value = match range.start() == range.end() {
            true => range.start().to_string(),
            false => format!("{} to {}", range.start(), range.end()),
        };
        tiles.push(Tile::new(
            value,
            "network calls an image",
            card.sampling.solver.to_string(),
        ));
    }
    if let Some((frechet, error)) = run.quality() {
        let note = match (error, &run.summary) {
            (Some(error), _) => format!("± {}", figure(error)),
            (None, Some(summary)) => undistilled(summary),
            _ => String::new(),
        };
        tiles.push(Tile::new(figure(frechet), "Frechet distance", note));
    }
    if let Some(last) = run.ticks.last() {
        let rounds = match run.rounds {
            Some(rounds) if rounds > last.round => {
                format!(
                    "{:.0} % of the run",
                    100.0 * last.round as f64 / rounds as f64
                )
            }
            _ => format!("{} rounds", word::count(last.round)),
        };
        tiles.push(Tile::new(word::count(last.units), run.unit(), rounds));
        let rate = format!("{} {} a second", figure(last.rate), run.unit());
        tiles.push(Tile::new(duration(last.seconds), "of training", rate));
    }
    if let Some(forwards) = run.forwards() {
        let note = "a backward pass counts as two";
        tiles.push(Tile::new(word::about(forwards), "network forwards", note));
    }
    if let Some(card) = run.card() {
        let parameters = word::about(card.network.parameter_count());
        let [channels, height, width] = card.network.image_shape();
        let colour = match channels {
            1 => ", grey".into(),
            3 => ", colour".into(),
            n => format!(", {n} channels"),
        };
        tiles.push(Tile::new(
            parameters,
            "parameters",
            format!("{width} × {height}{colour}"),
        ));
    }
    tiles
}

fn undistilled(summary: &Summary) -> String {
    let plain = summary.rows.iter().find(|row| row.title == "undistilled");
    plain.map_or(String::new(), |row| {
        format!("{} undistilled", figure(row.frechet))
    })
}

/// What the demo measured.
fn measured(run: &Run) -> Option<Markup> {
    let summary = run.summary.as_ref()?;
    let rows: Vec<Distance> = summary
        .rows
        .iter()
        .map(|row| Distance {
            name: html! { (match row.title { "undistilled" => "teacher, not distilled", other => other }) },
            cells: vec![
                html! { (row.evaluations) },
                html! { (figure(row.paired)) },
                html! { (figure(row.rate)) },
                html! { (word::count(row.images)) },
            ],
            value: row.frechet,
            error: None,
        })
        .collect();
    let head = [
        "",
        "network calls",
        "paired",
        "images a second",
        "images",
        "Frechet distance",
    ];
    Some(html! {
        (distances(&head, &rows))
        p.note { "Smaller is better. Paired: root mean square difference to the teacher's image of the same seed, pixels in [-1, 1]. "
            "Measuring and training took " (duration(summary.seconds)) "." }
    })
}

/// A chart for the loss, or for the distance of each step, and for rate and speed.
fn curves(run: &Run) -> anyhow::Result<Option<Markup>> {
    let ticks = &run.ticks;
    let values = ticks.last().map_or(0, |tick| tick.values.len());
    let unit = run.unit();
    let mut charts = Vec::new();
    for at in 0..values {
        let title = match (run.kind, values) {
            (Kind::Distillation, 1) => "Distance to the teacher at the end".into(),
            (Kind::Distillation, _) => format!("Distance to the teacher after step {}", at + 1),
            _ => "Loss".into(),
        };
        let points = ticks
            .iter()
            .filter_map(|t| Some([t.units as f64, *t.values.get(at)?]));
        charts.push((title, Line::curve("", points)));
    }
    let rate = ticks.iter().map(|t| [t.units as f64, t.learning_rate]);
    charts.push(("Learning rate".into(), Line::curve("", rate)));
    let speed = ticks.iter().map(|t| [t.units as f64, t.rate]);
    charts.push((format!("Speed, {unit} a second"), Line::curve("", speed)));
    let mut drawn = Vec::new();
    for (title, line) in charts {
        let last = line.points.last().map_or(f64::NAN, |point| point[1]);
        let chart = Chart {
            title: &title,
            x: unit,
            log_x: false,
            lines: vec![line],
        };
        if !chart.is_empty() {
            drawn.push(html! { figure { figcaption { b { (title) } " " (figure(last)) " at last" } (PreEscaped(chart.svg()?)) } });
        }
    }
    let free = run
        .distillation
        .as_ref()
        .is_some_and(|r| r.analytic_first_step && r.variable_steps.is_none());
    let about = html! { @if run.kind == Kind::Distillation {
        p.note { "Distances are summed over all pixels of an image and averaged over a batch; they should fall."
            @if free { " The first step asks no network and is not trained." } }
    } };
    let numbers = numbers(run);
    Ok(match (drawn.is_empty(), ticks.is_empty()) {
        (_, true) => None,
        (true, false) => {
            Some(html! { p.note { "One tick only, so there is no curve to draw." } (numbers) })
        }
        (false, _) => {
            Some(html! { (about) div.charts { @for chart in &drawn { (chart) } } (numbers) })
        }
    })
}

/// Ticks in a table; of many, some.
fn numbers(run: &Run) -> Markup {
    const ROWS: usize = 60;
    let every = run.ticks.len().div_ceil(ROWS).max(1);
    let last = run.ticks.len().saturating_sub(1);
    let chosen = run
        .ticks
        .iter()
        .enumerate()
        .filter(|(at, _)| (last - at).is_multiple_of(every));
    let row = |(_, tick): (usize, &Tick)| {
        let values: Vec<_> = tick.values.iter().map(|v| figure(*v)).collect();
        vec![
            html! { (word::count(tick.round)) },
            html! { (word::count(tick.units)) },
            html! { (duration(tick.seconds)) },
            html! { (values.join(", ")) },
            html! { (figure(tick.learning_rate)) },
        ]
    };
    let rows: Vec<_> = chosen.map(row).collect();
    let what = match run.kind {
        Kind::Distillation => "distances",
        _ => "loss",
    };
    html! { details { summary { "Numbers" } (table(&["round", run.unit(), "time", what, "learning rate"], &rows)) } }
}

/// The previews, one at a time where there are scripts.
fn previews(run: &Run, embed: &Embed) -> anyhow::Result<Option<Markup>> {
    let chosen = embed.choose(&run.previews);
    let Some(last) = chosen.len().checked_sub(1) else {
        return Ok(None);
    };
    let mut frames = Vec::new();
    for (round, path) in &chosen {
        let round = match run.rounds {
            Some(rounds) => format!("round {} of {}", word::count(*round), word::count(rounds)),
            None => format!("round {}", word::count(*round)),
        };
        frames.push((round, embed.preview(path, chosen.len())?));
    }
    let all = run.previews.len();
    Ok(Some(html! {
        div.frames data-frames="" {
            div.control hidden {
                label { "Preview" }
                input type="range" min="0" max=(last) step="1" value=(last) aria-label="Round of the preview";
                output {}
            }
            @for (at, (round, picture)) in frames.iter().enumerate() {
                figure data-frame=(round) hidden[at != last] { img src=(picture) alt={ "What it draws at " (round) } loading="lazy"; }
            }
            @if all > chosen.len() { p.note { (chosen.len()) " of " (all) " previews." } }
        }
    }))
}

/// Teacher, undistilled and student in rows, a tab for each number of calls.
fn sheet(sheets: &Sheets, rows: usize) -> Markup {
    html! { div data-tabs="" {
        @for sheet in &sheets.sheets {
            div.strips data-tab=(calls(sheet.evaluations)) tabindex="0" { div.inner style={ "--n:" (sheets.labels.len()) } {
                @for row in &sheet.rows {
                    figure {
                        figcaption { (row.title) }
                        img src=(Embed::row(row.png.clone(), rows)) alt={ (row.title) ", seeds " (sheets.labels.join(", ")) };
                    }
                }
                p.note { "Same seed in each column" @if let (Some(first), Some(last)) = (sheets.labels.first(), sheets.labels.last()) {
                    " (" (first) " to " (last) ")" } "." }
            } }
        }
    } }
}

/// Files, hashes and the commands that make them again.
fn provenance(run: &Run) -> Markup {
    let recipe = run.folder.join(RECIPE);
    let recipe = recipe.display();
    let mut rows = Vec::new();
    if let Some(product) = &run.product {
        rows.push((
            "file",
            html! { code { (product.path.display()) } ", " (bytes(product.bytes)) },
        ));
        rows.push(("SHA-256", html! { code.long { (product.hash) } }));
    }
    if let Some(parent) = run.parent() {
        let what = match run.kind {
            Kind::Distillation => "teacher, SHA-256",
            _ => "started from, SHA-256",
        };
        rows.push((what, html! { code.long { (parent) } }));
    }
    if let Some(card) = run.card() {
        rows.push(("made by", html! { "fewstep " (card.version) }));
    }
    if let Some(summary) = &run.summary {
        let trajectories = run.ticks.last().map_or(0, |tick| tick.units);
        let images = summary.rows.last().map_or(0, |row| row.images);
        let demo =
            format!("fewstep demo --trajectories {trajectories} --images {images} --out DIR");
        rows.push(("measured by", html! { code { (demo) } }));
    }
    let again = match run.kind {
        Kind::Distillation => format!("fewstep distill {recipe} --teacher FILE --out DIR"),
        _ => format!("fewstep train {recipe} --data DIR --out DIR"),
    };
    rows.push(("made again by", html! { code { (again) } }));
    if let Some(product) = &run.product
        && run.kind != Kind::Features
    {
        let path = product.path.display();
        rows.push((
            "drawn by",
            html! { code { "fewstep sample " (path) " --seeds 0-63 --out images --grid" } },
        ));
    }
    word::facts(&rows)
}
