//! Lists of prompts: text, CSV and JSON.

use super::record::{Fault, Records};
use crate::Error;
use crate::data::foreign;
use serde_json::Value;
use std::path::Path;

/// The columns of a table, and the keys of an object, that hold prompts, in any case and plural or not: the first that there
/// is.
const KEYS: [&str; 3] = ["text", "caption", "prompt"];
const EXPECTED: &str = "list of prompts";
/// Headings and keys that are named in a message.
const NAMED: usize = 8;

/// Reads the prompts of a file:
/// * `.csv` and `.tsv`: the column `text`, `caption` or `prompt`, in quotes where need be; a `.csv` file may have semicolons
///   or tabs between its fields;
/// * `.json`, `.jsonl` and `.ndjson`: an array, or a line for each, of texts or of objects with a text under `text`, `caption`
///   or `prompt`. A file of another name that is such an array as a whole, or such objects line by line, is read alike;
/// * anything else: a line for each.
///
/// The file is UTF-8. Lines of nothing but white space are no prompts; in CSV and JSON an empty text is one.
///
/// # Errors
/// [`Error::File`] if it cannot be read, [`Error::Malformed`] if it holds no prompt or is not what its name says.
pub fn read(path: &Path) -> Result<Vec<String>, Error> {
    let bytes = std::fs::read(path).map_err(Error::file("read", path))?;
    if let Some(kind) = foreign::kind(path).filter(|kind| !PLAIN.contains(&kind.as_str())) {
        let reason = format!("it is {kind}. {ACCEPTED}");
        return Err(malformed(path, reason));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(malformed(path, "it is UTF-16; save it as UTF-8"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        malformed(
            path,
            format!("byte {at} is no UTF-8; save it in this encoding"),
        )
    })?;
    read_text(&text, path)
}

/// What a list may be; an empty one has an error of its own.
const PLAIN: [&str; 2] = ["a text file", "an empty file"];
const ACCEPTED: &str = "Prompts are read from lines of text, CSV, TSV, JSON and JSON lines";

/// As [`read`], of a text; `path` gives the extension, and is for messages.
///
/// # Errors
/// [`Error::Malformed`], as [`read`].
pub fn read_text(text: &str, path: &Path) -> Result<Vec<String>, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let extension = path.extension().and_then(|e| e.to_str());
    let extension = extension.unwrap_or_default().to_lowercase();
    let prompts = match extension.as_str() {
        "csv" => table(text, delimiter(text), path)?,
        "tsv" => table(text, '\t', path)?,
        "json" | "jsonl" | "ndjson" => json(text, path)?,
        _ if is_json(text) => json(text, path)?,
        _ => lines(text).map(|(_, line)| line.to_string()).collect(),
    };
    if prompts.is_empty() {
        let reason = match text.trim().is_empty() {
            true => "it is empty; write a prompt on each line",
            false => match extension.as_str() {
                "csv" | "tsv" => "there is no prompt in it, only a heading",
                _ => "there is no prompt in it, only an empty list",
            },
        };
        return Err(malformed(path, reason));
    }
    Ok(prompts)
}

/// The lines that are not empty, trimmed, with their numbers from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = (1..).zip(text.lines().map(str::trim));
    lines.filter(|(_, line)| !line.is_empty())
}

/// The place of the best key among names, in any case and plural or not.
fn best<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<usize> {
    let is = |name: &str, key: &str| {
        let name = name.trim().to_lowercase();
        name == key || name.strip_suffix('s') == Some(key)
    };
    let place = |key: &&str| names.clone().position(|name| is(name, key));
    KEYS.iter().find_map(place)
}

/// `text`, `caption` or `prompt`.
fn keys() -> String {
    let [first, second, third] = KEYS;
    format!("`{first}`, `{second}` or `{third}`")
}

/// A few names for a message.
fn some<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = names.collect();
    let named = all[..all.len().min(NAMED)].join(", ");
    match all.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// What stands between the fields of a `.csv` file: where its heading has no comma, perhaps what some programs write.
fn delimiter(text: &str) -> char {
    let heading = lines(text).next().map_or("", |(_, heading)| heading);
    let others = [',', ';', '\t'].into_iter();
    others
        .into_iter()
        .find(|d| heading.contains(*d))
        .unwrap_or(',')
}

