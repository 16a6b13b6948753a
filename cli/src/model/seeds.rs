//! Lists of seeds as people type them.

use std::str::FromStr;

/// Seeds such as `0-63,70,80-90`, in the order they were typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeds(pub Vec<u64>);

/// More than anybody wants by accident.
const LIMIT: u64 = 10_000_000;

fn not_a_seed(part: &str) -> String {
    format!(
        "`{part}` is not a seed: seeds are whole numbers, 0 to {}, written like 0-63,70,80-90",
        u64::MAX
    )
}

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| {
            let part = part.trim();
            part.parse::<u64>().map_err(|_| not_a_seed(part))
        };
        let mut seeds = Vec::new();
        for part in text.split(',') {
            let (first, last) = match part.split_once('-') {
                // A negative number is no range that begins with nothing.
                Some((first, _)) if first.trim().is_empty() => return Err(not_a_seed(part)),
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            if last < first {
                return Err(format!("`{part}` runs backwards; write {last}-{first}"));
            }
            if last - first >= LIMIT {
                return Err(format!("`{part}` is more than {LIMIT} seeds"));
            }
            seeds.extend(first..=last);
        }
        let mut seen = std::collections::HashSet::new();
        if let Some(twice) = seeds.iter().find(|s| !seen.insert(**s)) {
            return Err(format!("seed {twice} is given twice"));
        }
        Ok(Self(seeds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_single_seeds() {
        let seeds = |text: &str| text.parse::<Seeds>().map(|s| s.0);
        assert_eq!(seeds("0-3,7, 9-10").unwrap(), [0, 1, 2, 3, 7, 9, 10]);
        assert_eq!(seeds("5").unwrap(), [5]);
        let largest = u64::MAX;
        assert_eq!(seeds(&largest.to_string()).unwrap(), [largest]);
        for bad in [
            "",
            "a",
            "3-1",
            "1,,2",
            "-1",
            "1-",
            "0-99999999999",
            "1,1",
            "0-3,2",
        ] {
            assert!(seeds(bad).is_err(), "{bad}");
        }
    }
}
