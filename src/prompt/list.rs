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
        malformed(
            path,
            format!("byte {at} is no UTF-8; save it in this encoding"),
        )
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
        "csv" => table(text, ',', path)?,
        "tsv" => table(text, '\t', path)?,
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

fn table(text: &str, delimiter: char, path: &Path) -> Result<Vec<String>, Error> {
    let mut records = Records {
        rest: text,
        delimiter,
        line: 1,
    };
    let wrong = |(line, reason): Fault| malformed(path, format!("line {line} {reason}"));
    let Some((_, headings)) = records.next().map_err(wrong)? else {
        return Ok(Vec::new());
    };
    let column = headings.iter().position(|heading| heading.trim() == KEY);
    let Some(column) = column else {
        let reason = format!("it has no column `{KEY}`, but {}", headings.join(", "));
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

/// The records of a CSV file by RFC 4180. By hand, because the usual crate switches on a feature of serde that nothing
/// else needs, and with it another build of all of Burn.
struct Records<'a> {
    rest: &'a str,
    delimiter: char,
    line: usize,
}

/// Fields, with the line they start on.
type Record = (usize, Vec<String>);
/// What is wrong, and in which line.
type Fault = (usize, &'static str);

impl Records<'_> {
    /// The next record; empty lines are none.
    fn next(&mut self) -> Result<Option<Record>, Fault> {
        loop {
            let text = self.rest;
            let Some(after) = text.strip_prefix("\r\n").or(text.strip_prefix('\n')) else {
                break;
            };
            self.rest = after;
            self.line += 1;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let start = self.line;
        let mut fields = Vec::new();
        loop {
            fields.push(self.field()?);
            match self.rest.strip_prefix(self.delimiter) {
                Some(after) => self.rest = after,
                None => return Ok(Some((start, fields))),
            }
        }
    }

    /// Up to the next delimiter or end of line.
    fn field(&mut self) -> Result<String, Fault> {
        let Some(mut inside) = self.rest.strip_prefix('"') else {
            let ends = [self.delimiter, '\n'];
            let end = self.rest.find(ends).unwrap_or(self.rest.len());
            let (field, after) = self.rest.split_at(end);
            self.rest = after;
            return Ok(field.strip_suffix('\r').unwrap_or(field).to_string());
        };
        let start = self.line;
        let mut field = String::new();
        loop {
            let Some((part, after)) = inside.split_once('"') else {
                return Err((start, "has a quote that is not closed"));
            };
            field += part;
            self.line += part.matches('\n').count();
            match after.strip_prefix('"') {
                Some(after) => {
                    field.push('"');
                    inside = after;
                }
                None => {
                    let after = after.strip_prefix('\r').unwrap_or(after);
                    self.rest = after;
                    let ends = after.is_empty() || after.starts_with([self.delimiter, '\n']);
                    return match ends {
                        true => Ok(field),
                        false => Err((self.line, "goes on behind a closing quote")),
                    };
                }
            }
        }
    }
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
                "caption,id\nx,1\n",
                "no column `text`, but caption, id",
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
                "{\"text\": \"a\"}\n{\"caption\": 1}\n",
                "line 2 has no text",
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
}
