//! Classes of a model by name.

use super::card::Card;
use crate::Error;

/// How many classes a message names.
const NAMED: usize = 12;

impl Card {
    /// The number of a class that a person types: a name, or a number where no class is named by another number.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] that lists the classes.
    pub fn class(&self, typed: &str) -> Result<usize, Error> {
        let (names, classes) = (&self.class_names, self.network.classes());
        if classes == 0 {
            let expected = "left out: this model knows no classes";
            return Err(Error::invalid("class", typed, expected));
        }
        if let Some(class) = names.iter().position(|name| name == typed) {
            return Ok(class);
        }
        // Names such as 1, 2, 3 have the numbers 0, 1, 2: there a number is always a name.
        let numbered = names.iter().any(|name| name.parse::<u64>().is_ok());
        let number = typed
            .parse()
            .ok()
            .filter(|class| *class < classes && !numbered);
        number.ok_or_else(|| Error::invalid("class", typed, self.class_list()))
    }

    /// The name of a class, where it has one.
    pub fn class_name(&self, class: usize) -> Option<&str> {
        self.class_names.get(class).map(String::as_str)
    }

    /// The classes for a message: `circles (0), squares (1)`, or the range of their numbers.
    pub fn class_list(&self) -> String {
        let classes = self.network.classes();
        let range = format!("0 to {}", classes.saturating_sub(1));
        let numbered = |(i, name): (usize, &String)| *name == i.to_string();
        if self.class_names.is_empty() {
            return format!("{range} (the file gives no names)");
        }
        if self.class_names.iter().enumerate().all(numbered) {
            return range;
        }
        let named = self.class_names.iter().enumerate().take(NAMED);
        let named: Vec<String> = named.map(|(i, name)| format!("{name} ({i})")).collect();
        let more = match classes.saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more, which `fewstep inspect` lists"),
        };
        format!("{}{more}", named.join(", "))
    }
}
