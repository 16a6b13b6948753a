//! What is known about a file, in lines for people.

use super::network::network_lines;
use fewstep::model::Sampling;
use fewstep::network::NetworkConfig;
use serde_json::{Map, Value};

/// The names of classes, which stand beside their numbers.
pub(super) const CLASSES: &str = "class-names";
/// Columns before a value.
const INDENT: usize = 16;
/// Numbers of a list that are shown before its end is left out.
const SHOWN: usize = 24;

/// The lines of some facts; the parts of a fact stand below it, moved in.
pub fn lines(facts: &[(String, Value)]) -> Vec<String> {
    let mut lines = Vec::new();
    // The whole card is for programs; its parts stand in lines of their own.
    for (name, value) in facts.iter().filter(|(name, _)| name != "card") {
        let (head, parts) = described(name, value, facts);
        lines.push(format!("{name:<INDENT$}{head}").trim_end().to_string());
        let width = parts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let width = width.max(INDENT - 3) + 1;
        for (name, value) in parts {
            lines.push(format!("  {name:<width$}{value}").trim_end().to_string());
        }
    }
    lines
}

/// A value in one line, and its parts.
type Described = (String, Vec<(String, String)>);

fn described(name: &str, value: &Value, facts: &[(String, Value)]) -> Described {
    let plain = |head: String| (head, Vec::new());
    match (name, value) {
        ("network", value) => match serde_json::from_value::<NetworkConfig>(value.clone()) {
            Ok(network) => network_lines(&network),
            Err(_) => (String::new(), flat(value)),
        },
        ("sampling", value) => match serde_json::from_value::<Sampling>(value.clone()) {
            Ok(sampling) => sampling_lines(&sampling, value),
            Err(_) => (String::new(), flat(value)),
        },
        ("sigma-range", Value::Array(ends)) if ends.len() == 2 => {
            plain(format!("{} to {}", text(&ends[1]), text(&ends[0])))
        }
        ("evaluations", Value::Array(ends)) if ends.len() == 2 => {
            plain(format!("{} to {}", text(&ends[0]), text(&ends[1])))
        }
        ("parameters" | "tensors" | "bytes", Value::Number(_)) => plain(grouped(value)),
        ("multiply-adds", Value::Number(_)) => plain(format!("{} an image", grouped(value))),
        ("trained-on", Value::Number(_)) => {
            let student = facts
                .iter()
                .any(|(name, kind)| name == "kind" && kind == "student");
            let unit = if student { "trajectories" } else { "images" };
            plain(format!("{} {unit}", grouped(value)))
        }
        // What the lines above say already is not said twice.
        ("recipe", Value::Object(recipe)) => {
            let mut recipe = recipe.clone();
            let said = |key: &str| facts.iter().any(|(name, _)| name == key);
            recipe.retain(|key, _| !said(key));
            (String::new(), flat(&Value::Object(recipe)))
        }
        (CLASSES, Value::Array(names)) => {
            let named = names.iter().enumerate();
            let mut named = named.map(|(i, name)| format!("{i} {}", text(name)));
            let head = named.next().unwrap_or_default();
            (head, named.map(|line| (String::new(), line)).collect())
        }
        (_, Value::Array(none)) if none.is_empty() => plain("none".into()),
        (_, Value::Array(lines)) if lines.iter().all(Value::is_string) => {
            let mut lines = lines.iter().map(text);
            let head = lines.next().unwrap_or_default();
            (head, lines.map(|line| (String::new(), line)).collect())
        }
        (_, Value::Object(_)) => (String::new(), flat(value)),
        _ => plain(text(value)),
    }
}

