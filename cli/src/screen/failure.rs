//! From an error to one line and an exit status.

use fewstep::Error;

/// What the user typed is wrong: exit status 2.
#[derive(Debug)]
pub struct Wrong(pub String);

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

/// An error about what the user typed.
pub fn wrong(message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Wrong(message.into()))
}

/// Whether a training ran away, which says something of its settings and nothing of the others'.
pub fn diverged(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<Error>(), Some(Error::Diverged { .. }))
}

/// 2 for what the user typed, 1 for a run that failed.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<Wrong>() {
        return 2;
    }
    match error.downcast_ref::<Error>() {
        // An input that cannot be read was named by the user; a full disk was not.
        Some(Error::File { action: "read", .. }) => 2,
        Some(
            Error::InvalidValue { .. }
            | Error::Incompatible { .. }
            | Error::Malformed { .. }
            | Error::ForeignCode { .. }
            | Error::MissingPart { .. }
            | Error::Weights { .. },
        ) => 2,
        _ => 1,
    }
}

/// The whole chain of causes in one line.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        // The library's messages hold their causes already.
        if cause.is::<Error>() {
            break;
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_status_survives_context() {
        let error = anyhow::Error::new(Error::invalid("steps", 0, "positive"));
        let error = Err::<(), _>(error).context("recipe x.toml").unwrap_err();
        assert_eq!(exit_code(&error), 2);
        assert_eq!(
            one_line(&error),
            "recipe x.toml: `steps` is 0, but must be positive"
        );
        let typed = Err::<(), _>(wrong("no")).context("a\n  b").unwrap_err();
        assert_eq!((exit_code(&typed), one_line(&typed)), (2, "a b: no".into()));
        assert_eq!(exit_code(&anyhow::anyhow!("other")), 1);
    }

    #[test]
    fn reading_is_the_users_fault_and_writing_is_not() {
        let cause = || std::io::Error::other("why");
        let read: anyhow::Error = Error::file("read", "x")(cause()).into();
        let write: anyhow::Error = Error::file("write", "x")(cause()).into();
        assert_eq!((exit_code(&read), exit_code(&write)), (2, 1));
        assert_eq!(one_line(&read), "cannot read x: why");
    }
}