fn table(text: &str, delimiter: char, path: &Path) -> Result<Vec<String>, Error> {
    let mut records = Records::of(text, delimiter);
    let wrong = |(line, reason): Fault| malformed(path, format!("line {line} {reason}"));
    let Some((_, headings)) = records.next().map_err(wrong)? else {
        return Ok(Vec::new());
    };
    let Some(column) = best(headings.iter().map(String::as_str)) else {
        let reason = format!(
            "it has no column {}, but {}; a file without a heading, a prompt on each line, is named .txt",
            keys(),
            some(headings.iter().map(String::as_str))
        );
        return Err(malformed(path, reason));
    };
    let mut prompts = Vec::new();
    while let Some((line, mut fields)) = records.next().map_err(wrong)? {
        if fields.len() != headings.len() {
            let (got, want) = (fields.len(), headings.len());
            let reason = format!("line {line} has {got} fields where the heading has {want}");
            return Err(malformed(path, reason));
        }
        prompts.push(fields.swap_remove(column));
    }
    Ok(prompts)
}

/// Whether a text without a telling name is JSON all the same: an array as a whole, or an object on each line. A single line in
/// brackets or braces is a prompt, unless it is JSON.
fn is_json(text: &str) -> bool {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
    match text.trim_start().chars().next() {
        Some('[') => parsed(text).is_some_and(|value| value.is_array()),
        Some('{') => {
            parsed(text).is_some()
                || lines(text).all(|(_, line)| parsed(line).is_some_and(|value| value.is_object()))
        }
        _ => false,
    }
}

/// An array, or a value on each line.
fn json(text: &str, path: &Path) -> Result<Vec<String>, Error> {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(entries)) => {
            let entries = (1..).zip(&entries);
            return entries
                .map(|(number, entry)| prompt(entry, &format!("entry {number}"), path))
                .collect();
        }
        Ok(Value::Object(object)) if best(object.keys().map(String::as_str)).is_none() => {
            let keys = some(object.keys().map(String::as_str));
            let reason = format!(
                "it is an object with {keys}; write an array of texts, such as [\"a cat\", \"a dog\"]"
            );
            return Err(malformed(path, reason));
        }
        // A file of one line, or of many.
        _ => {}
    }
    if text.trim_start().starts_with('[') {
        let error = serde_json::from_str::<Value>(text).err();
        let reason = error.map_or_else(String::new, |error| error.to_string());
        return Err(malformed(path, format!("it is no JSON: {reason}")));
    }
    let prompt = |(number, line)| {
        let value = serde_json::from_str(line);
        let value = value.map_err(|e| malformed(path, format!("line {number} is no JSON: {e}")))?;
        prompt(&value, &format!("line {number}"), path)
    };
    lines(text).map(prompt).collect()
}

