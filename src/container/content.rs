//! What a pickle of weights is about: the tree of modules or the dictionary of tensors, and the settings beside it.

use super::pickle::{Arena, Id, NONE, Node, Object, json};
use crate::Error;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Weights and what is said about them.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// Under which key of the file they are; empty if they are the file.
    pub(crate) root: String,
    /// Class of the root, and whether it was written by EDM's persistence.
    pub(crate) class: Option<String>,
    pub(crate) persistent: bool,
    /// Class of the network inside its preconditioning.
    pub(crate) network: Option<String>,
    /// Scalars of the root object, or beside the dictionary of tensors.
    pub(crate) attributes: Map<String, Value>,
    pub(crate) init: Map<String, Value>,
    pub(crate) training: Map<String, Value>,
    /// Dropout rate by class of module, of the first that says it.
    pub(crate) dropout: BTreeMap<String, f64>,
    /// Bytes of all names.
    names: usize,
    /// Indices into the arena's views.
    pub(crate) tensors: BTreeMap<String, usize>,
}

/// Keys under which files keep the weights to sample with, the best first.
const ROOTS: [&str; 7] = [
    "ema",
    "state_dict",
    "model",
    "net",
    "model_state_dict",
    "params_ema",
    "params",
];
/// Deepest tree of modules, most modules and tensors, and most bytes of names: parts may be shared, so that a small file
/// could describe a tree without bound.
const DEEPEST: usize = 64;
const MOST: usize = 40_000;
const MOST_NAMES: usize = 4 << 20;
/// Most entries of dictionaries that are looked through.
const MOST_WORK: usize = 4 << 20;
/// Most scalars beside the weights, and their longest text.
const MOST_SCALARS: usize = 256;
const LONGEST_SCALAR: usize = 1024;

/// Looks at the value that a file holds.
pub(crate) fn read(arena: &Arena<'_>, top: Id) -> Result<Content, Error> {
    let mut content = Content::default();
    let mut root = top;
    if arena.pairs(top).is_some() {
        let candidates = ROOTS
            .iter()
            .filter_map(|key| Some((*key, arena.field(top, key)?)));
        let mut fitting =
            candidates.filter(|(_, id)| matches!(arena.get(*id), Node::Object(_) | Node::Dict(_)));
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
        // They may be in something that is not opened.
        if let Some(stranger) = arena.globals.iter().find(|global| !global.allowed) {
            return Err(Error::ForeignCode {
                path: arena.source.path().to_path_buf(),
                name: stranger.name.clone(),
                offset: stranger.offset,
            });
        }
        let roots = ROOTS.join(", ");
        let reason = format!(
            "it holds no weights: neither tensors by name nor a network under one of {roots}"
        );
        return Err(arena.source.broken("checkpoint", reason));
    }
    Ok(content)
}

fn insert(
    arena: &Arena<'_>,
    content: &mut Content,
    name: String,
    view: usize,
) -> Result<(), Error> {
    content.names += name.len();
    if content.tensors.len() >= MOST || content.names > MOST_NAMES {
        let reason =
            format!("it names more than {MOST} tensors, or names them with too many letters");
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
        let value = json::scalar(arena, *value)?;
        let short =
            key.len() <= LONGEST_SCALAR && value.as_str().is_none_or(|v| v.len() <= LONGEST_SCALAR);
        short.then(|| (key.to_string(), value))
    });
    scalars.take(MOST_SCALARS).collect()
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
    let (mut seen, mut work) = (0, 0);
    while let Some((prefix, object, depth)) = open.pop() {
        let Some(state) = object.state else { continue };
        seen += 1;
        work += arena.pairs(state).map_or(0, <[_]>::len);
        let too_many = seen > MOST || open.len() > MOST || work > MOST_WORK;
        if depth > DEEPEST || too_many || prefix.len() > 1024 {
            let reason = "its modules are nested too deep, or too many";
            return Err(arena.source.broken("checkpoint", reason));
        }
        let part = |name: &str| {
            arena
                .field(state, name)
                .and_then(|id| arena.pairs(id))
                .unwrap_or_default()
        };
        let volatile: BTreeSet<&str> = arena
            .field(state, "_non_persistent_buffers_set")
            .and_then(|id| arena.items(id))
            .unwrap_or_default()
            .iter()
            .filter_map(|id| arena.text(*id))
            .collect();
        work += volatile.len();
        for (group, skip) in [("_parameters", None), ("_buffers", Some(&volatile))] {
            work += part(group).len();
            for (key, value) in part(group) {
                let Some(name) = arena.text(*key) else {
                    continue;
                };
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
        let inner = part("_modules");
        if inner.len() > MOST {
            return Err(arena
                .source
                .broken("checkpoint", "a module has too many parts"));
        }
        for (key, value) in inner.iter().rev() {
            if let (Some(name), Node::Object(module)) = (arena.text(*key), arena.get(*value)) {
                if depth == 0 && name == "model" {
                    content.network = Some(short(&module.class));
                }
                open.push((format!("{prefix}{name}."), module, depth + 1));
            }
        }
        let class = short(&object.class);
        if !content.dropout.contains_key(&class) {
            let rate = arena
                .field(state, "dropout")
                .and_then(|id| json::scalar(arena, id));
            let rate = rate.and_then(|rate| rate.as_f64());
            content.dropout.extend(rate.map(|rate| (class, rate)));
        }
    }
    Ok(())
}

/// The last part of a class's name.
fn short(class: &str) -> String {
    class.rsplit('.').next().unwrap_or(class).to_string()
}
