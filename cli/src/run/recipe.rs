//! Recipes: TOML files, the bundled ones, and what `--set` changes in them.

use crate::bundle::embedded;
use crate::screen::failure::wrong;
use crate::typed::value;
use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use toml::{Table, Value};

/// What a recipe makes; its top-level key `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A teacher, trained on images.
    Teacher,
    /// A classifier whose features the Frechet distance is measured in.
    Features,
    /// A student.
    Distillation,
}

/// A recipe as typed: known to be TOML, nothing more.
#[derive(Clone, Debug)]
pub struct RecipeText {
    /// The file or the bundled name, for messages.
    pub name: String,
    /// What it makes.
    pub kind: Kind,
    table: Table,
}

impl RecipeText {
    /// Reads a file, or a bundled recipe by its name.
    pub fn read(typed: &Path) -> anyhow::Result<Self> {
        let name = typed.display().to_string();
        // A run's folder may have the name of its recipe.
        if typed.exists() && !typed.is_dir() {
            let text = fs_err::read_to_string(typed).map_err(|e| wrong(e.to_string()))?;
            return Self::parse(name, &text);
        }
        let plain = name.strip_suffix(".toml").unwrap_or(&name);
        match embedded::find(embedded::RECIPES, &format!("{plain}.toml")) {
            Some(bytes) => Self::parse(plain.into(), &String::from_utf8_lossy(bytes)),
            None => Err(wrong(format!(
                "there is no recipe file {name}, and no bundled recipe of that name ({})",
                Self::bundled().join(", ")
            ))),
        }
    }

    /// The names of the recipes that travel in the program.
    fn bundled() -> Vec<&'static str> {
        let names = embedded::RECIPES.iter().map(|(name, _)| *name);
        names
            .map(|name| name.strip_suffix(".toml").unwrap_or(name))
            .collect()
    }

    /// Reads a text; `name` is for messages.
    ///
    /// # Errors
    /// It is not TOML, or does not say what it makes.
    pub fn parse(name: String, text: &str) -> anyhow::Result<Self> {
        let mut table: Table = toml::from_str(text).map_err(|e| {
            let before = e.span().map_or(0, |s| s.start.min(text.len()));
            let line = text.as_bytes()[..before]
                .iter()
                .filter(|b| **b == b'\n')
                .count()
                + 1;
            wrong(format!("{name}, line {line}: {}", e.message()))
        })?;
        let kinds = "kind = \"teacher\", \"features\" or \"distillation\"";
        let kind = table
            .remove("kind")
            .ok_or_else(|| wrong(format!("{name} does not say what it makes: add {kinds}")))?;
        let kind = kind
            .clone()
            .try_into()
            .map_err(|_| wrong(format!("{name}: kind = {kind} is unknown; write {kinds}")))?;
        Ok(Self { name, kind, table })
    }

    /// The settings with `sets` (each `dotted.key=value`) applied on top.
    pub fn resolve<R: Serialize + DeserializeOwned>(&self, sets: &[String]) -> anyhow::Result<R> {
        let read = |mut table: Table| {
            spell_out(&mut table);
            settings(&table)
        };
        // A `--set` below a table that the file leaves out needs the table's defaults; a `--set` that gives a table
        // another kind needs them gone. So both ways are tried.
        let mut bare = self.table.clone();
        apply(&mut bare, sets)?;
        let error = match read(bare) {
            Ok(recipe) => return Ok(recipe),
            Err(error) => error,
        };
        let filled: Option<R> = read(self.table.clone()).ok();
        let filled = filled.and_then(|r| Table::try_from(r).ok());
        let error = match filled {
            Some(mut filled) if !sets.is_empty() => {
                apply(&mut filled, sets)?;
                match read(filled) {
                    Ok(recipe) => return Ok(recipe),
                    Err(error) => error,
                }
            }
            _ => error,
        };
        Err(wrong(error)).with_context(|| format!("recipe {}", self.name))
    }
}

/// Settings of a table. A count may be written as other numbers are: 1e6 is 1000000.
pub fn settings<R: DeserializeOwned>(table: &Table) -> Result<R, String> {
    let read = |table: Table| Value::Table(table).try_into();
    let error: toml::de::Error = match read(table.clone()) {
        Ok(settings) => return Ok(settings),
        Err(error) => error,
    };
    let mut counts = Value::Table(table.clone());
    let error = match count(&mut counts) {
        true => match counts.try_into() {
            Ok(settings) => return Ok(settings),
            Err(error) => error,
        },
        false => error,
    };
    let text = error.to_string();
    let of_counts = ["u64", "u32", "u16", "usize"].iter();
    let text = of_counts.fold(text, |text, kind| {
        let plain = "expected a whole number, 0 or more and below 2^63";
        text.replace(&format!("expected {kind}"), plain)
    });
    Err(text)
}

