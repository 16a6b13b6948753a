//! What `--set` changes in a run that goes on.

use crate::run::folder::Folder;
use crate::screen::progress::Reporter;
use anyhow::Context as _;
use fewstep::Error;
use fewstep::model::State;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Settings that may change on the way, in a teacher's recipe and in a distillation's.
pub const TEACHER: &[&str] = &["images", "learning-rate", "warmup", "decay-from", "adam"];
/// As [`TEACHER`].
pub const DISTILLATION: &[&str] = &[
    "trajectories",
    "learning-rate",
    "learning-rate-schedule",
    "learning-rate-drop",
    "adam",
];

/// What was typed to change a run.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Each `--set`.
    pub sets: &'a [String],
    /// Whether the schedule of the learning rate is to begin anew.
    pub restart: bool,
    /// The settings that may change.
    pub keys: &'static [&'static str],
}

impl Wish<'_> {
    /// No change.
    pub fn nothing() -> Self {
        Self {
            sets: &[],
            restart: false,
            keys: &[],
        }
    }
}

/// The recipe that a run goes on with, which is in `state` from now on, too: its own, with what is wished for. `typed` is the
/// whole recipe that was typed; where no change is wished for, it must be the run's. `apply` makes the change `C` of a recipe
/// after so many rounds.
pub fn go_on<R, C>(
    folder: &mut Folder,
    state: &mut State,
    typed: &Value,
    wish: Wish<'_>,
    apply: impl FnOnce(&R, u64, &C) -> Result<R, Error>,
    reporter: Reporter,
) -> anyhow::Result<R>
where
    R: Serialize + DeserializeOwned + PartialEq,
    C: DeserializeOwned,
{
    let asked = asked(&state.progress.recipe, typed, wish);
    folder.check_recipe(state, &asked.rest, wish.keys)?;
    let before: R = state.recipe()?;
    let change = serde_json::from_value(asked.change.clone()).context("cannot read the change")?;
    let round = state.progress.round;
    let recipe = apply(&before, round, &change)?;
    if recipe != before {
        let news = news(&state.progress.recipe, &asked.change);
        reporter.say(format!("from round {round} on: {news}"));
        state.progress.recipe = serde_json::to_value(&recipe).context("cannot write the recipe")?;
        folder.changed = true;
    }
    Ok(recipe)
}

/// What is different, for people.
fn news(before: &Value, change: &Value) -> String {
    let changed = change.as_object().into_iter().flatten();
    let lines = changed.filter_map(|(key, value)| match latest(before, key) {
        _ if key == RESTART => Some("the schedule of the learning rate begins anew".into()),
        old if old == *value => None,
        Value::Null => Some(format!("{key} = {value}")),
        old => Some(format!("{key} = {value}, was {old}")),
    });
    lines.collect::<Vec<_>>().join("; ")
}

/// A key of a change.
const RESTART: &str = "restart-schedule";

/// A recipe that was typed for a run that is there: what is asked to change in it, and the rest.
struct Asked {
    /// As the library has the change, without its round.
    change: Value,
    /// The recipe with everything else as typed, and the run's own values where change is asked for.
    rest: Value,
}

/// Takes the recipe that was typed apart. What is to change is said by `--set`: a recipe's file may have been given without a
/// thought of changing anything.
fn asked(before: &Value, typed: &Value, wish: Wish<'_>) -> Asked {
    let mut change = Map::new();
    let mut rest = typed.clone();
    for set in wish.sets {
        let key = set.split('=').next().unwrap_or_default().trim();
        let (top, inner) = key.split_once('.').unwrap_or((key, ""));
        if !wish.keys.contains(&top) {
            continue;
        }
        let value = match inner {
            "" => typed[top].clone(),
            inner => {
                // The others of the table stay as they are by now.
                let now = change.get(top).cloned();
                let mut table = now.unwrap_or_else(|| latest(before, top));
                table[inner] = typed[top][inner].clone();
                table
            }
        };
        change.insert(top.into(), value);
        restore(&mut rest, before, top);
    }
    if wish.restart {
        change.insert(RESTART.into(), true.into());
    }
    // A recipe that says nothing of changes is that of the start.
    if rest.get(CHANGES).is_none() {
        restore(&mut rest, before, CHANGES);
    }
    Asked {
        change: Value::Object(change),
        rest,
    }
}

/// The key of all changes in a recipe.
const CHANGES: &str = "changes";

/// The value of a setting after all changes.
fn latest(before: &Value, key: &str) -> Value {
    let changes = before[CHANGES].as_array().into_iter().flatten().rev();
    let said = changes.filter_map(|change| change.get(key));
    said.chain(before.get(key))
        .next()
        .cloned()
        .unwrap_or_default()
}

/// Puts the run's own value back.
fn restore(recipe: &mut Value, before: &Value, key: &str) {
    if let Some(table) = recipe.as_object_mut() {
        match before.get(key) {
            Some(value) => table.insert(key.into(), value.clone()),
            None => table.remove(key),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(before: &Value, typed: &Value, sets: &[&str], restart: bool) -> Asked {
        let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
        let wish = Wish {
            sets: &sets,
            restart,
            keys: DISTILLATION,
        };
        asked(before, typed, wish)
    }

    #[test]
    fn what_is_typed_is_asked_for_and_the_rest_is_compared() {
        let adam = json!({"beta1": 0.9, "beta2": 0.999});
        let before = json!({
            "batch": 8, "learning-rate": 1.0, "adam": adam,
            "changes": [{"round": 3, "adam": {"beta1": 0.5, "beta2": 0.999}}],
        });
        let typed = json!({"batch": 8, "learning-rate": 0.1, "adam": {"beta1": 0.9, "beta2": 0.9}});
        let sets = ["learning-rate=0.1", "adam.beta2 = 0.9", "batch=8"];
        let all = found(&before, &typed, &sets, false);
        assert_eq!(all.rest, before);
        let expected = json!({"learning-rate": 0.1, "adam": {"beta1": 0.5, "beta2": 0.9}});
        assert_eq!(all.change, expected);
        let said = news(&before, &all.change);
        assert!(said.contains("learning-rate = 0.1, was 1.0"), "{said}");
        // Without --set it is another recipe.
        let none = found(&before, &typed, &[], true);
        assert_eq!(none.change, json!({"restart-schedule": true}));
        assert_eq!(none.rest["learning-rate"], 0.1);
        // A setting that is not there before.
        let new = found(&json!({}), &json!({"adam": 3}), &["adam=3"], false);
        assert_eq!((new.rest, new.change), (json!({}), json!({"adam": 3})));
    }
}
