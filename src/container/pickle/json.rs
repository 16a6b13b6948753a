//! Values of a pickle as JSON, for settings and scalars.

use super::value::{Arena, Id, Node};
use serde_json::{Map, Value};

/// How deep, and how many values in all: shared parts would otherwise grow without bound.
const DEEPEST: usize = 16;
const MOST: usize = 10_000;

/// A value as JSON. Tuples and sets become lists; what has no counterpart becomes a text in angle brackets, infinite
/// numbers the texts `inf`, `-inf` and `nan`.
pub(in crate::container) fn value(arena: &Arena<'_>, id: Id) -> Value {
    convert(arena, id, DEEPEST, &mut MOST.clone())
}

/// A dictionary as JSON; empty for anything else.
pub(in crate::container) fn map(arena: &Arena<'_>, id: Option<Id>) -> Map<String, Value> {
    match id.map(|id| value(arena, id)) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// Numbers, texts, truth values and nothing; `None` for the rest.
pub(in crate::container) fn scalar(arena: &Arena<'_>, id: Id) -> Option<Value> {
    Some(match arena.get(id) {
        Node::None => Value::Null,
        Node::Bool(value) => Value::Bool(*value),
        Node::Int(value) => Value::from(*value),
        Node::Float(value) => number(*value),
        Node::Text(text) => Value::String(text.to_string()),
        _ => return None,
    })
}

fn number(value: f64) -> Value {
    let text = if value.is_nan() {
        "nan"
    } else if value > 0.0 {
        "inf"
    } else {
        "-inf"
    };
    serde_json::Number::from_f64(value).map_or_else(|| text.into(), Value::Number)
}

fn convert(arena: &Arena<'_>, id: Id, depth: usize, left: &mut usize) -> Value {
    if depth == 0 || *left == 0 {
        return "<...>".into();
    }
    // Long texts count as many.
    let cost = 1 + arena.text(id).map_or(0, |text| text.len() / 64);
    *left = left.saturating_sub(cost);
    if let Some(value) = scalar(arena, id) {
        return value;
    }
    if let Some(items) = arena.items(id) {
        let mut list = Vec::new();
        for item in items {
            if *left == 0 {
                break;
            }
            list.push(convert(arena, *item, depth - 1, left));
        }
        return Value::Array(list);
    }
    match arena.get(id) {
        Node::Dict(pairs) => {
            let mut map = Map::new();
            for (key, value) in pairs {
                if *left == 0 {
                    break;
                }
                *left -= 1;
                if let Some(key) = arena.text(*key) {
                    let value = convert(arena, *value, depth - 1, left);
                    map.insert(key.to_string(), value);
                }
            }
            Value::Object(map)
        }
        Node::Object(object) => format!("<{}>", object.class).into(),
        Node::Tensor(_) => "<tensor>".into(),
        _ => "<other>".into(),
    }
}
