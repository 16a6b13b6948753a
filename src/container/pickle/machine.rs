//! The stack machine: one instruction after the other.

use super::opcode as op;
use super::value::{Arena, EMPTY, ENTRY, FALSE, Id, NONE, Node, Policy, TRUE};
use crate::Error;
use crate::container::source::{Cursor, Span};
use std::collections::HashMap;

/// Where persistent ids, the storages of a torch stream, are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::container) enum Persistent {
    /// There are none: a plain pickle.
    None,
    /// Those of a torch file; `nested` inside a byte string of another pickle.
    Torch {
        /// Inside a byte string of another pickle.
        nested: bool,
    },
}

/// Longest text that is kept; longer ones are source code.
pub(super) const LONGEST_TEXT: u64 = 4096;
/// Most values on the stack, and most marks.
const DEEPEST_STACK: usize = 1 << 18;
const MOST_MARKS: usize = 1 << 17;
/// What an entry of the memo costs.
const MEMO: usize = 64;

/// Reads one pickle; the cursor stands behind it afterwards.
///
/// # Errors
/// [`Error::Malformed`] with the offset, [`Error::ForeignCode`], or [`Error::File`].
pub(in crate::container) fn read(
    cursor: &mut Cursor<'_>,
    arena: &mut Arena<'_>,
    persistent: Persistent,
) -> Result<Id, Error> {
    Machine {
        cursor,
        arena,
        persistent,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        at: 0,
    }
    .run()
}

pub(super) struct Machine<'m, 'c, 'a> {
    pub(super) cursor: &'m mut Cursor<'c>,
    pub(super) arena: &'m mut Arena<'a>,
    pub(super) persistent: Persistent,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    /// Where the present instruction starts.
    at: u64,
}

