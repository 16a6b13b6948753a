//! What an answer of `evaluate --protocol` says besides its number.

use serde_json::{Map, Value};

/// How a published protocol was followed.
#[derive(Clone, Debug, PartialEq)]
pub struct Protocol {
    /// The first seed, the last, and the distance of each repeat; the least counts.
    pub repeats: Vec<(u64, u64, f64)>,
    /// The published figure of the same method and number of calls, that method, and where it stands.
    pub published: Option<(f64, String, String)>,
    /// In what it was not followed.
    pub deviations: Vec<String>,
}

impl Protocol {
    /// `None` if no protocol was followed.
    pub fn of(facts: &Map<String, Value>) -> Option<Self> {
        let protocol = facts.get("protocol")?;
        let repeat = |repeat: &Value| {
            let seeds = repeat.get("seeds")?;
            let seed = |i: usize| seeds.get(i).and_then(Value::as_u64);
            Some((seed(0)?, seed(1)?, repeat.get("frechet")?.as_f64()?))
        };
        let published = facts.get("published").and_then(|found| {
            let text = |key: &str| found.get(key)?.as_str().map(String::from);
            Some((
                found.get("frechet")?.as_f64()?,
                text("method")?,
                text("source")?,
            ))
        });
        let list = |key: &str| protocol.get(key).and_then(Value::as_array).into_iter();
        let deviations = list("deviations").flatten().filter_map(Value::as_str);
        Some(Self {
            repeats: list("repeats").flatten().filter_map(repeat).collect(),
            published,
            deviations: deviations.map(String::from).collect(),
        })
    }
}
