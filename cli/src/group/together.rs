//! What the processes of a command do together besides the work itself: begin, agree, and end.

#[cfg(feature = "mpi")]
use super::world::World;
use crate::screen::failure::{exit_code, one_line, wrong};
use crate::screen::signal::{self, Stopped};
use anyhow::anyhow;
use fewstep::group::{Alone, Group};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Before all is ready: each checks what it was given, and what they tell each other is only whether all is well.
const SETUP: u8 = 0;
/// They work, and wait for each other: an error of one ends all at once.
const WORK: u8 = 1;
/// All know of an error.
const ENDED: u8 = 2;

/// The processes of this command, as one of them sees them.
#[derive(Debug)]
pub struct Together {
    group: Arc<dyn Group>,
    phase: AtomicU8,
    /// This one's place among those on the same machine, and how many these are.
    local: [usize; 2],
    /// How many of them share the same cores, if there are several.
    sharing: usize,
    #[cfg(feature = "mpi")]
    world: Option<Arc<World>>,
}

impl Together {
    /// One process.
    pub fn alone() -> Self {
        Self {
            group: Arc::new(Alone),
            phase: AtomicU8::new(SETUP),
            local: [0, 1],
            sharing: 1,
            #[cfg(feature = "mpi")]
            world: None,
        }
    }

    /// Joins the others, if a launcher has started some.
    #[cfg(feature = "mpi")]
    pub fn start() -> anyhow::Result<Self> {
        if super::launched().is_none() {
            return Ok(Self::alone());
        }
        let world = Arc::new(World::join()?);
        let neighbours = world.neighbours();
        let place = neighbours.iter().position(|rank| *rank == world.rank());
        let cores = cores();
        let all = world.tell(cores.as_bytes())?;
        let same = neighbours
            .iter()
            .filter(|rank| all[**rank] == cores.as_bytes());
        Ok(Self {
            local: [place.unwrap_or_default(), neighbours.len()],
            sharing: same.count().max(1),
            group: Arc::clone(&world) as Arc<dyn Group>,
            world: Some(world),
            ..Self::alone()
        })
    }

    /// This build knows no others.
    #[cfg(not(feature = "mpi"))]
    pub fn start() -> anyhow::Result<Self> {
        Ok(Self::alone())
    }

    /// For the library.
    pub fn group(&self) -> Arc<dyn Group> {
        Arc::clone(&self.group)
    }

    /// How many processes there are.
    pub fn size(&self) -> usize {
        self.group.size()
    }

    /// The number of this one.
    pub fn rank(&self) -> usize {
        self.group.rank()
    }

    /// Whether this is the one that writes and speaks.
    pub fn leads(&self) -> bool {
        self.rank() == 0
    }

    /// This one's place among those on the same machine, and how many these are.
    pub fn local(&self) -> [usize; 2] {
        self.local
    }

    /// The threads of this one, if they are not simply all cores: the launcher may have given it some cores of its own, or some
    /// that it shares with others.
    pub fn threads(&self) -> Option<usize> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (self.size() > 1).then(|| (cores / self.sharing).max(1))
    }

    /// What all of them found well, or the error of the first of them that did not. All call it as often, in the same order; one
    /// that has failed before calls it once more, instead of all calls that were still to come.
    pub fn agree<T>(&self, result: anyhow::Result<T>) -> anyhow::Result<T> {
        if self.size() == 1 || self.phase.load(Ordering::Relaxed) == ENDED {
            return result;
        }
        let mine = match &result {
            Ok(_) => Vec::new(),
            Err(error) => word(error),
        };
        let said = self.group.tell(&mine)?;
        let Some((who, word)) = said.iter().enumerate().find(|(_, said)| !said.is_empty()) else {
            return result;
        };
        self.ended();
        match result {
            // Its own says more: the causes, and what may help.
            Err(error) if who == self.rank() => Err(error),
            _ => Err(error(who, self.size(), word)),
        }
    }

    /// Has the first of them do something that the others then find done.
    pub fn first<T>(&self, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        if self.leads() {
            return self.agree(work());
        }
        self.agree(Ok(()))?;
        work()
    }

    /// All is ready: from now on they wait for each other's numbers, and an error of one ends all.
    pub fn begin(&self) -> anyhow::Result<()> {
        if self.phase.load(Ordering::Relaxed) == SETUP {
            self.agree(Ok(()))?;
            self.phase.store(WORK, Ordering::Relaxed);
        }
        Ok(())
    }

    /// All know of the error that this one has found.
    pub fn ended(&self) {
        self.phase.store(ENDED, Ordering::Relaxed);
    }

    /// Whether all see the same, such as a checkpoint in a folder that they share.
    pub fn check_same(&self, what: &[u8], seen: &str) -> anyhow::Result<()> {
        let said = self.group.tell(what)?;
        let Some(other) = said.iter().position(|said_by| *said_by != said[0]) else {
            return Ok(());
        };
        self.ended();
        Err(wrong(format!(
            "process {} of {} {seen}",
            other + 1,
            self.size()
        )))
    }

    /// Whether one of them is asked to stop; all of them are, then.
    pub fn asked(&self) -> anyhow::Result<bool> {
        if self.size() == 1 {
            return Ok(signal::asked());
        }
        let said = self.group.tell(&[signal::noted()])?;
        let first = said.iter().flatten().find(|signal| **signal != 0);
        if let Some(signal) = first {
            signal::note(*signal);
        }
        // Not what has come here since: the others do not know of it yet.
        Ok(first.is_some())
    }

    /// What only the first of them has to look at.
    pub fn led(&self, look: impl FnOnce() -> anyhow::Result<bool>) -> anyhow::Result<bool> {
        if self.size() == 1 {
            return look();
        }
        let mine = match self.leads() {
            true => vec![u8::from(look()?)],
            false => Vec::new(),
        };
        Ok(self.group.tell(&mine)?[0] == [1])
    }

    /// Whether the others do not know of an error that one has found, and will never come to the end.
    pub fn is_at_work(&self) -> bool {
        self.size() > 1 && self.phase.load(Ordering::Relaxed) == WORK
    }

    /// Ends all processes.
    pub fn end(&self, status: u8) {
        #[cfg(feature = "mpi")]
        if let Some(world) = &self.world {
            world.end(status);
        }
        #[cfg(not(feature = "mpi"))]
        let _ = status;
    }
}

