//! A number that a latent U-Net has at each of its levels.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The same at every level, or one for each, the level with the largest latents first. In a card, `8` or `[5, 10, 20]`.
///
/// The middle has that of the last level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PerLevel {
    /// The same at all of them.
    Same(usize),
    /// One for each.
    Each(Vec<usize>),
}

impl PerLevel {
    /// That of a level, counted from 0; `None` where there is none for it.
    pub fn of(&self, level: usize) -> Option<usize> {
        match self {
            Self::Same(number) => Some(*number),
            Self::Each(all) => all.get(level).copied(),
        }
    }

    /// One for each level, of which `None` makes no difference: short where all others are the same, else with 0 for it.
    pub(crate) fn gather(all: impl IntoIterator<Item = Option<usize>>) -> Self {
        let all: Vec<Option<usize>> = all.into_iter().collect();
        let mut some = all.iter().flatten();
        let first = some.next().copied().unwrap_or(0);
        match some.all(|number| *number == first) {
            true => Self::Same(first),
            false => Self::Each(all.into_iter().map(Option::unwrap_or_default).collect()),
        }
    }

    /// The number of a setting that is not said.
    pub(super) fn one() -> Self {
        Self::Same(1)
    }

    /// Whether there is one for each of so many levels.
    pub(super) fn fits(&self, levels: usize) -> bool {
        match self {
            Self::Same(_) => true,
            Self::Each(all) => all.len() == levels,
        }
    }
}

impl From<usize> for PerLevel {
    fn from(number: usize) -> Self {
        Self::Same(number)
    }
}

impl From<Vec<usize>> for PerLevel {
    fn from(all: Vec<usize>) -> Self {
        Self::Each(all)
    }
}

impl fmt::Display for PerLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same(number) => write!(f, "{number}"),
            Self::Each(all) => {
                let all: Vec<String> = all.iter().map(usize::to_string).collect();
                f.write_str(&all.join("/"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_or_one_for_each_level() {
        let json = |text: &str| serde_json::from_str::<PerLevel>(text).unwrap();
        assert_eq!(json("8"), 8.into());
        assert_eq!(json("[5, 10]"), vec![5, 10].into());
        assert_eq!(serde_json::to_string(&json("[5,10]")).unwrap(), "[5,10]");
        assert_eq!([json("8").of(7), json("[5, 10]").of(2)], [Some(8), None]);
        assert_eq!(json("[5, 10]").to_string(), "5/10");
        let gathered = |all: [Option<usize>; 3]| PerLevel::gather(all);
        assert_eq!(gathered([None, Some(2), Some(10)]), vec![0, 2, 10].into());
        assert_eq!(gathered([Some(1), None, Some(1)]), 1.into());
    }
}
