//! Cleaning of a text, and the words that it is cut into.

use super::vocabulary::SPECIAL;
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// What comes after an apostrophe and is a word with it, in the order in which they are tried.
const CONTRACTIONS: [&str; 7] = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];

/// Composed characters (NFC) in lower case, one by one: a sigma at the end of a word stays a plain one.
pub(super) fn clean(text: &str) -> String {
    text.nfc().flat_map(char::to_lowercase).collect()
}

/// Parts of a text without white space, with the byte each starts at.
pub(super) fn chunks(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let start = text.as_ptr().addr();
    let chunks = text.split_whitespace();
    chunks.map(move |chunk| (chunk.as_ptr().addr() - start, chunk))
}

/// A part of a clean chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// The start or end of a text, written out: index into [`SPECIAL`].
    Special(usize),
    /// A contraction, letters, one digit, or a run of anything else.
    Word(&'a str),
}

/// Cuts a clean chunk; the parts together are the chunk.
pub(super) fn parts(chunk: &str) -> Vec<Piece<'_>> {
    let mut parts = Vec::new();
    let mut rest = chunk;
    loop {
        let found = SPECIAL.iter().enumerate();
        let found = found.filter_map(|(i, special)| Some((rest.find(special)?, i)));
        let Some((at, special)) = found.min() else {
            break;
        };
        words(&rest[..at], &mut parts);
        parts.push(Piece::Special(special));
        rest = &rest[at + SPECIAL[special].len()..];
    }
    words(rest, &mut parts);
    parts
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Digit,
    Other,
}

fn class(character: char) -> Class {
    match character.general_category_group() {
        GeneralCategoryGroup::Letter => Class::Letter,
        GeneralCategoryGroup::Number => Class::Digit,
        _ => Class::Other,
    }
}

fn words<'a>(mut rest: &'a str, parts: &mut Vec<Piece<'a>>) {
    while let Some(first) = rest.chars().next() {
        let contraction = CONTRACTIONS.iter().find(|c| rest.starts_with(**c));
        let length = match (contraction, class(first)) {
            (Some(contraction), _) => contraction.len(),
            (None, Class::Digit) => first.len_utf8(),
            (None, kind) => rest.find(|c| class(c) != kind).unwrap_or(rest.len()),
        };
        let (word, after) = rest.split_at(length);
        parts.push(Piece::Word(word));
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (_, chunk) in chunks(text) {
            let chunk = clean(chunk);
            found.extend(parts(&chunk).into_iter().map(|part| match part {
                Piece::Special(i) => format!("#{i}"),
                Piece::Word(word) => word.to_string(),
            }));
        }
        found
    }

    #[test]
    fn words_are_those_of_the_pattern() {
        assert_eq!(
            all("I'LL go, 4k!!"),
            ["i", "'ll", "go", ",", "4", "k", "!!"]
        );
        assert_eq!(all("''s 'x"), ["''", "s", "'", "x"]);
        assert_eq!(
            all("a<|EndOfText|>!<|startoftext|>"),
            ["a", "#1", "!", "#0"]
        );
        assert_eq!(all(" \t\u{3000}\n"), [] as [&str; 0]);
        // A mark that is no letter, a Roman numeral that is a number, and composition.
        assert_eq!(
            all("ก\u{e34}ก Ⅳx E\u{301}"),
            ["ก", "\u{e34}", "ก", "ⅳ", "x", "é"]
        );
    }

    #[test]
    fn chunks_know_where_they_start() {
        let found: Vec<_> = chunks("  añb\u{a0}c ").collect();
        assert_eq!(found, [(2, "añb"), (8, "c")]);
    }
}
