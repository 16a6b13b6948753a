//! What stands for Python's calls: each name on the list has a fixed meaning as data.

use super::global::Role;
use super::machine::{Machine, Persistent, bytes_of};
use super::value::{Arena, EMPTY, ENTRY, Id, NONE, Node, Object, Policy};
use crate::Error;
use crate::container::scalar::Scalar;
use crate::container::source::Span;
use crate::container::tensor::{Storage, View};
use crate::container::torch::legacy;

/// Functions whose first argument is a function: how many of them may stand inside each other.
const WRAPPED: usize = 8;
/// How the name ends that makes an array of numpy's.
pub(in crate::container) const ARRAY: &str = "multiarray._reconstruct";

impl Machine<'_, '_, '_> {
    /// `callee(*arguments)`.
    pub(super) fn call(&mut self, mut callee: Id, mut arguments: Id) -> Result<Id, Error> {
        if self.arena.policy == Policy::Survey {
            return Ok(EMPTY);
        }
        for _ in 0..WRAPPED {
            let Some(role) = self.arena.role(callee) else {
                return Err(self.wrong("it calls something that is not a name"));
            };
            let Some(items) = self.arena.items(arguments) else {
                return Err(self.wrong("the arguments of a call are no tuple"));
            };
            let items = items.get(..items.len().min(8)).unwrap_or_default().to_vec();
            let first = items.first().copied().unwrap_or(NONE);
            match role {
                Role::RebuildFromType if items.len() >= 3 => {
                    (callee, arguments) = (first, items[2])
                }
                Role::RebuildTensor | Role::RebuildTensorV3 => return self.tensor(&items, role),
                Role::RebuildParameter => {
                    return match self.arena.get(first) {
                        Node::Tensor(_) => Ok(first),
                        _ => Err(self.wrong("a parameter is made of something that is no tensor")),
                    };
                }
                Role::LoadFromBytes => return self.load_from_bytes(first),
                Role::NumpyScalar => return self.numpy_scalar(&items),
                Role::NumpyType => {
                    let name = self.arena.text(first).unwrap_or_default();
                    let node = Node::NumpyType(name.into(), false);
                    return self.arena.put(node);
                }
                Role::Persistent => return self.persistent_object(first),
                Role::Opaque => return self.arena.put(Node::Opaque),
                Role::Encode => return self.encode(first),
                Role::Reconstructor => return self.instance(first, arguments),
                Role::Tuple => {
                    let items = self.arena.items(first).unwrap_or_default().to_vec();
                    return self.arena.put(Node::Tuple(items.into()));
                }
                Role::List | Role::Set => {
                    let items = self.arena.items(first).unwrap_or_default();
                    self.charge(items.len())?;
                    let items = self.arena.items(first).unwrap_or_default().to_vec();
                    return self.arena.put(match role {
                        Role::List => Node::List(items),
                        _ => Node::Set(items),
                    });
                }
                _ => return self.instance(callee, arguments),
            }
        }
        Err(self.wrong("a function is wrapped too often"))
    }

    /// A new instance of a class.
    pub(super) fn instance(&mut self, class: Id, arguments: Id) -> Result<Id, Error> {
        if self.arena.policy == Policy::Survey {
            return Ok(EMPTY);
        }
        match self.arena.role(class) {
            Some(Role::Dict) => self.dict(arguments),
            Some(Role::List) => self.arena.put(Node::List(Vec::new())),
            Some(Role::Set) => self.arena.put(Node::Set(Vec::new())),
            Some(Role::Opaque) => self.arena.put(Node::Opaque),
            Some(_) => {
                let class = self.arena.name(class).unwrap_or_default().into();
                self.arena.put(Node::Object(Box::new(Object {
                    class,
                    persistent: false,
                    state: None,
                })))
            }
            None => Err(self.wrong("an instance of something that is not a class")),
        }
    }

    /// `dict()`, `dict([(key, value), ...])`.
    fn dict(&mut self, arguments: Id) -> Result<Id, Error> {
        let first = self.arena.items(arguments).and_then(|i| i.first().copied());
        let mut pairs = Vec::new();
        if let Some(first) = first {
            let len = self.arena.items(first).unwrap_or_default().len();
            self.charge(2 * len)?;
            for item in self.arena.items(first).unwrap_or_default() {
                match self.arena.items(*item) {
                    Some([key, value]) => pairs.push((*key, *value)),
                    _ => return Err(self.wrong("a dictionary is made of what are no pairs")),
                }
            }
        }
        self.arena.put(Node::Dict(pairs))
    }

    /// `object.__setstate__(state)`.
    pub(super) fn build(&mut self, id: Id, state: Id) -> Result<(), Error> {
        // With slots the state is a pair; that of an array is a tuple by itself.
        let state = match self.arena.get(state) {
            Node::Tuple(parts) if matches!(self.arena.get(id), Node::Object(o) if !o.class.ends_with(ARRAY)) => {
                parts.first().copied().unwrap_or(state)
            }
            _ => state,
        };
        let order = match self.arena.items(state) {
            Some([_, order, ..]) => self.arena.text(*order).map(str::to_string),
            _ => None,
        };
        match self.arena.get_mut(id) {
            Node::Object(object) => object.state = Some(state),
            Node::NumpyType(_, big) => *big = order.as_deref() == Some(">"),
            // Attributes of dictionaries (such as `_metadata` of a state dict) and tensors say nothing about weights.
            _ => {}
        }
        Ok(())
    }

    /// `_reconstruct_persistent_obj(meta)`: only the class's name and the state are looked at.
    fn persistent_object(&mut self, meta: Id) -> Result<Id, Error> {
        let class = self.arena.field(meta, "class_name");
        let class = class.and_then(|id| self.arena.text(id));
        let Some(class) = class.map(Box::from) else {
            return Err(self.wrong("a persistent object has no text `class_name`"));
        };
        let state = self.arena.field(meta, "state");
        self.arena.put(Node::Object(Box::new(Object {
            class,
            persistent: true,
            state,
        })))
    }

    /// `_rebuild_tensor_v2(storage, offset, size, stride, ...)`; version 3 gives the type after two more.
    fn tensor(&mut self, items: &[Id], role: Role) -> Result<Id, Error> {
        let &[storage, offset, size, stride, ..] = items else {
            return Err(self.wrong("a tensor is described by too few values"));
        };
        let Node::Storage(index) = *self.arena.get(storage) else {
            return Err(self.wrong("a tensor has no storage"));
        };
        let storage = &self.arena.storages[index];
        let scalar = match (role, items.get(6).map(|id| self.arena.role(*id))) {
            (Role::RebuildTensorV3, Some(Some(Role::Dtype(scalar)))) => scalar,
            (Role::RebuildTensorV3, _) => return Err(self.wrong("a tensor has no type")),
            _ => storage.scalar,
        };
        let whole = |id: Id| self.arena.int(id).and_then(|n| u64::try_from(n).ok());
        let all = |id: Id| -> Option<Vec<u64>> {
            self.arena.items(id)?.iter().map(|i| whole(*i)).collect()
        };
        let (Some(offset), Some(shape), Some(strides)) = (whole(offset), all(size), all(stride))
        else {
            return Err(self.wrong("a tensor's offset, size or stride is not a list of counts"));
        };
        match View::new(
            storage,
            index,
            scalar,
            offset,
            &shape,
            strides,
            self.arena.source.len(),
        ) {
            Ok(view) => self.arena.tensor(view),
            Err(reason) => Err(self.wrong(reason)),
        }
    }

    /// A storage in a legacy torch stream of its own.
    fn load_from_bytes(&mut self, bytes: Id) -> Result<Id, Error> {
        let Some(span) = bytes_of(self.arena, bytes) else {
            return Err(self.wrong(
                "a storage is not given as bytes (files of protocol 2 spell them as texts); save the file again with \
                 protocol 3 or newer",
            ));
        };
        if let Some(id) = self.arena.inline.get(&span) {
            return Ok(*id);
        }
        if self.persistent == (Persistent::Torch { nested: true }) {
            return Err(
                self.wrong("a byte string inside a byte string; weights are never nested so deep")
            );
        }
        if !legacy::starts(self.arena.source, span)? {
            return Err(self.wrong("a byte string is no torch stream"));
        }
        let id = legacy::read(self.arena, span, true)?.root;
        if !matches!(self.arena.get(id), Node::Storage(_)) {
            return Err(self.wrong("a byte string holds something other than a storage"));
        }
        self.arena.spend(96)?;
        self.arena.inline.insert(span, id);
        Ok(id)
    }

    /// A storage of the torch file around this pickle.
    pub(super) fn persistent(&mut self, id: Id) -> Result<Id, Error> {
        if self.arena.policy == Policy::Survey {
            return Ok(EMPTY);
        }
        if self.persistent == Persistent::None {
            return Err(self.wrong("it refers to a storage outside the pickle"));
        }
        let items = self.arena.items(id).unwrap_or_default();
        let Some((&[kind, class, key, _, count], more)) = items.split_first_chunk::<5>() else {
            return Err(self.wrong("a storage is described by too few values"));
        };
        let count = self.arena.int(count).and_then(|n| u64::try_from(n).ok());
        let scalar = self.arena.storage_type(class);
        let key = match self.arena.get(key) {
            Node::Text(text) => Some(text.to_string()),
            Node::Int(number) => Some(number.to_string()),
            _ => None,
        };
        match (self.arena.text(kind), scalar, key, count) {
            (Some("storage"), Some(scalar), Some(key), Some(count)) => {
                if more.iter().any(|extra| *extra != NONE) {
                    return Err(self.wrong(
                        "a storage is a view of another one, which torch has not written since version 0.4; load \
                         and save it again with a newer torch",
                    ));
                }
                let bytes = count.checked_mul(scalar.size() as u64);
                if bytes.is_none_or(|b| b > self.arena.source.len()) {
                    let reason =
                        format!("storage {key} of {count} {scalar} is larger than the file");
                    return Err(self.wrong(reason));
                }
                self.arena.storage(Storage {
                    scalar,
                    count,
                    key,
                    span: None,
                })
            }
            _ => Err(self.wrong("a storage is described by values of the wrong kind")),
        }
    }

    /// `numpy.core.multiarray.scalar(type, bytes)`.
    fn numpy_scalar(&mut self, items: &[Id]) -> Result<Id, Error> {
        let &[of, bytes, ..] = items else {
            return Err(self.wrong("a number of numpy's has no value"));
        };
        let Node::NumpyType(name, big) = self.arena.get(of) else {
            return Err(self.wrong("a number of numpy's has no type"));
        };
        let (name, big) = (name.clone(), *big);
        let mut raw = match self.arena.get(bytes) {
            Node::Bytes(span) if span.len <= 8 => self.arena.source.read(*span)?,
            Node::Encoded(bytes) if bytes.len() <= 8 => bytes.to_vec(),
            _ => return self.arena.put(Node::None),
        };
        if big {
            raw.reverse();
        }
        let node = match name.trim_start_matches(['<', '=', '|']) {
            "f8" => raw.try_into().map(|b| Node::Float(f64::from_le_bytes(b))),
            "f4" => raw
                .try_into()
                .map(|b| Node::Float(f64::from(f32::from_le_bytes(b)))),
            "i8" => raw.try_into().map(|b| Node::Int(i64::from_le_bytes(b))),
            "i4" => raw
                .try_into()
                .map(|b| Node::Int(i64::from(i32::from_le_bytes(b)))),
            "u1" => raw.try_into().map(|[b]: [u8; 1]| Node::Int(i64::from(b))),
            "b1" => raw.try_into().map(|[b]: [u8; 1]| Node::Bool(b != 0)),
            _ => Ok(Node::None),
        };
        match node {
            Ok(node) => self.arena.put(node),
            Err(_) => Err(self.wrong(format!("a number of type {name} has another size"))),
        }
    }

    /// `_codecs.encode(text, 'latin1')`.
    fn encode(&mut self, text: Id) -> Result<Id, Error> {
        let bytes: Option<Box<[u8]>> = match self.arena.get(text) {
            Node::Text(text) => text.chars().map(|c| u8::try_from(c).ok()).collect(),
            // Too long to be a number; whoever needs it says so.
            _ => return self.arena.put(Node::LongText),
        };
        match bytes {
            Some(bytes) => self.arena.put(Node::Encoded(bytes)),
            None => Err(self.wrong("bytes are spelled with letters beyond Latin-1")),
        }
    }

    /// Bytes in a survey: if they are a torch stream, its names are noted as well, whoever would read it.
    pub(super) fn survey_bytes(&mut self, span: Span) -> Result<(), Error> {
        let nested = self.persistent == Persistent::Torch { nested: true };
        if nested
            || self.arena.inline.contains_key(&span)
            || !legacy::starts(self.arena.source, span)?
        {
            return Ok(());
        }
        self.arena.spend(96)?;
        self.arena.inline.insert(span, NONE);
        // What is broken inside is for whoever loads it to say.
        let _ = legacy::survey(self.arena, span);
        Ok(())
    }

    fn charge(&mut self, entries: usize) -> Result<(), Error> {
        self.arena.spend(entries * ENTRY)
    }
}

impl Arena<'_> {
    /// The type of numbers that a storage class names.
    pub(super) fn storage_type(&self, class: Id) -> Option<Scalar> {
        match self.role(class)? {
            Role::Storage(scalar) => Some(scalar),
            _ => None,
        }
    }
}
