//! The cards of the files that measuring reads.

use crate::Error;
use crate::model::File;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// What every card says.
#[derive(Deserialize)]
struct Named {
    format: u32,
    kind: String,
}

/// The card of a file of a `kind`, in format 1; `expected` and `path` are for messages.
///
/// # Errors
/// [`Error::Malformed`]: no card, one that cannot be understood, another kind or format.
pub(crate) fn read_card<C: DeserializeOwned>(
    file: &File,
    kind: &str,
    expected: &'static str,
    path: &Path,
) -> Result<C, Error> {
    let malformed = |reason: String| Error::malformed(path, expected, reason);
    let unclear = |error| malformed(format!("its card cannot be understood: {error}"));
    let json = file.json.as_deref();
    let json = json.ok_or_else(|| malformed("it has no card (metadata key `fewstep`)".into()))?;
    // The kind first: another kind's card has other keys, and they would say less.
    let named: Named = serde_json::from_str(json).map_err(unclear)?;
    if (named.format, named.kind.as_str()) != (1, kind) {
        let reason = format!("it is a `{}` file of format {}", named.kind, named.format);
        return Err(malformed(reason));
    }
    serde_json::from_str(json).map_err(unclear)
}
