//! What a pickle of weights is about: the tree of modules or the dictionary of tensors, and the settings beside it.

use super::json;
use super::pickle::{Arena, Id, NONE, Node, Object};
use crate::Error;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Weights and what is said about them.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Under which key of the file they are; empty if they are the file.
    pub(super) root: String,
    /// Class of the root, and whether it was written by EDM's persistence.
    pub(super) class: Option<String>,
    pub(super) persistent: bool,
    /// Class of the network inside its preconditioning.
    pub(super) network: Option<String>,
    /// Scalars of the root object, or beside the dictionary of tensors.
    pub(super) attributes: Map<String, Value>,
    pub(super) init: Map<String, Value>,
    pub(super) training: Map<String, Value>,
    /// Dropout rate of the blocks, where they say it.
    pub(super) dropout: Option<f64>,
    /// Indices into the arena's views.
    pub(super) tensors: BTreeMap<String, usize>,
}

/// Keys under which files keep the weights to sample with, the best first.
const ROOTS: [&str; 7] = ["ema", "state_dict", "model", "net", "model_state_dict", "params_ema", "params"];
/// Deepest tree of modules, and most modules and tensors.
const DEEPEST: usize = 64;
const MOST: usize = 100_000;

/// Looks at the value that a file holds.
pub(super) fn read(arena: &Arena<'_>, top: Id) -> Result<Content, Error> {
    let mut content = Content::default();
    let mut root = top;
    if arena.pairs(top).is_some() {
        let candidates = ROOTS.iter().filter_map(|key| Some((*key, arena.field(top, key)?)));
        let mut fitting = candidates.filter(|(_, id)| matches!(arena.get(*id), Node::Object(_) | Node::Dict(_)));
        if let Some((key, id)) = fitting.next() {
            content.root = key.to_string();
            content.attributes = scalars(arena, top);
            root = id;
        }
    }
    match arena.get(root) {
        Node::Object(object) => modules(arena, object, &mut content)?,
        Node::Dict(pairs) => {
            for (key, value) in pairs {
                if let (Some(key), Node::Tensor(view)) = (arena.text(*key), arena.get(*value)) {
                    insert(arena, &mut content, key.to_string(), *view)?;
                }
            }
            if content.root.is_empty() {
                content.attributes = scalars(arena, root);
            }
        }
        _ => {}
    }
    if content.tensors.is_empty() {
        let roots = ROOTS.join(", ");
        let reason = format!("it holds no weights: neither tensors by name nor a network under one of {roots}");
        return Err(arena.source.broken("checkpoint", reason));
    }
    Ok(content)
}

fn insert(arena: &Arena<'_>, content: &mut Content, name: String, view: usize) -> Result<(), Error> {
    if content.tensors.len() >= MOST {
        let reason = format!("it holds more than {MOST} tensors");
        return Err(arena.source.broken("checkpoint", reason));
    }
    content.tensors.insert(name, view);
    Ok(())
}

/// The scalars of a dictionary whose names are not private.
fn scalars(arena: &Arena<'_>, dict: Id) -> Map<String, Value> {
    let pairs = arena.pairs(dict).unwrap_or_default().iter();
    let scalars = pairs.filter_map(|(key, value)| {
        let key = arena.text(*key).filter(|k| !k.starts_with('_'))?;
        Some((key.to_string(), json::scalar(arena, *value)?))
    });
    scalars.collect()
}

/// The parameters and buffers of a tree of modules, as its state dict would name them.
fn modules(arena: &Arena<'_>, root: &Object, content: &mut Content) -> Result<(), Error> {
    content.class = Some(short(&root.class));
    content.persistent = root.persistent;
    if let Some(state) = root.state {
        content.attributes = scalars(arena, state);
        content.init = json::map(arena, arena.field(state, "_init_kwargs"));
        content.training = json::map(arena, arena.field(state, "training_kwargs"));
    }
    let mut open = vec![(String::new(), root, 0)];
    let mut seen = 0;
    while let Some((prefix, object, depth)) = open.pop() {
        seen += 1;
        if depth > DEEPEST || seen > MOST || prefix.len() > 1024 {
            let reason = "its modules are nested too deep, or too many";
            return Err(arena.source.broken("checkpoint", reason));
        }
        let Some(state) = object.state else { continue };
        let part = |name: &str| arena.field(state, name).and_then(|id| arena.pairs(id)).unwrap_or_default();
        let volatile: BTreeSet<&str> = arena
            .field(state, "_non_persistent_buffers_set")
            .and_then(|id| arena.items(id))
            .unwrap_or_default()
            .iter()
            .filter_map(|id| arena.text(*id))
            .collect();
        for (group, skip) in [("_parameters", None), ("_buffers", Some(&volatile))] {
            for (key, value) in part(group) {
                let Some(name) = arena.text(*key) else { continue };
                if skip.is_some_and(|skip| skip.contains(name)) || *value == NONE {
                    continue;
                }
                match arena.get(*value) {
                    Node::Tensor(view) => insert(arena, content, format!("{prefix}{name}"), *view)?,
                    _ => {
                        let reason = format!("{prefix}{name} is no tensor");
                        return Err(arena.source.broken("checkpoint", reason));
                    }
                }
            }
        }
        for (key, value) in part("_modules").iter().rev() {
            if let (Some(name), Node::Object(module)) = (arena.text(*key), arena.get(*value)) {
                if depth == 0 && name == "model" {
                    content.network = Some(short(&module.class));
                }
                open.push((format!("{prefix}{name}."), module, depth + 1));
            }
        }
        if content.dropout.is_none() && &*short(&object.class) == "UNetBlock" {
            let rate = arena.field(state, "dropout").and_then(|id| json::scalar(arena, id));
            content.dropout = rate.and_then(|rate| rate.as_f64());
        }
    }
    Ok(())
}

/// The last part of a class's name.
fn short(class: &str) -> String {
    class.rsplit('.').next().unwrap_or(class).to_string()
}
