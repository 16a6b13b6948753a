//! A setting's value as it is typed.

use toml::{Table, Value};

/// A TOML value; a bare word is a string.
pub fn value(text: &str) -> Option<Value> {
    let parsed: Result<Table, _> = toml::from_str(&format!("value = {text}"));
    if let Ok(mut table) = parsed
        && table.len() == 1
    {
        return table.remove("value");
    }
    let word = |c: char| c.is_ascii_alphanumeric() || "-_+".contains(c);
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(word);
    is_word.then(|| Value::String(text.into()))
}
