//! Noise levels as people type them, and the files that `fewstep schedule` writes.

use anyhow::Context as _;
use fewstep::grid::{SigmaGrid, Spacing};
use std::path::Path;
use std::str::FromStr;

/// Levels such as `80,3.1,0.006`, or those of a file: a spacing in TOML, as `fewstep schedule` writes it and as a recipe
/// has it, or plain numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Levels {
    /// The levels.
    pub grid: SigmaGrid,
    /// The levels as a spacing.
    pub spacing: Spacing,
}

impl Levels {
    fn new(levels: Vec<f64>, spacing: Spacing) -> Result<Self, String> {
        spacing.check().map_err(|e| e.to_string())?;
        let grid = SigmaGrid::new(levels).map_err(|e| e.to_string())?;
        Ok(Self { grid, spacing })
    }

    fn plain(levels: Vec<f64>) -> Result<Self, String> {
        let spacing = Spacing::Levels {
            levels: levels.clone(),
            spacing: Box::default(),
        };
        Self::new(levels, spacing)
    }

    fn read(path: &Path) -> Result<Self, String> {
        let text = fs_err::read_to_string(path).map_err(|e| e.to_string())?;
        let file = path.display();
        if let Some(levels) = numbers(&text) {
            return Self::plain(levels).map_err(|e| format!("{file}: {e}"));
        }
        let spacing: Spacing = toml::from_str(&text).map_err(|e| {
            let reason = e.message();
            format!(
                "{file}: {reason}; a file of levels holds numbers, or a spacing such as `kind = \"levels\"` and `levels = \
                 [80, 3.1, 0.006]` (docs/recipes.md)"
            )
        })?;
        match spacing.settled() {
            Spacing::Levels { levels, spacing } => {
                let spacing = Spacing::Levels {
                    levels: levels.clone(),
                    spacing,
                };
                Self::new(levels, spacing).map_err(|e| format!("{file}: {e}"))
            }
            _ => Err(format!(
                "{file} holds a rule and no levels; write kind = \"levels\" and a list"
            )),
        }
    }
}

/// Numbers between commas or spaces; nothing if one of them is no number.
fn numbers(text: &str) -> Option<Vec<f64>> {
    let words = text.split(|c: char| c == ',' || c.is_whitespace());
    let words = words.filter(|word| !word.is_empty());
    let numbers: Option<Vec<f64>> = words.map(|word| word.parse().ok()).collect();
    numbers.filter(|numbers| !numbers.is_empty())
}

impl FromStr for Levels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match numbers(text) {
            Some(levels) => Self::plain(levels),
            None if Path::new(text).exists() => Self::read(Path::new(text)),
            None => Err(format!(
                "`{text}` is neither a list such as 80,3.1,0.006 nor a file"
            )),
        }
    }
}

/// Levels as they can be typed again, without loss.
pub fn list(levels: &[f64]) -> String {
    let levels: Vec<_> = levels.iter().map(ToString::to_string).collect();
    levels.join(",")
}

/// A spacing as a file.
pub fn to_toml(spacing: &Spacing) -> anyhow::Result<String> {
    toml::to_string(spacing).context("cannot write the levels")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_files() {
        let levels: Levels = "80, 3.1,0.006".parse().unwrap();
        assert_eq!(levels.grid.levels(), [80.0, 3.1, 0.006]);
        let folder = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            let path = folder.path().join("levels.toml");
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().parse::<Levels>()
        };
        assert_eq!(read("80 3.1\n0.006\n").unwrap(), levels);
        assert_eq!(read(&to_toml(&levels.spacing).unwrap()).unwrap(), levels);
        assert_eq!(
            list(levels.grid.levels()).parse::<Levels>().unwrap(),
            levels
        );
        let found = "kind = 'searched'\nlevels = [80, 3.1, 0.006]";
        assert_eq!(read(found).unwrap(), levels);
        for (text, word) in [
            ("1 2", "decreasing"),
            ("kind = 'polynomial'", "no levels"),
            ("kind = 'searched'", "no levels"),
            ("80 ,,, x", "levels.toml"),
            ("kind = 'levels'\nlevels = [1]", "at least two"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        for text in ["", "80", "80,x", "no/such/file", "1,2"] {
            assert!(text.parse::<Levels>().is_err(), "{text}");
        }
    }
}