/// The prompt of one entry: a text, or an object that holds it.
fn prompt(entry: &Value, place: &str, path: &Path) -> Result<String, Error> {
    let refuse = |reason: String| Err(malformed(path, format!("{place} {reason}")));
    let object = match entry {
        Value::String(text) => return Ok(text.clone()),
        Value::Object(object) => object,
        other => return refuse(format!("is {}, not a text or an object", kind(other))),
    };
    let names = object.keys().map(String::as_str);
    let Some(at) = best(names.clone()) else {
        let others = match object.is_empty() {
            true => "nothing".into(),
            false => some(names),
        };
        return refuse(format!("has no text under {}, but {others}", keys()));
    };
    match object.iter().nth(at) {
        Some((_, Value::String(text))) => Ok(text.clone()),
        Some((key, other)) => refuse(format!("has {} under `{key}`, not a text", kind(other))),
        None => refuse("is empty".into()),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn malformed(path: &Path, reason: impl ToString) -> Error {
    Error::malformed(path, EXPECTED, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, text: &str) -> Result<Vec<String>, String> {
        read_text(text, Path::new(name)).map_err(|e| e.to_string())
    }

    #[test]
    fn the_same_prompts_in_three_forms() {
        let expected = vec!["a cat, red".to_string(), "two \"dogs\"".to_string()];
        for (name, text) in [
            ("p.txt", "\u{feff}a cat, red\r\n\n  two \"dogs\"  \n"),
            ("p", "a cat, red\ntwo \"dogs\""),
            (
                "p.csv",
                "id,text\n1,\"a cat, red\"\n2,\"two \"\"dogs\"\"\"\n",
            ),
            (
                "p.TSV",
                "text\tid\na cat, red\t1\n\"two \"\"dogs\"\"\"\t2\n",
            ),
            (
                "p.jsonl",
                "{\"text\": \"a cat, red\", \"n\": 1}\n\n{\"text\": \"two \\\"dogs\\\"\"}\n",
            ),
        ] {
            assert_eq!(of(name, text).as_ref(), Ok(&expected), "{name}");
        }
        assert_eq!(of("p.csv", "text\n\"a\nb\"\n"), Ok(vec!["a\nb".into()]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (name, text, expected) in [
            (
                "p.txt",
                " \n\n",
                "p.txt is not a valid list of prompts: it is empty",
            ),
            ("p.csv", "", "it is empty"),
            ("p.jsonl", "\n", "it is empty"),
            ("p.csv", "text\n", "only a heading"),
            (
                "p.csv",
                "title,id\nx,1\n",
                "no column `text`, `caption` or `prompt`, but title, id; a file without",
            ),
            (
                "p.csv",
                "text,id\nx,1\n\ny\n",
                "line 4 has 1 fields where the heading has 2",
            ),
            (
                "p.csv",
                "text\n\"a\nb\"\n\"c\n",
                "line 4 has a quote that is not closed",
            ),
            (
                "p.csv",
                "text\n\"a\nb\"c\n",
                "line 3 goes on behind a closing quote",
            ),
            (
                "p.jsonl",
                "{\"text\": \"a\"}\n{\"title\": 1}\n",
                "line 2 has no text under `text`, `caption` or `prompt`, but title",
            ),
            ("p.jsonl", "{\"text\": \"a\"}\nx\n", "line 2 is no JSON"),
        ] {
            let error = of(name, text).unwrap_err();
            assert!(error.contains(expected), "{name}: {error}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latin.txt");
        std::fs::write(&path, b"caf\xe9\n").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("byte 3 is no UTF-8"), "{error}");
    }

    #[test]
    fn json_is_read_whatever_its_name_says() {
        let expected = vec!["a cat, red".to_string(), "[a] dog".to_string()];
        let objects = r#"{"Prompt": "a cat, red", "n": 1}
            {"Prompt": "[a] dog"}"#;
        let array = r#"["a cat, red", {"id": 3, "caption": "[a] dog"}]"#;
        for name in ["p.json", "p.jsonl", "p.NDJSON", "p.txt", "p"] {
            assert_eq!(of(name, array).as_ref(), Ok(&expected), "{name}");
            assert_eq!(of(name, objects).as_ref(), Ok(&expected), "{name}");
        }
        let texts = "\"a cat, red\"\n\n\"[a] dog\"\n";
        assert_eq!(of("p.jsonl", texts).as_ref(), Ok(&expected));
        // The best key where there are several, and one line is one prompt.
        let both = r#"{"caption": "no", "text": "yes"}"#;
        assert_eq!(of("p.json", both), Ok(vec!["yes".into()]));
        // What only looks like it is a prompt.
        for text in ["[red] cat", "{a|b} cat", "[a cat]", "(((\"a\")))"] {
            assert_eq!(of("p.txt", text), Ok(vec![text.to_string()]));
        }
        for (text, expected) in [
            (
                r#"{"images": [], "annotations": []}"#,
                "an object with annotations, images; write an array",
            ),
            ("[\"a\", 3]", "entry 2 is a number"),
            ("[{\"text\": [\"a\"]}]", "entry 1 has an array under `text`"),
            (
                "[{\"title\": \"a\"}]",
                "entry 1 has no text under `text`, `caption` or `prompt`, but title",
            ),
            ("[\"a\",", "it is no JSON: EOF"),
            ("[]", "no prompt in it"),
            ("", "it is empty"),
            ("3", "line 1 is a number"),
        ] {
            let error = of("p.json", text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn tables_are_read_as_they_come() {
        let expected = vec!["a cat".to_string(), "a dog".to_string()];
        for (name, text) in [
            ("p.csv", "Caption,id\na cat,1\na dog,2\n"),
            ("p.csv", "id;Prompts\n1;a cat\n2;\"a dog\"\n"),
            ("p.csv", "id\tPROMPT\n1\ta cat\n2\ta dog\n"),
            (
                "p.tsv",
                "Prompt\tCategory\r\na cat\tanimals\r\na dog\tanimals\r\n",
            ),
            ("p.csv", "prompt,text\nno,a cat\nno,a dog\n"),
        ] {
            assert_eq!(of(name, text).as_ref(), Ok(&expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_list_is_called_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes, expected) in [
            (
                "a.txt",
                &b"PAR1..."[..],
                "it is a Parquet file. Prompts are read from",
            ),
            (
                "b.json",
                b"version https://git-lfs.github.com/spec/v1\n",
                "git lfs pull",
            ),
            ("c.csv", b"<!DOCTYPE html><p>", "page of the web"),
            ("d.txt", b"\xff\xfea\0\n\0", "UTF-16"),
            ("e.txt", b"\x89PNG\r\n\x1a\n", "single picture"),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