/// Makes whole numbers of those that are; whether there were any. A setting that is no count takes them, too.
fn count(value: &mut Value) -> bool {
    match value {
        // Below 2^63, so that the number is the same.
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 9.2e18 => {
            *value = Value::Integer(*number as i64);
            true
        }
        Value::Array(all) => all.iter_mut().fold(false, |found, one| count(one) | found),
        Value::Table(all) => all
            .iter_mut()
            .fold(false, |found, (_, one)| count(one) | found),
        _ => false,
    }
}

/// The recipe as a file.
pub fn to_toml<R: Serialize>(kind: Kind, recipe: &R) -> anyhow::Result<String> {
    let kind = Value::try_from(kind).context("cannot write the recipe")?;
    let rest = toml::to_string(recipe).context("cannot write the recipe")?;
    Ok(format!("kind = {kind}\n{rest}"))
}

/// A kind alone stands for the table with its defaults: `spacing = "searched"`.
fn spell_out(table: &mut Table) {
    for key in ["spacing", "teacher-solver"] {
        if let Some(value @ Value::String(_)) = table.get_mut(key) {
            let kind = value.clone();
            *value = Value::Table(Table::from_iter([("kind".to_string(), kind)]));
        }
    }
}

/// Sets a value after the other, those that choose a kind first: with another kind the settings of the old one go.
fn apply(table: &mut Table, sets: &[String]) -> anyhow::Result<()> {
    let chooses = |set: &&String| {
        set.split('=')
            .next()
            .is_some_and(|k| k.trim().ends_with(".kind"))
    };
    let (kinds, others): (Vec<_>, Vec<_>) = sets.iter().partition(chooses);
    for set in kinds.into_iter().chain(others) {
        let (key, text) = set
            .split_once('=')
            .ok_or_else(|| wrong(format!("--set {set} is not of the form key=value")))?;
        let value = value(text.trim())
            .ok_or_else(|| wrong(format!("--set {set}: `{text}` is not a TOML value")))?;
        let mut place = &mut *table;
        let mut parts: Vec<&str> = key.trim().split('.').collect();
        let last = parts.pop().unwrap_or_default();
        for part in parts {
            let inner = place
                .entry(part)
                .or_insert_with(|| Value::Table(Table::new()));
            place = inner
                .as_table_mut()
                .ok_or_else(|| wrong(format!("--set {set}: `{part}` is a value, not a table")))?;
        }
        if chooses(&set) && place.get(last).is_some_and(|old| *old != value) {
            place.clear();
        }
        place.insert(last.to_string(), value);
    }
    Ok(())
}

