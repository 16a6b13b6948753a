//! The one error type of the library.

use std::path::PathBuf;

/// What went wrong, named after what the user must fix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value is outside its allowed range.
    #[error("`{name}` is {value}, but must be {expected}")]
    InvalidValue {
        /// The setting, as the user writes it.
        name: String,
        /// What was given.
        value: String,
        /// The allowed range, or the remedy.
        expected: String,
    },
    /// Two settings exclude each other.
    #[error("{first} does not go with {second}: {remedy}")]
    Incompatible {
        /// The first setting and its value.
        first: String,
        /// The second setting and its value.
        second: String,
        /// What to change.
        remedy: String,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// `read`, `write`, `create`, `rename`...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file was read, but its content is not what it should be.
    #[error("{} is not a valid {expected}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should have been, such as `safetensors file`.
        expected: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A weight file does not fit the network.
    #[error(
        "{} does not fit the network: {}",
        path.display(),
        differences(missing, unexpected, mismatched)
    )]
    Weights {
        /// The file.
        path: PathBuf,
        /// Parameters that the network has and the file lacks.
        missing: Vec<String>,
        /// Tensors that the file has and the network lacks.
        unexpected: Vec<String>,
        /// `name: file shape, network shape`.
        mismatched: Vec<String>,
    },
    /// A model lacks one of the parts that make it whole.
    #[error("{} has no {part}: there is no {sought}; {remedy}", path.display())]
    MissingPart {
        /// The file or folder.
        path: PathBuf,
        /// `autoencoder`, `text encoder` or `tokenizer`.
        part: &'static str,
        /// The names that were looked for.
        sought: String,
        /// How to give it.
        remedy: String,
    },
    /// A pickle mentions a name that files of weights have no use for, so Python would run foreign code.
    #[error(
        "{} mentions `{name}` at byte {offset}, which is not among the names that weights need; nothing was run. \
         If you trust the file, load it in Python and save the state_dict() as safetensors",
        path.display()
    )]
    ForeignCode {
        /// The file.
        path: PathBuf,
        /// Module and name.
        name: String,
        /// Where, in bytes from the start of the file.
        offset: u64,
    },
    /// An image holds a number that is NaN or infinite.
    #[error("{images}: numbers that are not finite (NaN or infinite), {place}; {remedy}")]
    NotFinite {
        /// Which images.
        images: String,
        /// At which step, and in which channels.
        place: String,
        /// What may be the reason.
        remedy: String,
    },
    /// Who [asked](crate::Request::stop) for images wants them no more.
    #[error("stopped")]
    Stopped,
    /// A loss became NaN or infinite.
    #[error(
        "the loss is not finite at round {round}, step {step}; go on from a state before it with a smaller learning rate"
    )]
    Diverged {
        /// The round, counted from 0.
        round: u64,
        /// The student step, counted from 0.
        step: usize,
    },
    /// The teacher answered NaN or an infinite number.
    #[error(
        "the teacher's images are not finite at round {round}, step {step}: no setting of the student mends that. Sample the \
         teacher's file to see them; if it computes or is held in f16, take bf16 or f32"
    )]
    BrokenTeacher {
        /// The round, counted from 0.
        round: u64,
        /// The student step at whose end they are, counted from 0.
        step: usize,
    },
    /// One of the processes that work on a run does not go with the others.
    #[error("process {process} of {size} {reason}")]
    Group {
        /// Which one, counted from 1.
        process: usize,
        /// How many there are.
        size: usize,
        /// What it does, or what there is of it.
        reason: String,
    },
}

/// How many differences of a kind a message names before it only counts them.
const NAMED: usize = 3;

/// The first few differences of each kind, and how many more there are.
fn differences(missing: &[String], unexpected: &[String], mismatched: &[String]) -> String {
    let kinds = [
        ("missing", missing),
        ("unexpected", unexpected),
        ("of another shape", mismatched),
    ];
    let kinds = kinds.iter().filter(|(_, names)| !names.is_empty());
    let texts = kinds.map(|(kind, names)| {
        let named = names[..names.len().min(NAMED)].join("; ");
        match names.len().saturating_sub(NAMED) {
            0 => format!("{kind}: {named}"),
            more => format!("{kind}: {named}; and {more} more"),
        }
    });
    texts.collect::<Vec<_>>().join(". ")
}

impl Error {
    /// Shorthand for [`Error::InvalidValue`].
    pub fn invalid(
        name: impl Into<String>,
        value: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self::InvalidValue {
            name: name.into(),
            value: value.to_string(),
            expected: expected.into(),
        }
    }

    /// Shorthand for [`Error::File`], for use in `map_err`.
    pub fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    /// Shorthand for [`Error::Group`], with the number of a process counted from 0.
    pub fn group(rank: usize, size: usize, reason: impl Into<String>) -> Self {
        Self::Group {
            process: rank + 1,
            size,
            reason: reason.into(),
        }
    }

    /// Shorthand for [`Error::Malformed`].
    pub fn malformed(
        path: impl Into<PathBuf>,
        expected: &'static str,
        reason: impl ToString,
    ) -> Self {
        Self::Malformed {
            path: path.into(),
            expected,
            reason: reason.to_string(),
        }
    }
}

/// Checks that a setting is positive and finite.
pub(crate) fn positive(name: &str, value: f64) -> Result<(), Error> {
    if value.is_finite() && value > 0.0 {
        Ok(())
    } else {
        Err(Error::invalid(name, value, "positive"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_errors_name_a_few_and_count_the_rest() {
        let names = |n: usize| (0..n).map(|i| format!("w{i}")).collect();
        let error = Error::Weights {
            path: "x".into(),
            missing: names(5),
            unexpected: Vec::new(),
            mismatched: names(1),
        };
        let expected =
            "x does not fit the network: missing: w0; w1; w2; and 2 more. of another shape: w0";
        assert_eq!(error.to_string(), expected);
    }
}