/// Solver and levels, as they are used unless one says otherwise.
fn sampling_lines(sampling: &Sampling, value: &Value) -> Described {
    let steps = match sampling.steps {
        1 => "1 step".to_string(),
        steps => format!("{steps} steps"),
    };
    let mut head = format!("{steps} of {}", sampling.solver);
    if sampling.analytic_first_step {
        head += ", the first without the network";
    }
    let mut parts = Vec::new();
    let mut put = |name: &str, text: String| parts.push((name.to_string(), text));
    match sampling.grid() {
        Ok(grid) => put("levels", short(grid.levels())),
        Err(error) => put("levels", format!("none: {error}")),
    }
    if let Some([smallest, largest]) = sampling.step_range {
        put("made for", format!("{smallest} to {largest} steps"));
    }
    if sampling.step_condition {
        put("told", "the number of steps".into());
    }
    put(
        "guidance",
        match sampling.guidance {
            1.0 => "none".into(),
            weight => weight.to_string(),
        },
    );
    // How the levels come about; they are shown already.
    let rule = flat(&value["spacing"]).into_iter();
    let rule = rule.filter(|(name, _)| !name.ends_with("levels"));
    let rule: Vec<String> = rule
        .map(|(name, value)| format!("{name} = {value}"))
        .collect();
    put("spacing", rule.join(", "));
    (head, parts)
}

/// Numbers in four digits, those in the middle left out if they are many.
fn short(levels: &[f64]) -> String {
    let number = |level: &f64| {
        let digits = 3 - level.abs().log10().floor() as i32;
        let text = format!("{level:.*}", digits.clamp(0, 12) as usize);
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
            false => text,
        }
    };
    let all: Vec<String> = levels.iter().map(number).collect();
    if all.len() <= SHOWN {
        return all.join(", ");
    }
    let (first, last) = (&all[..SHOWN / 2], &all[all.len() - SHOWN / 2..]);
    format!("{}, ..., {}", first.join(", "), last.join(", "))
}

/// The entries of an object, those of objects in it under both names.
fn flat(value: &Value) -> Vec<(String, String)> {
    let Value::Object(object) = value else {
        return vec![(String::new(), text(value))];
    };
    let mut parts = Vec::new();
    collect(object, "", &mut parts);
    parts
}

fn collect(object: &Map<String, Value>, above: &str, parts: &mut Vec<(String, String)>) {
    for (name, value) in object {
        let name = format!("{above}{name}");
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                collect(inner, &format!("{name}."), parts);
            }
            value => parts.push((name, text(value))),
        }
    }
}

/// A value in one line.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        Value::String(text) => text.clone(),
        Value::Array(entries) if entries.is_empty() => "none".into(),
        Value::Array(entries) => {
            let shown: Vec<String> = entries.iter().take(SHOWN).map(text).collect();
            let more = match entries.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(", and {more} more"),
            };
            format!("{}{more}", shown.join(", "))
        }
        Value::Object(object) if object.is_empty() => "none".into(),
        // 80.0 is 80.
        Value::Number(number) => {
            let text = number.to_string();
            text.strip_suffix(".0").unwrap_or(&text).to_string()
        }
        other => other.to_string(),
    }
}

/// A whole number with commas between thousands.
fn grouped(value: &Value) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_is_shown_as_json() {
        let facts = [
            ("kind", json!("training state")),
            ("card", json!({"left": "out"})),
            (
                "recipe",
                json!({"batch": 3, "solver": {"kind": "heun"}, "list": [1, 2], "none": null}),
            ),
            ("parameters", json!(1_234_567)),
            ("sigma-range", json!([0.002, 80.0])),
            ("globals", json!([])),
            ("metadata", json!(["a", "b"])),
        ];
        let facts = facts.map(|(name, value)| (name.to_string(), value));
        let want = [
            "kind            training state",
            "recipe",
            "  batch         3",
            "  list          1, 2",
            "  none          none",
            "  solver.kind   heun",
            "parameters      1,234,567",
            "sigma-range     80 to 0.002",
            "globals         none",
            "metadata        a",
            "                b",
        ];
        assert_eq!(lines(&facts), want);
    }

    #[test]
    fn levels_are_short() {
        assert_eq!(
            short(&[80.0, 3.21159, 0.0060049, 1200.4]),
            "80, 3.212, 0.006005, 1200"
        );
        let many: Vec<f64> = (1..=30).map(f64::from).collect();
        assert!(short(&many).contains("12, ..., 19"), "{}", short(&many));
    }
}