impl Machine<'_, '_, '_> {
    fn run(mut self) -> Result<Id, Error> {
        loop {
            self.arena.step()?;
            self.at = self.cursor.position();
            let code = self.cursor.byte()?;
            if code == op::STOP {
                return self.pop();
            }
            self.execute(code)?;
        }
    }

    fn execute(&mut self, code: u8) -> Result<(), Error> {
        match code {
            op::PROTO => {
                let version = self.cursor.byte()?;
                if version > 5 {
                    return Err(self.wrong(format!("its protocol is {version}, not 0 to 5")));
                }
                Ok(())
            }
            op::FRAME => {
                let len = u64::from_le_bytes(self.cursor.array()?);
                if len > self.cursor.remaining() {
                    return Err(
                        self.wrong(format!("a frame of {len} bytes is longer than the file"))
                    );
                }
                Ok(())
            }
            op::READONLY_BUFFER => Ok(()),
            op::MARK => {
                if self.marks.len() >= MOST_MARKS {
                    return Err(self.wrong("too many marks"));
                }
                self.marks.push(self.stack.len());
                Ok(())
            }
            op::POP => {
                // As Python: a mark that nothing follows is popped itself.
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                    return Ok(());
                }
                self.pop().map(|_| ())
            }
            op::POP_MARK => self.pop_mark().map(|_| ()),
            op::DUP => {
                let top = self.top()?;
                self.push(top)
            }
            op::NONE => self.push(NONE),
            op::NEWTRUE => self.push(TRUE),
            op::NEWFALSE => self.push(FALSE),
            op::INT
            | op::LONG
            | op::FLOAT
            | op::BININT
            | op::BININT1
            | op::BININT2
            | op::BINFLOAT
            | op::LONG1
            | op::LONG4 => {
                let node = self.number(code)?;
                self.make(node)
            }
            op::STRING
            | op::UNICODE
            | op::BINSTRING
            | op::SHORT_BINSTRING
            | op::BINUNICODE
            | op::SHORT_BINUNICODE
            | op::BINUNICODE8 => {
                let node = self.text(code)?;
                self.make(node)
            }
            op::BINBYTES | op::SHORT_BINBYTES | op::BINBYTES8 | op::BYTEARRAY8 => {
                let len = match code {
                    op::BINBYTES => u64::from(u32::from_le_bytes(self.cursor.array()?)),
                    op::SHORT_BINBYTES => u64::from(self.cursor.byte()?),
                    _ => u64::from_le_bytes(self.cursor.array()?),
                };
                let span = self.cursor.span(len)?;
                if self.arena.policy == Policy::Survey {
                    self.survey_bytes(span)?;
                }
                self.make(Node::Bytes(span))
            }
            op::EMPTY_TUPLE => self.push(EMPTY),
            op::TUPLE1 | op::TUPLE2 | op::TUPLE3 => {
                let count = usize::from(code - op::TUPLE1) + 1;
                let floor = self.marks.last().copied().unwrap_or(0);
                let Some(from) = self.stack.len().checked_sub(count).filter(|f| *f >= floor) else {
                    return Err(self.wrong("there are too few values for a tuple"));
                };
                let items = self.stack.split_off(from);
                self.make(Node::Tuple(items.into()))
            }
            op::TUPLE => {
                let items = self.pop_mark()?;
                self.make(Node::Tuple(items.into()))
            }
            op::EMPTY_LIST => self.make(Node::List(Vec::new())),
            op::LIST => {
                let items = self.pop_mark()?;
                self.make(Node::List(items))
            }
            op::EMPTY_SET => self.make(Node::Set(Vec::new())),
            op::FROZENSET => {
                let items = self.pop_mark()?;
                self.make(Node::Set(items))
            }
            op::EMPTY_DICT => self.make(Node::Dict(Vec::new())),
            op::DICT => {
                let items = self.pop_mark()?;
                let pairs = self.paired(&items)?;
                self.make(Node::Dict(pairs))
            }
            op::APPEND => {
                let item = self.pop()?;
                self.extend(&[item])
            }
            op::APPENDS | op::ADDITEMS => {
                let items = self.pop_mark()?;
                self.extend(&items)
            }
            op::SETITEM => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(&[key, value])
            }
            op::SETITEMS => {
                let items = self.pop_mark()?;
                self.set_items(&items)
            }
            op::PUT | op::BINPUT | op::LONG_BINPUT | op::MEMOIZE => {
                let key = match code {
                    op::PUT => self.decimal()?,
                    op::BINPUT => u64::from(self.cursor.byte()?),
                    op::LONG_BINPUT => u64::from(u32::from_le_bytes(self.cursor.array()?)),
                    _ => self.memo.len() as u64,
                };
                let top = self.top()?;
                self.arena.spend(MEMO)?;
                self.memo.insert(key, top);
                Ok(())
            }
            op::GET | op::BINGET | op::LONG_BINGET => {
                let key = match code {
                    op::GET => self.decimal()?,
                    op::BINGET => u64::from(self.cursor.byte()?),
                    _ => u64::from(u32::from_le_bytes(self.cursor.array()?)),
                };
                match self.memo.get(&key).copied() {
                    Some(id) => self.push(id),
                    None => Err(self.wrong(format!("memo {key} was never stored"))),
                }
            }
            op::GLOBAL | op::STACK_GLOBAL => {
                let (module, name) = self.global_name(code)?;
                let id = self.arena.global(&module, &name, self.at)?;
                self.push(id)
            }
            op::REDUCE => {
                let arguments = self.pop()?;
                let callee = self.pop()?;
                let id = self.call(callee, arguments)?;
                self.push(id)
            }
            op::NEWOBJ | op::NEWOBJ_EX => {
                if code == op::NEWOBJ_EX {
                    self.pop()?;
                }
                let arguments = self.pop()?;
                let class = self.pop()?;
                let id = self.instance(class, arguments)?;
                self.push(id)
            }
            op::INST => {
                let (module, name) = self.global_name(op::GLOBAL)?;
                let class = self.arena.global(&module, &name, self.at)?;
                let arguments = self.pop_mark()?;
                let arguments = self.arena.put(Node::Tuple(arguments.into()))?;
                let id = self.instance(class, arguments)?;
                self.push(id)
            }
            op::OBJ => {
                let mut items = self.pop_mark()?;
                if items.is_empty() {
                    return Err(self.wrong("an instance of nothing"));
                }
                let class = items.remove(0);
                let arguments = self.arena.put(Node::Tuple(items.into()))?;
                let id = self.instance(class, arguments)?;
                self.push(id)
            }
            op::BUILD => {
                let state = self.pop()?;
                let object = self.top()?;
                self.build(object, state)
            }
            op::BINPERSID => {
                let id = self.pop()?;
                let id = self.persistent(id)?;
                self.push(id)
            }
            op::EXT1 | op::EXT2 | op::EXT4 => {
                Err(self
                    .wrong("it refers to Python's extension registry, which files cannot carry"))
            }
            op::NEXT_BUFFER => Err(self.wrong("it refers to a buffer outside the file")),
            other => Err(self.wrong(format!("{other:#04x} is no instruction of a pickle"))),
        }
    }

    fn extend(&mut self, items: &[Id]) -> Result<(), Error> {
        let list = self.top()?;
        self.arena.spend(items.len() * ENTRY)?;
        let survey = self.arena.policy == Policy::Survey;
        match self.arena.get_mut(list) {
            Node::List(old) | Node::Set(old) => old.extend_from_slice(items),
            Node::Opaque => {}
            _ if survey => {}
            _ => return Err(self.wrong("something is appended to what is no list")),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Result<(), Error> {
        let dict = self.top()?;
        let pairs = self.paired(items)?;
        self.arena.spend(pairs.len() * 2 * ENTRY)?;
        let survey = self.arena.policy == Policy::Survey;
        match self.arena.get_mut(dict) {
            Node::Dict(old) => old.extend_from_slice(&pairs),
            Node::Opaque => {}
            _ if survey => {}
            _ => return Err(self.wrong("an item is set in what is no dictionary")),
        }
        Ok(())
    }

    fn paired(&self, items: &[Id]) -> Result<Vec<(Id, Id)>, Error> {
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(self.wrong("a key has no value"));
        }
        Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
    }

    fn make(&mut self, node: Node) -> Result<(), Error> {
        let id = self.arena.put(node)?;
        self.push(id)
    }

    fn push(&mut self, id: Id) -> Result<(), Error> {
        if self.stack.len() >= DEEPEST_STACK {
            return Err(self.wrong("its stack grows too deep"));
        }
        self.stack.push(id);
        Ok(())
    }

    /// The top of the stack above the last mark.
    fn top(&self) -> Result<Id, Error> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(id) if self.stack.len() > floor => Ok(*id),
            _ => Err(self.wrong("it takes a value from an empty stack")),
        }
    }

    pub(super) fn pop(&mut self) -> Result<Id, Error> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, Error> {
        match self.marks.pop() {
            Some(height) => Ok(self.stack.split_off(height)),
            None => Err(self.wrong("there is no mark")),
        }
    }

    /// An error that says where.
    pub(super) fn wrong(&self, reason: impl std::fmt::Display) -> Error {
        let reason = format!("at byte {}: {reason}", self.at);
        self.arena.source.broken("checkpoint", reason)
    }
}

/// Where the bytes of a value are, if it is bytes.
pub(super) fn bytes_of(arena: &Arena<'_>, id: Id) -> Option<Span> {
    match arena.get(id) {
        Node::Bytes(span) => Some(*span),
        _ => None,
    }
}
