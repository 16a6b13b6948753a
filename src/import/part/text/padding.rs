//! What a tokenizer's settings say that texts are filled with.

use crate::Error;
use crate::import::setting;
use crate::text::Padding;
use serde_json::Value;
use std::path::Path;

/// Files that say it, the one that counts first.
const SETTINGS: [&str; 2] = ["tokenizer_config.json", "special_tokens_map.json"];
const KEY: &str = "pad_token";

/// What the settings in a folder `tokenizer` say; `None` where they say nothing.
///
/// # Errors
/// [`Error::Malformed`] for a filling that no model known here has.
pub(super) fn told(folder: &Path) -> Result<Option<Padding>, Error> {
    for name in SETTINGS {
        let path = folder.join(name);
        let settings = setting::read(&path)?;
        // A token is a text, or a table with one.
        let token = match &settings[KEY] {
            Value::Object(table) => table.get("content").cloned().unwrap_or_default(),
            other => other.clone(),
        };
        return Ok(Some(match &token {
            Value::Null => continue,
            token if *token == "<|endoftext|>" => Padding::End,
            token if *token == "!" => Padding::Exclamation,
            token => {
                let wrong = "only \"<|endoftext|>\" and \"!\" are known here";
                return Err(setting::refused(&path, KEY, token, wrong));
            }
        }));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_texts_or_tables() {
        let folder = tempfile::tempdir().unwrap();
        let told = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            super::told(folder.path())
        };
        assert_eq!(super::told(folder.path()).unwrap(), None);
        let map = r#"{"pad_token": {"content": "!", "lstrip": false}}"#;
        assert_eq!(told(SETTINGS[1], map).unwrap(), Some(Padding::Exclamation));
        let config = r#"{"pad_token": "<|endoftext|>"}"#;
        assert_eq!(told(SETTINGS[0], config).unwrap(), Some(Padding::End));
        let other = told(SETTINGS[0], r#"{"pad_token": "[PAD]"}"#).unwrap_err();
        assert!(other.to_string().contains("[PAD]"), "{other}");
    }
}
