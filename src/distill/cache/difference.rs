//! Why what a folder holds is not what a run looks for.

use super::{Header, Key, TrajectoryCache};
use crate::model::File;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What differs from batch to batch of one run.
const OWN: [&str; 4] = ["draw", "levels", "told-steps", "states"];

/// Longer values are not shown.
const SHOWN: usize = 40;

impl TrajectoryCache {
    /// In which settings the newest trajectories of the folder, which are not those of `key`, are of another run: its name, and
    /// both values.
    pub(in crate::distill) fn difference(&self, key: &Key) -> Option<String> {
        let file = File::read(&self.newest()?).ok()?;
        let header: Header = serde_json::from_str(file.json.as_deref()?).ok()?;
        let (theirs, ours) = (flat(&header.key)?, flat(&self.text(key))?);
        let names = theirs.keys().chain(ours.keys());
        let mut names: Vec<_> = names
            .filter(|name| !OWN.contains(&name.as_str()) && theirs.get(*name) != ours.get(*name))
            .collect();
        names.sort();
        names.dedup();
        let shown = |value: Option<&Value>| {
            let text = value.map_or("not set".into(), Value::to_string);
            match text.len() > SHOWN {
                true => "another".into(),
                false => text,
            }
        };
        let said = names.iter().map(|name| {
            let [there, here] = [theirs.get(*name), ours.get(*name)].map(shown);
            format!("{name} is {there} there and {here} here")
        });
        let said = said.collect::<Vec<_>>().join(", ");
        (!said.is_empty()).then_some(said)
    }

    /// The file that was written last.
    fn newest(&self) -> Option<PathBuf> {
        let entries = std::fs::read_dir(self.folder()).ok()?.flatten();
        let paths = entries.map(|entry| entry.path());
        let whole = paths.filter(|path| path.extension().is_some_and(|e| e == "safetensors"));
        whole.max_by_key(|path| path.metadata().and_then(|found| found.modified()).ok())
    }
}

/// All settings of a key, by name.
fn flat(key: &str) -> Option<BTreeMap<String, Value>> {
    let mut whole: BTreeMap<String, Value> = serde_json::from_str(key).ok()?;
    let inner = whole.remove("trajectories")?;
    let inner = inner.as_object()?;
    whole.extend(
        inner
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    Some(whole)
}