/// What one says of an error: the signal that stopped it, the exit status, and the line.
fn word(error: &anyhow::Error) -> Vec<u8> {
    let signal = match error.is::<Stopped>() {
        true => signal::noted(),
        false => 0,
    };
    let mut word = vec![signal, exit_code(error)];
    word.extend(one_line(error).into_bytes());
    word
}

/// The error that another has told of.
fn error(who: usize, size: usize, word: &[u8]) -> anyhow::Error {
    let line = String::from_utf8_lossy(word.get(2..).unwrap_or_default());
    let line = format!("process {} of {size}: {line}", who + 1);
    match word {
        [0, 2, ..] => wrong(line),
        [0, ..] | [] => anyhow!(line),
        [signal, ..] => {
            signal::note(*signal);
            Stopped.into()
        }
    }
}

/// The cores that this process may run on, where the system says so.
#[cfg(feature = "mpi")]
fn cores() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.unwrap_or_default().trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep::group::Threads;
    use std::thread::scope;

    /// What each of three comes to.
    fn three<T: Send>(run: impl Fn(&Together) -> T + Sync) -> Vec<T> {
        let run = &run;
        scope(|scope| {
            let threads = Threads::new(3).into_iter().map(|member| {
                scope.spawn(move || {
                    run(&Together {
                        group: Arc::new(member),
                        ..Together::alone()
                    })
                })
            });
            let threads: Vec<_> = threads.collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        })
    }

    #[test]
    fn an_error_of_one_is_that_of_all_whenever_it_comes() {
        for at in 0..3 {
            let found = three(|together| {
                let step = |i| match together.rank() == 1 && i == at {
                    true => Err(wrong("no such file")),
                    false => Ok(()),
                };
                let all = || {
                    step(0)?;
                    together.first(|| step(1))?;
                    step(2)?;
                    together.begin()
                };
                let error = together.agree(all()).unwrap_err();
                assert!(!together.is_at_work());
                (exit_code(&error), one_line(&error))
            });
            let others = "process 2 of 3: no such file".to_string();
            let own = "no such file".to_string();
            assert_eq!(found, [(2, others.clone()), (2, own), (2, others)], "{at}");
        }
    }

    #[test]
    fn who_is_ready_works() {
        let found = three(|together| {
            assert!(!together.is_at_work());
            together.begin().unwrap();
            together.begin().unwrap();
            let asked = together.led(|| Ok(together.leads())).unwrap();
            let same = together.check_same(b"7", "is elsewhere");
            let rank = [together.rank() as u8 / 2];
            let other = together.check_same(&rank, "is elsewhere").unwrap_err();
            (asked, same.is_ok(), other.to_string())
        });
        let said = (true, true, "process 3 of 3 is elsewhere".to_string());
        assert_eq!(found, vec![said; 3]);
    }

    #[test]
    fn one_process_agrees_with_itself() {
        let alone = Together::alone();
        assert!(alone.leads() && alone.threads().is_none());
        alone.begin().unwrap();
        assert!(!alone.is_at_work());
        assert!(alone.agree(Err::<(), _>(wrong("x"))).is_err());
        assert_eq!(alone.first(|| Ok(3)).unwrap(), 3);
    }
}