/// The first key, dotted, at which two recipes differ, and both values.
pub fn first_difference(
    before: &serde_json::Value,
    now: &serde_json::Value,
) -> Option<(String, String, String)> {
    use serde_json::Value as Json;
    if let (Json::Object(a), Json::Object(b)) = (before, now) {
        let absent = Json::Null;
        let mut keys: Vec<_> = a.keys().chain(b.keys()).collect();
        keys.sort();
        return keys.into_iter().find_map(|key| {
            let (a, b) = (a.get(key).unwrap_or(&absent), b.get(key).unwrap_or(&absent));
            let (inner, a, b) = first_difference(a, b)?;
            let dot = if inner.is_empty() { "" } else { "." };
            Some((format!("{key}{dot}{inner}"), a, b))
        });
    }
    let show = |value: &Json| match value {
        Json::Null => "not set".to_string(),
        other => other.to_string(),
    };
    (before != now).then(|| (String::new(), show(before), show(now)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::failure::{exit_code, one_line};
    use crate::verb::train::features;
    use fewstep::distill::Recipe;
    use fewstep::grid::{Search, Spacing};
    use fewstep::solver::SolverConfig;
    use fewstep::teacher::TeacherRecipe;

    fn source(text: &str) -> RecipeText {
        RecipeText::parse("x.toml".into(), &format!("kind = 'distillation'\n{text}")).unwrap()
    }

    fn resolve(text: &str, sets: &[&str]) -> Result<Recipe, String> {
        let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
        let resolved = source(text).resolve(&sets);
        resolved.map_err(|e| {
            assert_eq!(exit_code(&e), 2);
            one_line(&e)
        })
    }

    #[test]
    fn bundled_recipes_are_valid() {
        let names = RecipeText::bundled();
        assert!(names.contains(&"demo"), "{names:?}");
        for name in names {
            let source = RecipeText::read(Path::new(name)).unwrap();
            match source.kind {
                Kind::Teacher => source.resolve::<TeacherRecipe>(&[]).unwrap().check(),
                Kind::Distillation => source.resolve::<Recipe>(&[]).unwrap().check(),
                Kind::Features => {
                    features::read(&source, &[]).unwrap();
                    let typo = features::read(&source, &["epoch=3".into()]).unwrap_err();
                    assert!(one_line(&typo).contains("epoch"), "{typo}");
                    Ok(())
                }
            }
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    #[test]
    fn sets_change_what_the_file_says_and_its_defaults() {
        let recipe = resolve("batch = 4", &["batch=8", "teacher-solver.order = 2"]).unwrap();
        let expected = Recipe {
            batch: 8,
            ..Recipe::default()
        };
        assert_eq!(recipe.batch, expected.batch);
        assert_eq!(recipe.teacher_solver.to_string(), "DPM-Solver++(2M)");
        let heun = resolve("", &["teacher-solver.kind=heun"]).unwrap();
        assert_eq!(heun.teacher_solver.to_string(), "Heun");
        let text = "spacing = { kind = 'polynomial', rho = 5.0 }";
        let searched = resolve(text, &["spacing.gamma=1.2", "spacing.kind=searched"]).unwrap();
        assert_eq!(searched.spacing.to_search().unwrap().gamma, 1.2);
        let bare = resolve(text, &["spacing=searched", "teacher-solver=heun"]).unwrap();
        assert_eq!(
            bare,
            resolve("spacing = 'searched'\nteacher-solver = 'heun'", &[]).unwrap()
        );
        assert_eq!(
            (bare.spacing, bare.teacher_solver),
            (Spacing::Searched(Search::default()), SolverConfig::Heun {})
        );
        let same = resolve(text, &["spacing.kind=polynomial"]).unwrap();
        assert_eq!(same.spacing, Spacing::Polynomial { rho: 5.0 });
        assert_eq!(resolve("", &["sigma-max=40"]).unwrap().sigma_max, 40.0);
        let text = to_toml(Kind::Distillation, &recipe).unwrap();
        let again = RecipeText::parse("again".into(), &text).unwrap();
        assert_eq!(again.resolve::<Recipe>(&[]).unwrap(), recipe);
    }

    #[test]
    fn counts_are_written_as_other_numbers_are() {
        let recipe = resolve("batch = 8.0", &["trajectories=1e9", "steps=3.0"]).unwrap();
        assert_eq!((recipe.trajectories, recipe.batch), (1_000_000_000, 8));
        assert_eq!(recipe.sigma_max, Recipe::default().sigma_max);
        for set in ["trajectories=1.5", "trajectories=1e30", "trajectories=-1"] {
            let error = resolve("", &[set]).unwrap_err();
            let named = error.contains("trajectories") && error.contains("whole number");
            assert!(named, "{error}");
        }
        let features = RecipeText::read(Path::new("fashion-mnist-features")).unwrap();
        let (_, recipe) = features::read(&features, &["epochs=1e2".into()]).unwrap();
        assert_eq!(recipe.epochs, 100);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, sets, word) in [
            ("bach = 3", vec![], "bach"),
            ("batch = 'x'", vec![], "batch"),
            ("", vec!["bach=3"], "bach"),
            ("", vec!["batch"], "key=value"),
            ("", vec!["batch=[1"], "not a TOML value"),
            ("batch = 3", vec!["batch.size=1"], "not a table"),
            ("", vec!["teacher-solver.ordr=3"], "ordr"),
        ] {
            let error = resolve(text, &sets).unwrap_err();
            assert!(error.contains(word), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
        for (text, word) in [
            ("a = 1\nb = = 2", "line 2"),
            ("a = 1", "kind"),
            ("kind = 'pupil'", "pupil"),
        ] {
            let error = one_line(&RecipeText::parse("x.toml".into(), text).unwrap_err());
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn the_first_difference_is_named() {
        let a = serde_json::json!({"a": 1, "b": {"c": 2, "d": 3}});
        let b = serde_json::json!({"a": 1, "b": {"c": 2, "d": 4}, "z": 1});
        let found = first_difference(&a, &b).unwrap();
        assert_eq!(found, ("b.d".into(), "3".into(), "4".into()));
        assert!(first_difference(&a, &a).is_none());
    }
}
