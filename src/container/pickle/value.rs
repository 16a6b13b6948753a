//! What a pickle describes, in one flat table: deep nesting and shared parts cost no recursion, and everything has its
//! price, so that a small file cannot ask for much memory.

use super::global::{Global, Role};
use crate::Error;
use crate::container::source::{LazyFile, Span};
use crate::container::tensor::{Storage, View};
use std::collections::HashMap;

/// The place of a value in its [`Arena`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::container) struct Id(u32);

/// The values that need no place of their own.
pub(in crate::container) const NONE: Id = Id(0);
pub(in crate::container) const FALSE: Id = Id(1);
pub(in crate::container) const TRUE: Id = Id(2);
/// `()`
pub(in crate::container) const EMPTY: Id = Id(3);

/// A value. Parts are places in the arena.
#[derive(Clone, Debug)]
pub(in crate::container) enum Node {
    None,
    Bool(bool),
    Int(i64),
    /// A whole number of more than 64 bits, little-endian.
    Big(Box<[u8]>),
    Float(f64),
    Text(Box<str>),
    /// A text too long for a name, such as `module_src`; it is never read.
    LongText,
    /// Bytes, left where they are.
    Bytes(Span),
    /// Bytes that were spelled as a text.
    Encoded(Box<[u8]>),
    Tuple(Box<[Id]>),
    List(Vec<Id>),
    Set(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A name of Python's, as an index into [`Arena::globals`].
    Global(usize),
    /// A number type of numpy's, and whether it is big-endian.
    NumpyType(Box<str>, bool),
    /// Something that would be an instance of a class; only its state is looked at.
    Object(Box<Object>),
    /// The same of a class that is not on the list: not even its state is.
    Opaque,
    /// Index into [`Arena::storages`].
    Storage(usize),
    /// Index into [`Arena::views`].
    Tensor(usize),
}

/// An instance of a class.
#[derive(Clone, Debug)]
pub(in crate::container) struct Object {
    pub(in crate::container) class: Box<str>,
    /// Whether it was written by EDM's `torch_utils.persistence`.
    pub(in crate::container) persistent: bool,
    pub(in crate::container) state: Option<Id>,
}

/// What is done about names that are not on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::container) enum Policy {
    /// The file is refused.
    Refuse,
    /// They are noted, and nothing is interpreted.
    Survey,
}

/// Every value of a file.
#[derive(Debug)]
pub(in crate::container) struct Arena<'a> {
    pub(in crate::container) source: &'a LazyFile,
    pub(in crate::container) policy: Policy,
    nodes: Vec<Node>,
    pub(in crate::container) globals: Vec<Global>,
    known: HashMap<String, usize>,
    pub(in crate::container) storages: Vec<Storage>,
    pub(in crate::container) views: Vec<View>,
    /// Storages read from inline byte strings, so that shared ones stay shared.
    pub(super) inline: HashMap<Span, Id>,
    spent: usize,
    steps: u64,
}

/// Most memory for the structure of a file, without its tensors. The largest published checkpoints need a few MB.
const MOST_STRUCTURE: usize = 32 << 20;
/// Most instructions in all pickles of a file.
const MOST_STEPS: u64 = 8 << 20;

/// What a value costs, whatever it is: its place, and the table's room to grow.
const NODE: usize = 96;
/// What one entry of a list costs, with the list's room to grow.
pub(super) const ENTRY: usize = 16;

impl<'a> Arena<'a> {
    pub(in crate::container) fn new(source: &'a LazyFile, policy: Policy) -> Self {
        Self {
            source,
            policy,
            nodes: vec![
                Node::None,
                Node::Bool(false),
                Node::Bool(true),
                Node::Tuple(Box::default()),
            ],
            globals: Vec::new(),
            known: HashMap::new(),
            storages: Vec::new(),
            views: Vec::new(),
            inline: HashMap::new(),
            spent: 0,
            steps: 0,
        }
    }

