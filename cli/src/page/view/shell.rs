//! The frame of every page: one file, with its style and the few lines of script in it.

use super::section::{Section, Tile};
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// What asks for the page again while a run goes on.
const LIVE: &str = include_str!("live.js");
/// Seconds between two looks of a browser without scripts.
const PAUSE: &str = "10";

/// What a page shows.
pub struct Page {
    head: Section,
    parts: Vec<Section>,
}

impl Page {
    /// Of one source, which is the page.
    pub fn of(mut parts: Vec<Section>) -> Self {
        let head = parts.remove(0);
        Self { head, parts }
    }

    /// Of several, with what compares them at the top.
    pub fn several(parts: Vec<Section>, head: Section) -> Self {
        Self { head, parts }
    }

    /// The file.
    pub fn html(&self, live: bool) -> String {
        let head = &self.head;
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="generator" content={ "fewstep " (env!("CARGO_PKG_VERSION")) };
                    @if live { noscript { meta http-equiv="refresh" content=(PAUSE); } }
                    @else { meta http-equiv="Content-Security-Policy"
                        content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"; }
                    link rel="icon" href="data:,";
                    title { (head.title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    main {
                        header {
                            h1 { (head.title) }
                            p.lead { (head.lead) }
                            (tiles(&head.tiles))
                            (head.hero)
                        }
                        @if self.parts.len() > 1 { (contents(&self.parts)) }
                        @for (title, section) in &head.sections { section { h2 { (title) } (section) } }
                        @for (at, part) in self.parts.iter().enumerate() { (article(at, part)) }
                        footer { "Made by fewstep " (env!("CARGO_PKG_VERSION")) "." @if !live { " This page is one file and asks for nothing else." } }
                    }
                    script { (PreEscaped(SCRIPT)) }
                    @if live { script { (PreEscaped(LIVE)) } }
                }
            }
        };
        page.into_string()
    }
}

fn contents(parts: &[Section]) -> Markup {
    html! { nav aria-label="Parts of this page" {
        @for (at, part) in parts.iter().enumerate() { a href={ "#part-" (at + 1) } { (part.title) } }
    } }
}

fn article(at: usize, part: &Section) -> Markup {
    html! { article id={ "part-" (at + 1) } {
        h2 { (part.title) }
        p.lead { (part.lead) }
        (tiles(&part.tiles))
        (part.hero)
        @for (title, section) in &part.sections { section { h3 { (title) } (section) } }
    } }
}

fn tiles(tiles: &[Tile]) -> Markup {
    html! { @if !tiles.is_empty() { div.tiles { @for tile in tiles {
        div { b { (tile.value) } span { (tile.what) } @if !tile.note.is_empty() { small { (tile.note) } } }
    } } } }
}
