//! Numbers, hashes and lines in words.

use crate::page::draw::short;
use maud::{Markup, html};

/// A whole number with spaces between its thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A large number, short.
pub fn about(number: u64) -> String {
    let number = number as f64;
    match number {
        n if n >= 1e9 => format!("{:.2} billion", n / 1e9),
        n if n >= 1e6 => format!("{:.2} million", n / 1e6),
        n => count(n as u64),
    }
}

/// A number and half of its error bar.
pub fn spread(value: f64, error: Option<f64>) -> String {
    use crate::screen::progress::figure;
    match error {
        Some(error) if error > 0.0 => format!("{} ± {}", figure(value), figure(error)),
        _ => figure(value),
    }
}

/// The beginning of a hash, all of it on demand.
pub fn hash(hash: &str) -> Markup {
    html! { code title=(hash) { (short(hash)) } }
}

/// A label and what it says.
pub fn facts(rows: &[(&str, Markup)]) -> Markup {
    html! { dl { @for (what, says) in rows { div { dt { (what) } dd { (says) } } } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_at_a_glance() {
        assert_eq!(count(7), "7");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(
            (about(2_500_000), about(999)),
            ("2.50 million".into(), "999".into())
        );
        assert_eq!(
            (spread(5.05, Some(0.2)), spread(5.05, None)),
            ("5.05 ± 0.200".into(), "5.05".into())
        );
    }
}
