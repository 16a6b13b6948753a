//! A cache filled with the teacher's trajectories, by one of any number of processes.

use crate::context::Context;
use crate::run::lock::this_process;
use crate::screen::signal::{self, pause};
use anyhow::Context as _;
use fewstep::distill::{Claimed, TrajectorySource};
use std::time::Duration;

/// Between two looks at what others have not finished yet.
const POLL: Duration = Duration::from_secs(1);

/// What a process has done of the work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Share {
    /// Batches that were wanted, all of which are there now.
    pub wanted: u64,
    /// Those that were there before.
    pub found: u64,
    /// Those that this process made.
    pub made: u64,
}

/// Makes the trajectories of some rounds, each the first of a batch, but for those that are there or that another process is
/// at work on; those are waited for, and made if that process dies.
pub fn fill(source: &TrajectorySource, rounds: &[u64], context: &Context) -> anyhow::Result<Share> {
    signal::catch("batch")?;
    source.tidy()?;
    let mut left = Vec::new();
    for round in rounds {
        if !source.is_kept(*round)? {
            left.push(*round);
        }
    }
    let wanted = rounds.len() as u64;
    let found = wanted - left.len() as u64;
    let mut share = Share {
        wanted,
        found,
        made: 0,
    };
    let me = this_process();
    let mut progress = context.reporter.start("batches", found, wanted);
    while !left.is_empty() {
        let mut theirs: Vec<(u64, String)> = Vec::new();
        let before = share.made;
        for (i, round) in left.iter().enumerate() {
            signal::check()?;
            if source.is_kept(*round)? {
                continue;
            }
            let there = wanted - (left.len() - i + theirs.len()) as u64;
            let again = || {
                format!("stopped with {there} of {wanted} batches there; the same command goes on")
            };
            match source.claim(*round, &me).with_context(again)? {
                Claimed::Theirs(who) => theirs.push((*round, who)),
                // Held until they are there; who had it before may have finished them since they were looked for.
                Claimed::Mine(_claim) if !source.is_kept(*round)? => {
                    source.fill(*round).with_context(again)?;
                    share.made += 1;
                }
                Claimed::Mine(_) => {}
            }
            let mut waiting = Vec::new();
            for (round, who) in theirs {
                if !source.is_kept(round)? {
                    waiting.push((round, who));
                }
            }
            theirs = waiting;
            let visited = wanted - (left.len() - i - 1) as u64;
            progress.set(visited - theirs.len() as u64, "");
        }
        if share.made == before
            && let Some((round, who)) = theirs.first()
        {
            let more = match theirs.len() {
                1 => String::new(),
                n => format!(" and {} more", n - 1),
            };
            progress.set(
                wanted - theirs.len() as u64,
                &format!("waiting for round {round} of {who}{more}"),
            );
            pause(POLL);
        }
        left = theirs.into_iter().map(|(round, _)| round).collect();
    }
    progress.finish();
    signal::check()?;
    Ok(share)
}