    /// Pays for memory before it is used.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), Error> {
        self.spent = self.spent.saturating_add(bytes);
        if self.spent > MOST_STRUCTURE {
            let limit = MOST_STRUCTURE >> 20;
            let reason = format!("its structure, without the tensors, takes more than {limit} MB");
            return Err(self.source.broken("checkpoint", reason));
        }
        Ok(())
    }

    /// Pays for an instruction.
    pub(super) fn step(&mut self) -> Result<(), Error> {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            let reason = format!("its pickles have more than {MOST_STEPS} instructions");
            return Err(self.source.broken("checkpoint", reason));
        }
        Ok(())
    }

    pub(in crate::container) fn put(&mut self, node: Node) -> Result<Id, Error> {
        let more = match &node {
            Node::Big(bytes) | Node::Encoded(bytes) => bytes.len(),
            Node::Text(text) | Node::NumpyType(text, _) => text.len(),
            Node::Tuple(ids) => ids.len() * ENTRY,
            Node::List(ids) | Node::Set(ids) => ids.len() * ENTRY,
            Node::Dict(pairs) => pairs.len() * 2 * ENTRY,
            Node::Object(object) => size_of::<Object>() + object.class.len(),
            _ => 0,
        };
        self.spend(NODE + more)?;
        let id = Id(self.nodes.len() as u32);
        self.nodes.push(node);
        Ok(id)
    }

    pub(in crate::container) fn get(&self, id: Id) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub(super) fn get_mut(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    /// Notes a name that the file mentions at the byte `offset`.
    ///
    /// # Errors
    /// [`Error::ForeignCode`] if it is not on the list and the file is to be loaded.
    pub(super) fn global(&mut self, module: &str, name: &str, offset: u64) -> Result<Id, Error> {
        let full = format!("{module}.{name}");
        if let Some(index) = self.known.get(&full) {
            self.globals[*index].mentions += 1;
            return self.put(Node::Global(*index));
        }
        let listed = Role::of(module, name);
        let role = listed.or_else(|| Role::of_stranger(module, name));
        if role.is_none() && self.policy == Policy::Refuse {
            return Err(Error::ForeignCode {
                path: self.source.path().to_path_buf(),
                name: full,
                offset,
            });
        }
        self.spend(4 * full.len() + 256)?;
        let index = self.globals.len();
        self.globals.push(Global {
            name: full.clone(),
            offset,
            mentions: 1,
            allowed: listed.is_some(),
            role,
        });
        self.known.insert(full, index);
        self.put(Node::Global(index))
    }

    pub(in crate::container) fn storage(&mut self, storage: Storage) -> Result<Id, Error> {
        self.spend(4 * size_of::<Storage>() + storage.key.len())?;
        self.storages.push(storage);
        self.put(Node::Storage(self.storages.len() - 1))
    }

    pub(super) fn tensor(&mut self, view: View) -> Result<Id, Error> {
        self.spend(4 * size_of::<View>() + 16 * view.shape.len())?;
        self.views.push(view);
        self.put(Node::Tensor(self.views.len() - 1))
    }

    pub(in crate::container) fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(in crate::container) fn int(&self, id: Id) -> Option<i64> {
        match self.get(id) {
            Node::Int(value) => Some(*value),
            Node::Bool(value) => Some(i64::from(*value)),
            _ => None,
        }
    }

    /// The entries of a tuple or list.
    pub(in crate::container) fn items(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Node::Tuple(items) => Some(items),
            Node::List(items) | Node::Set(items) => Some(items),
            _ => None,
        }
    }

    pub(in crate::container) fn pairs(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.get(id) {
            Node::Dict(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// The value under a text key; the last one counts, as in Python.
    pub(in crate::container) fn field(&self, dict: Id, key: &str) -> Option<Id> {
        let pairs = self.pairs(dict)?.iter().rev();
        let mut found = pairs.filter(|(k, _)| self.text(*k) == Some(key));
        found.next().map(|(_, value)| *value)
    }

    /// What a name stands for, if `id` is a name on the list.
    pub(super) fn role(&self, id: Id) -> Option<Role> {
        match self.get(id) {
            Node::Global(index) => self.globals[*index].role,
            _ => None,
        }
    }

    /// The full name, if `id` is a name.
    pub(super) fn name(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Node::Global(index) => Some(&self.globals[*index].name),
            _ => None,
        }
    }
}
