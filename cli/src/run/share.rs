//! A batch that several processes share.

use super::folder::{Policy, STATE};
use crate::context::Context;
use crate::screen::failure::wrong;
use fewstep::model::File;
use serde_json::Value;
use std::path::Path;

/// The micro-batch of a run in a folder: what was typed, if it was; else that of the run that goes on; else each process's share of
/// the batch, if there are several. It says what is computed, the processes only who does it: a run that goes on keeps it,
/// however many there are then.
pub fn micro_batch(
    typed: Option<usize>,
    batch: usize,
    (path, policy): (&Path, Policy),
    context: &Context,
) -> Option<usize> {
    let earlier = policy.resume.then(|| earlier(&path.join(STATE))).flatten();
    let size = context.together.size();
    let found = shared(typed, batch, earlier, size);
    let parts = batch.div_ceil(found.unwrap_or(batch).max(1));
    if parts < size {
        let micro = found.map_or(String::new(), |micro| {
            format!(" in micro-batches of {micro}")
        });
        context.reporter.warn(format!(
            "a batch of {batch}{micro} has work for {parts} of {size} processes only"
        ));
    }
    found
}

fn shared(
    typed: Option<usize>,
    batch: usize,
    earlier: Option<Option<usize>>,
    size: usize,
) -> Option<usize> {
    let share = (size > 1).then(|| batch.div_ceil(size));
    typed.or(earlier.unwrap_or(share))
}

/// That of the run that a state is of, if there is one: what is wrong with it is said where it is read.
fn earlier(state: &Path) -> Option<Option<usize>> {
    let metadata = File::read_metadata(state).ok()?;
    let progress: Value = serde_json::from_str(metadata.get("fewstep")?).ok()?;
    let micro = progress.get("recipe")?.get("micro-batch");
    Some(micro.and_then(Value::as_u64).map(|micro| micro as usize))
}

/// Refuses several processes for what one does.
///
/// # Errors
/// There are several; `what` is what was asked of them.
pub fn by_one(what: &str, context: &Context) -> anyhow::Result<()> {
    match context.together.size() {
        1 => Ok(()),
        size => Err(wrong(format!(
            "{size} processes were started: {what} is for one; start it once, without mpirun"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_micro_batch_is_the_share_unless_it_was_said() {
        assert_eq!(shared(None, 8, None, 1), None);
        assert_eq!(shared(None, 8, None, 4), Some(2));
        assert_eq!(shared(None, 8, None, 3), Some(3));
        assert_eq!(shared(Some(1), 8, None, 4), Some(1));
        // A run keeps its own.
        assert_eq!(shared(None, 8, Some(Some(2)), 1), Some(2));
        assert_eq!(shared(None, 8, Some(Some(2)), 3), Some(2));
        assert_eq!(shared(None, 8, Some(None), 4), None);
        assert_eq!(shared(Some(1), 8, Some(Some(2)), 4), Some(1));
    }
}
