//! The records of a CSV file.

/// The records of a CSV file by RFC 4180. By hand, because the usual crate switches on a feature of serde that nothing
/// else needs, and with it another build of all of Burn.
pub(super) struct Records<'a> {
    rest: &'a str,
    delimiter: char,
    line: usize,
}

/// Fields, with the line they start on.
pub(super) type Record = (usize, Vec<String>);
/// What is wrong, and in which line.
pub(super) type Fault = (usize, &'static str);

impl<'a> Records<'a> {
    /// Of a whole file.
    pub(super) fn of(rest: &'a str, delimiter: char) -> Self {
        Self {
            rest,
            delimiter,
            line: 1,
        }
    }

    /// The next record; empty lines are none.
    pub(super) fn next(&mut self) -> Result<Option<Record>, Fault> {
        loop {
            let text = self.rest;
            let Some(after) = text.strip_prefix("\r\n").or(text.strip_prefix('\n')) else {
                break;
            };
            self.rest = after;
            self.line += 1;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let start = self.line;
        let mut fields = Vec::new();
        loop {
            fields.push(self.field()?);
            match self.rest.strip_prefix(self.delimiter) {
                Some(after) => self.rest = after,
                None => return Ok(Some((start, fields))),
            }
        }
    }

    /// Up to the next delimiter or end of line.
    fn field(&mut self) -> Result<String, Fault> {
        let Some(mut inside) = self.rest.strip_prefix('"') else {
            let ends = [self.delimiter, '\n'];
            let end = self.rest.find(ends).unwrap_or(self.rest.len());
            let (field, after) = self.rest.split_at(end);
            self.rest = after;
            return Ok(field.strip_suffix('\r').unwrap_or(field).to_string());
        };
        let start = self.line;
        let mut field = String::new();
        loop {
            let Some((part, after)) = inside.split_once('"') else {
                return Err((start, "has a quote that is not closed"));
            };
            field += part;
            self.line += part.matches('\n').count();
            match after.strip_prefix('"') {
                Some(after) => {
                    field.push('"');
                    inside = after;
                }
                None => {
                    let after = after.strip_prefix('\r').unwrap_or(after);
                    self.rest = after;
                    let ends = after.is_empty() || after.starts_with([self.delimiter, '\n']);
                    return match ends {
                        true => Ok(field),
                        false => Err((self.line, "goes on behind a closing quote")),
                    };
                }
            }
        }
    }
}
