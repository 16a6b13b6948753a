//! The processes of MPI.

use ::mpi::Threading;
use ::mpi::datatype::PartitionMut;
use ::mpi::environment::{Universe, initialize_with_threading};
use ::mpi::topology::SimpleCommunicator;
use ::mpi::traits::{Communicator, CommunicatorCollectives};
use anyhow::Context as _;
use fewstep::Error;
use fewstep::group::Group;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// All processes that were started together. MPI is left when this goes.
pub struct World {
    // Calls one at a time, whichever thread makes them.
    universe: Mutex<Universe>,
    rank: usize,
    size: usize,
    /// The numbers of those on the same machine, in order.
    neighbours: Vec<usize>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} of {}", self.rank + 1, self.size)
    }
}

impl World {
    /// Joins the others.
    pub fn join() -> anyhow::Result<Self> {
        let (universe, _) = initialize_with_threading(Threading::Serialized)
            .context("MPI cannot be started, or is started already")?;
        let world = universe.world();
        let (rank, size) = (world.rank(), world.size());
        let machine = world.split_shared(rank);
        let mut neighbours = vec![0; machine.size() as usize];
        machine.all_gather_into(&rank, &mut neighbours[..]);
        Ok(Self {
            universe: Mutex::new(universe),
            rank: rank as usize,
            size: size as usize,
            neighbours: neighbours.into_iter().map(|rank| rank as usize).collect(),
        })
    }

    /// The numbers of the processes on the same machine, in order.
    pub fn neighbours(&self) -> &[usize] {
        &self.neighbours
    }

    /// Ends all processes, wherever they are.
    pub fn end(&self, status: u8) -> ! {
        self.world().1.abort(status.into())
    }

    fn world(&self) -> (MutexGuard<'_, Universe>, SimpleCommunicator) {
        let universe = self.universe.lock().unwrap_or_else(PoisonError::into_inner);
        let world = universe.world();
        (universe, world)
    }

    fn too_much(&self) -> Error {
        Error::group(self.rank, self.size, "has more to say than MPI can count")
    }
}

// What goes wrong in MPI ends all processes, with a line of its own.
impl Group for World {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn tell(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let (_held, world) = self.world();
        // Never nothing: where an empty vector of bytes points is what some MPI call "in place".
        let mine = [mine, &[0]].concat();
        let length = mine.len() as u64;
        let mut lengths = vec![0u64; self.size];
        world.all_gather_into(&length, &mut lengths[..]);
        let counted = lengths.iter().map(|n| i32::try_from(*n));
        let counts: Vec<i32> = counted
            .collect::<Result<_, _>>()
            .map_err(|_| self.too_much())?;
        let mut starts = Vec::with_capacity(self.size);
        let mut all = 0i32;
        for count in &counts {
            starts.push(all);
            all = all.checked_add(*count).ok_or_else(|| self.too_much())?;
        }
        let mut said = vec![0u8; all as usize];
        let mut parts = PartitionMut::new(&mut said[..], counts.as_slice(), starts.as_slice());
        world.all_gather_varcount_into(&mine[..], &mut parts);
        let mut rest = said.as_slice();
        let parts = lengths.iter().map(|length| {
            let (part, others) = rest.split_at(*length as usize);
            rest = others;
            part[..part.len() - 1].to_vec()
        });
        Ok(parts.collect())
    }

    fn deal(&self, mine: &[f32], theirs: &mut [f32]) -> Result<(), Error> {
        let (_held, world) = self.world();
        world.all_to_all_into(mine, theirs);
        Ok(())
    }

    fn collect(&self, mine: &[f32], all: &mut [f32]) -> Result<(), Error> {
        let (_held, world) = self.world();
        world.all_gather_into(mine, all);
        Ok(())
    }
}
