//! `dataset.json`, the file of labels in data sets for EDM and StyleGAN: `{"labels": [["00000/img00000000.png", 6], ...]}`,
//! or null for labels where there are none.

use crate::Error;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The classes that a file gives.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Labels {
    /// By the picture's path from the file's folder, with slashes; `None` if the file says that there are no labels.
    pub(super) of: Option<BTreeMap<String, usize>>,
}

/// Classes beyond this are no classes: a network has a weight for each.
const MOST: u64 = 1 << 20;

impl Labels {
    /// Reads a file; `None` if it is somebody else's of that name, without `labels`.
    pub(super) fn parse(path: &Path, content: &[u8]) -> Result<Option<Self>, Error> {
        let malformed = |reason: String| Error::malformed(path, "file of labels", reason);
        let value: Value = serde_json::from_slice(content).map_err(|e| malformed(e.to_string()))?;
        let Some(labels) = value.get("labels") else {
            return Ok(None);
        };
        let entries = match labels {
            Value::Null => return Ok(Some(Self { of: None })),
            Value::Array(entries) => entries,
            _ => return Err(malformed("`labels` is neither null nor a list".into())),
        };
        let mut of = BTreeMap::new();
        for entry in entries {
            let (name, label) = match entry.as_array().map(Vec::as_slice) {
                Some([Value::String(name), label]) => (name.replace('\\', "/"), label),
                _ => {
                    let reason = format!(
                        "its entry {} is not of the form [\"path\", class]",
                        short(entry)
                    );
                    return Err(malformed(reason));
                }
            };
            let class = class(label)
                .map_err(|reason| malformed(format!("the label of {name} is {reason}")))?;
            if of
                .insert(name.clone(), class)
                .is_some_and(|before| before != class)
            {
                return Err(malformed(format!("{name} has two labels")));
            }
        }
        Ok(Some(Self { of: Some(of) }))
    }
}

fn class(label: &Value) -> Result<usize, String> {
    let whole = label.as_u64().or_else(|| {
        label
            .as_f64()
            .filter(|v| *v >= 0.0 && v.fract() == 0.0)
            .map(|v| v as u64)
    });
    match (label, whole) {
        (_, Some(class)) if class < MOST => Ok(class as usize),
        (Value::Array(_), _) => Err(format!(
            "a vector, {}; only one class a picture, a whole number from 0, is read",
            short(label)
        )),
        _ => Err(format!(
            "{}, and must be a whole number from 0 to {}",
            short(label),
            MOST - 1
        )),
    }
}

/// The beginning of a value.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Labels>, String> {
        Labels::parse(Path::new("x/dataset.json"), text.as_bytes()).map_err(|e| e.to_string())
    }

    #[test]
    fn classes_are_read() {
        let labels = parse(r#"{"labels": [["a/1.png", 3], ["a\\2.png", 1.0]]}"#)
            .unwrap()
            .unwrap();
        let of = labels.of.unwrap();
        assert_eq!((of["a/1.png"], of["a/2.png"]), (3, 1));
        assert_eq!(parse(r#"{"labels": null}"#).unwrap().unwrap().of, None);
        assert_eq!(parse(r#"{"name": "mine"}"#).unwrap(), None);
        assert_eq!(parse("[1]").unwrap(), None);
    }

    #[test]
    fn what_is_no_class_is_refused_with_the_reason() {
        for (text, reason) in [
            (
                r#"{"labels": [["1.png", [0.5, 1.5]]]}"#,
                "a vector, [0.5,1.5]",
            ),
            (r#"{"labels": [["1.png", -1]]}"#, "1.png is -1"),
            (r#"{"labels": [["1.png", 1.5]]}"#, "1.png is 1.5"),
            (r#"{"labels": [["1.png", "cat"]]}"#, "\"cat\""),
            (r#"{"labels": [["1.png", 99999999999]]}"#, "99999999999"),
            (r#"{"labels": [["1.png"]]}"#, "[\"1.png\"]"),
            (r#"{"labels": {"1.png": 1}}"#, "neither null nor a list"),
            (r#"{"labels": [["1.png", 1], ["1.png", 2]]}"#, "two labels"),
            (r#"{"labels": ["#, "EOF"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                error.contains(reason) && error.contains("x/dataset.json"),
                "{error}"
            );
        }
    }
}
