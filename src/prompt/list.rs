//! Lists of prompts: text, CSV and JSON lines.

use crate::Error;
use serde_json::Value;
use std::path::Path;

/// The column of a CSV file, and the key in a line of JSON.
const KEY: &str = "text";
const EXPECTED: &str = "list of prompts";

/// Reads the prompts of a file, by its extension:
/// * `.csv` and `.tsv`: the column `text`, in quotes where need be;
/// * `.jsonl` and `.ndjson`: a line for each, an object with a text under `text`;
/// * anything else: a line for each.
///
/// The file is UTF-8. Lines of nothing but white space are no prompts; in CSV and JSON an empty text is one.
///
/// # Errors
/// [`Error::File`] if it cannot be read, [`Error::Malformed`] if it holds no prompt or is not what its name says.
pub fn read(path: &Path) -> Result<Vec<String>, Error> {
    let bytes = std::fs::read(path).map_err(Error::file("read", path))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        malformed(path, format!("byte {at} is no UTF-8; save it in this encoding"))
    })?;
    read_text(&text, path)
}

/// As [`read`], of a text; `path` gives the extension, and is for messages.
///
/// # Errors
/// [`Error::Malformed`], as [`read`].
pub fn read_text(text: &str, path: &Path) -> Result<Vec<String>, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let extension = path.extension().and_then(|e| e.to_str());
    let extension = extension.unwrap_or_default().to_lowercase();
    let prompts = match extension.as_str() {
        "csv" => table(text, b',', path)?,
        "tsv" => table(text, b'\t', path)?,
        "jsonl" | "ndjson" => objects(text, path)?,
        _ => lines(text).map(|(_, line)| line.to_string()).collect(),
    };
    if prompts.is_empty() {
        let reason = match text.trim().is_empty() {
            true => "it is empty; write a prompt on each line",
            false => "there is no prompt in it, only a heading",
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

fn table(text: &str, delimiter: u8, path: &Path) -> Result<Vec<String>, Error> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .from_reader(text.as_bytes());
    let headings = reader.headers().map_err(|e| malformed(path, e))?;
    let column = headings.iter().position(|heading| heading.trim() == KEY);
    let Some(column) = column else {
        let headings: Vec<&str> = headings.iter().collect();
        let reason = format!("it has no column `{KEY}`, but {}", headings.join(", "));
        return Err(malformed(path, reason));
    };
    let mut prompts = Vec::new();
    for record in reader.records() {
        // Says the line, and how many columns it has where it should have others.
        let record = record.map_err(|e| malformed(path, e))?;
        prompts.push(record.get(column).unwrap_or_default().to_string());
    }
    Ok(prompts)
}

fn objects(text: &str, path: &Path) -> Result<Vec<String>, Error> {
    let prompt = |(number, line)| {
        let value: Value = serde_json::from_str(line)
            .map_err(|e| malformed(path, format!("line {number} is no JSON: {e}")))?;
        let text = value[KEY].as_str().map(str::to_string);
        text.ok_or_else(|| malformed(path, format!("line {number} has no text under `{KEY}`")))
    };
    lines(text).map(prompt).collect()
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
            ("p.csv", "id,text\n1,\"a cat, red\"\n2,\"two \"\"dogs\"\"\"\n"),
            ("p.TSV", "text\tid\na cat, red\t1\n\"two \"\"dogs\"\"\"\t2\n"),
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
            ("p.txt", " \n\n", "p.txt is not a valid list of prompts: it is empty"),
            ("p.csv", "", "it is empty"),
            ("p.jsonl", "\n", "it is empty"),
            ("p.csv", "text\n", "only a heading"),
            ("p.csv", "caption,id\nx,1\n", "no column `text`, but caption, id"),
            ("p.csv", "text,id\nx,1\ny\n", "line: 3"),
            ("p.jsonl", "{\"text\": \"a\"}\n{\"caption\": 1}\n", "line 2 has no text"),
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
}
