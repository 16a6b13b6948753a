//! Numbers, texts and names, as the instructions spell them.

use super::machine::{LONGEST_TEXT, Machine};
use super::opcode::{
    BINFLOAT, BININT, BININT1, BININT2, BINSTRING, BINUNICODE, GLOBAL, INT, LONG, LONG1, LONG4,
    SHORT_BINSTRING, SHORT_BINUNICODE, STRING, UNICODE,
};
use super::value::Node;
use crate::Error;

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
