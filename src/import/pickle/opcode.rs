//! The instructions of Python's pickles, protocols 0 to 5, and their numbers and texts.

use super::{LONGEST_TEXT, Machine, Node};
use crate::Error;

pub(super) const MARK: u8 = b'(';
pub(super) const STOP: u8 = b'.';
pub(super) const POP: u8 = b'0';
pub(super) const POP_MARK: u8 = b'1';
pub(super) const DUP: u8 = b'2';
pub(super) const FLOAT: u8 = b'F';
pub(super) const INT: u8 = b'I';
pub(super) const BININT: u8 = b'J';
pub(super) const BININT1: u8 = b'K';
pub(super) const LONG: u8 = b'L';
pub(super) const BININT2: u8 = b'M';
pub(super) const NONE: u8 = b'N';
pub(super) const BINPERSID: u8 = b'Q';
pub(super) const REDUCE: u8 = b'R';
pub(super) const STRING: u8 = b'S';
pub(super) const BINSTRING: u8 = b'T';
pub(super) const SHORT_BINSTRING: u8 = b'U';
pub(super) const UNICODE: u8 = b'V';
pub(super) const BINUNICODE: u8 = b'X';
pub(super) const APPEND: u8 = b'a';
pub(super) const BUILD: u8 = b'b';
pub(super) const GLOBAL: u8 = b'c';
pub(super) const DICT: u8 = b'd';
pub(super) const EMPTY_DICT: u8 = b'}';
pub(super) const APPENDS: u8 = b'e';
pub(super) const GET: u8 = b'g';
pub(super) const BINGET: u8 = b'h';
pub(super) const INST: u8 = b'i';
pub(super) const LONG_BINGET: u8 = b'j';
pub(super) const LIST: u8 = b'l';
pub(super) const EMPTY_LIST: u8 = b']';
pub(super) const OBJ: u8 = b'o';
pub(super) const PUT: u8 = b'p';
pub(super) const BINPUT: u8 = b'q';
pub(super) const LONG_BINPUT: u8 = b'r';
pub(super) const SETITEM: u8 = b's';
pub(super) const TUPLE: u8 = b't';
pub(super) const EMPTY_TUPLE: u8 = b')';
pub(super) const SETITEMS: u8 = b'u';
pub(super) const BINFLOAT: u8 = b'G';
// Protocol 2
pub(super) const PROTO: u8 = 0x80;
pub(super) const NEWOBJ: u8 = 0x81;
pub(super) const EXT1: u8 = 0x82;
pub(super) const EXT2: u8 = 0x83;
pub(super) const EXT4: u8 = 0x84;
pub(super) const TUPLE1: u8 = 0x85;
pub(super) const TUPLE2: u8 = 0x86;
pub(super) const TUPLE3: u8 = 0x87;
pub(super) const NEWTRUE: u8 = 0x88;
pub(super) const NEWFALSE: u8 = 0x89;
pub(super) const LONG1: u8 = 0x8a;
pub(super) const LONG4: u8 = 0x8b;
// Protocol 3
pub(super) const BINBYTES: u8 = b'B';
pub(super) const SHORT_BINBYTES: u8 = b'C';
// Protocol 4
pub(super) const SHORT_BINUNICODE: u8 = 0x8c;
pub(super) const BINUNICODE8: u8 = 0x8d;
pub(super) const BINBYTES8: u8 = 0x8e;
pub(super) const EMPTY_SET: u8 = 0x8f;
pub(super) const ADDITEMS: u8 = 0x90;
pub(super) const FROZENSET: u8 = 0x91;
pub(super) const NEWOBJ_EX: u8 = 0x92;
pub(super) const STACK_GLOBAL: u8 = 0x93;
pub(super) const MEMOIZE: u8 = 0x94;
pub(super) const FRAME: u8 = 0x95;
// Protocol 5
pub(super) const BYTEARRAY8: u8 = 0x96;
pub(super) const NEXT_BUFFER: u8 = 0x97;
pub(super) const READONLY_BUFFER: u8 = 0x98;

/// Longest number or name in a line of its own.
const LINE: usize = 1024;
/// Longest whole number, in bytes.
const LONGEST_INTEGER: u64 = 64;

