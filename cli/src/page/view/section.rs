//! A part of a page.

use maud::{Markup, html};

/// What one source says: the page's own, if it is the only one, or a part of it.
pub struct Section {
    pub title: String,
    /// The one sentence.
    pub lead: Markup,
    /// The numbers that matter.
    pub tiles: Vec<Tile>,
    /// The picture that matters.
    pub hero: Markup,
    /// The rest, each with a title.
    pub sections: Vec<(&'static str, Markup)>,
}

/// A number with what it is.
pub struct Tile {
    pub value: String,
    pub what: String,
    pub note: String,
}

impl Tile {
    pub fn new(value: impl Into<String>, what: impl Into<String>, note: impl Into<String>) -> Self {
        Self {
            value: value.into(),
            what: what.into(),
            note: note.into(),
        }
    }
}

/// A table that can be pushed aside where it is too wide.
pub fn table(head: &[&str], rows: &[Vec<Markup>]) -> Markup {
    html! {
        div.wide tabindex="0" {
            table {
                thead { tr { @for cell in head { th scope="col" { (cell) } } } }
                tbody { @for row in rows { tr { @for cell in row { td { (cell) } } } } }
            }
        }
    }
}
