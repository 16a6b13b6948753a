//! A sum of gradients over processes, in the order of the parts of a batch.

use super::Group;
use crate::Error;
use crate::parameter::{Gathered, Key, Keys};
use crate::transfer;
use burn::tensor::{DType, Device, TensorData};

/// The sum of gradients, spread over the processes: of each chunk of numbers every process adds up a part of its own, in the order
/// in which they come, and in the end each is given the others' parts.
///
/// A reduction of MPI would add in an order of its own choice, and in another one for another number of processes. This one
/// moves as many bytes: to each process, and from it, 2 (P - 1) / P times those of the gradients, if each of P
/// processes has one part of the batch. Each part more costs half of that.
#[derive(Debug)]
pub(super) struct OrderedSum {
    /// Numbers on the way at a time, so that there is no second copy of a large network's gradients.
    chunk: usize,
    /// Which parameters have a gradient.
    mask: Vec<bool>,
    /// The numbers of these.
    count: usize,
    /// This process's part of each chunk; empty before the first sum.
    sums: Vec<Vec<f32>>,
}

fn numbers(key: &Key) -> usize {
    key.shape.iter().product()
}

impl OrderedSum {
    /// Of the parameters that the mask takes, `chunk` numbers at a time.
    pub(super) fn new(keys: &Keys, mask: Vec<bool>, chunk: usize) -> Self {
        let with = keys.all().iter().zip(&mask).filter(|(_, there)| **there);
        Self {
            chunk,
            count: with.map(|(key, _)| numbers(key)).sum(),
            sums: Vec::new(),
            mask,
        }
    }

    /// How many numbers there are in each chunk.
    fn lengths(&self) -> Vec<usize> {
        let firsts = (0..self.count).step_by(self.chunk);
        firsts
            .map(|first| self.chunk.min(self.count - first))
            .collect()
    }

    /// Which parameters have a gradient.
    pub(super) fn mask(&self) -> &[bool] {
        &self.mask
    }

    /// Adds the gradients of a turn: first those of process 0, then of 1, and so on, of those that had a part in it. `mine` are
    /// this process's, if it had one.
    pub(super) fn add(
        &mut self,
        group: &dyn Group,
        took_part: &[bool],
        mine: Option<Vec<Gathered>>,
    ) -> Result<(), Error> {
        let size = group.size();
        let mut mine = mine.map(Stream::new);
        let lengths = self.lengths();
        self.sums.resize_with(lengths.len(), Vec::default);
        for (sum, length) in self.sums.iter_mut().zip(lengths) {
            let part = length.div_ceil(size);
            let mut dealt = vec![0.0; part * size];
            if let Some(mine) = &mut mine {
                mine.read(&mut dealt[..length]);
            }
            let mut theirs = vec![0.0; part * size];
            group.deal(&dealt, &mut theirs)?;
            let parts = theirs.chunks_exact(part).zip(took_part);
            for (numbers, _) in parts.filter(|(_, took_part)| **took_part) {
                match sum.is_empty() {
                    // Not added to zero, which would make 0 of -0.
                    true => sum.extend_from_slice(numbers),
                    false => sum.iter_mut().zip(numbers).for_each(|(a, b)| *a += b),
                }
            }
        }
        Ok(())
    }

    /// The whole sum, the same in all processes.
    pub(super) fn whole(
        self,
        group: &dyn Group,
        keys: &Keys,
        device: &Device,
    ) -> Result<Vec<Gathered>, Error> {
        let size = group.size();
        let mut whole = Vec::with_capacity(keys.all().len());
        // Numbers that came and belong to a gradient that is not complete.
        let mut left: Vec<f32> = Vec::new();
        let mut lengths = self.lengths().into_iter();
        let mut sums = self.sums.into_iter();
        for (key, there) in keys.all().iter().zip(&self.mask) {
            let wanted = numbers(key);
            while *there && left.len() < wanted {
                let (Some(sum), Some(length)) = (sums.next(), lengths.next()) else {
                    break;
                };
                let mut all = vec![0.0; length.div_ceil(size) * size];
                group.collect(&sum, &mut all)?;
                left.extend_from_slice(&all[..length]);
            }
            let tensor = there.then(|| {
                let rest = left.split_off(wanted.min(left.len()));
                let numbers = std::mem::replace(&mut left, rest);
                transfer::send(TensorData::new(numbers, [wanted]), device)
            });
            whole.push(Gathered {
                name: key.name.clone(),
                shape: key.shape.clone(),
                tensor,
            });
        }
        Ok(whole)
    }
}

/// The numbers of gradients, one after the other.
struct Stream {
    tensors: std::vec::IntoIter<Gathered>,
    now: Vec<f32>,
    read: usize,
}

impl Stream {
    fn new(gradients: Vec<Gathered>) -> Self {
        Self {
            tensors: gradients.into_iter(),
            now: Vec::new(),
            read: 0,
        }
    }

    /// The next ones; zeros after the last.
    fn read(&mut self, into: &mut [f32]) {
        let mut filled = 0;
        while filled < into.len() {
            if self.read == self.now.len() {
                let Some(next) = self.tensors.find_map(|g| g.tensor) else {
                    return;
                };
                // A gradient is f32 as its parameter is, whatever the network computes in.
                self.now = transfer::read(next.cast(DType::F32))
                    .iter::<f32>()
                    .collect();
                self.read = 0;
            }
            let count = (into.len() - filled).min(self.now.len() - self.read);
            into[filled..filled + count].copy_from_slice(&self.now[self.read..self.read + count]);
            filled += count;
            self.read += count;
        }
    }
}