impl Machine<'_, '_, '_> {
    pub(super) fn number(&mut self, code: u8) -> Result<Node, Error> {
        Ok(match code {
            BININT => Node::Int(i64::from(i32::from_le_bytes(self.cursor.array()?))),
            BININT1 => Node::Int(i64::from(self.cursor.byte()?)),
            BININT2 => Node::Int(i64::from(u16::from_le_bytes(self.cursor.array()?))),
            BINFLOAT => Node::Float(f64::from_be_bytes(self.cursor.array()?)),
            LONG1 | LONG4 => {
                let len = match code {
                    LONG1 => u64::from(self.cursor.byte()?),
                    _ => u64::from(u32::from_le_bytes(self.cursor.array()?)),
                };
                if len > LONGEST_INTEGER {
                    return Err(self.wrong(format!("a whole number of {len} bytes")));
                }
                integer(self.cursor.bytes(len)?)
            }
            INT | LONG => {
                let line = self.cursor.line(LINE)?;
                let text = String::from_utf8_lossy(&line);
                match text.trim_end_matches('L') {
                    "00" if code == INT => Node::Bool(false),
                    "01" if code == INT => Node::Bool(true),
                    digits => match digits.parse() {
                        Ok(value) => Node::Int(value),
                        Err(_) => return Err(self.wrong("a whole number cannot be read")),
                    },
                }
            }
            _ => {
                let line = self.cursor.line(LINE)?;
                let value = String::from_utf8_lossy(&line).parse();
                Node::Float(value.map_err(|_| self.wrong("a number cannot be read"))?)
            }
        })
    }

    pub(super) fn text(&mut self, code: u8) -> Result<Node, Error> {
        let len = match code {
            STRING | UNICODE => {
                let line = self.cursor.line(LONGEST_TEXT as usize)?;
                let line = match line.as_slice() {
                    // Python writes the quotes of `repr`.
                    [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] if code == STRING => {
                        inner
                    }
                    other => other,
                };
                if line.contains(&b'\\') {
                    return Err(self.wrong("a text with escapes, which only protocol 0 has"));
                }
                return Ok(Node::Text(String::from_utf8_lossy(line).into()));
            }
            SHORT_BINSTRING | SHORT_BINUNICODE => u64::from(self.cursor.byte()?),
            BINSTRING | BINUNICODE => u64::from(u32::from_le_bytes(self.cursor.array()?)),
            _ => u64::from_le_bytes(self.cursor.array()?),
        };
        if len > LONGEST_TEXT {
            self.cursor.span(len)?;
            return Ok(Node::LongText);
        }
        let bytes = self.cursor.bytes(len)?;
        Ok(Node::Text(String::from_utf8_lossy(&bytes).into()))
    }

    /// A memo's number in a line of its own.
    pub(super) fn decimal(&mut self) -> Result<u64, Error> {
        let line = self.cursor.line(LINE)?;
        let number = String::from_utf8_lossy(&line).parse();
        number.map_err(|_| self.wrong("the number of a memo cannot be read"))
    }

    /// Module and name, from two lines or from the stack.
    pub(super) fn global_name(&mut self, code: u8) -> Result<(String, String), Error> {
        if code == GLOBAL {
            let lines = [self.cursor.line(LINE)?, self.cursor.line(LINE)?];
            let [module, name] = lines.map(|l| String::from_utf8_lossy(&l).into_owned());
            return Ok((module, name));
        }
        let name = self.pop()?;
        let module = self.pop()?;
        let text = |id| self.arena.text(id).filter(|t| t.len() <= LINE);
        match (text(module), text(name)) {
            (Some(module), Some(name)) => Ok((module.to_string(), name.to_string())),
            _ => Err(self.wrong("a name is not given as two texts")),
        }
    }
}

/// A whole number in two's complement, little-endian.
fn integer(bytes: Vec<u8>) -> Node {
    if bytes.len() > 8 {
        return Node::Big(bytes.into());
    }
    let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
    let mut word = [if negative { 0xff } else { 0 }; 8];
    word[..bytes.len()].copy_from_slice(&bytes);
    Node::Int(i64::from_le_bytes(word))
}
