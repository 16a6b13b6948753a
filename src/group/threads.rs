//! Threads of one process that work together as processes do.

use super::Group;
use crate::Error;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

/// One of several threads of a process: with a device for each, or in tests.
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    /// To each of them, this one included, and from each.
    to: Vec<Sender<Message>>,
    from: Vec<Mutex<Receiver<Message>>>,
}

#[derive(Debug)]
enum Message {
    Bytes(Vec<u8>),
    Numbers(Vec<f32>),
}

impl Threads {
    /// So many of them, in the order of their numbers, each for a thread of its own.
    pub fn new(size: usize) -> Vec<Self> {
        let mut to: Vec<Vec<_>> = (0..size).map(|_| Vec::with_capacity(size)).collect();
        let mut members = Vec::with_capacity(size);
        for _ in 0..size {
            let ways = to.iter_mut().map(|to| {
                let (sender, receiver) = channel();
                to.push(sender);
                Mutex::new(receiver)
            });
            members.push(ways.collect());
        }
        let members = members.into_iter().zip(to).enumerate();
        members
            .map(|(rank, (from, to))| Self { rank, to, from })
            .collect()
    }

    fn send(&self, to: usize, message: Message) -> Result<(), Error> {
        self.to[to].send(message).map_err(|_| self.gone(to))
    }

    fn receive(&self, from: usize) -> Result<Message, Error> {
        let receiver = &self.from[from];
        let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
        receiver.recv().map_err(|_| self.gone(from))
    }

    fn numbers(&self, from: usize, into: &mut [f32]) -> Result<(), Error> {
        match self.receive(from)? {
            Message::Numbers(numbers) if numbers.len() == into.len() => {
                into.copy_from_slice(&numbers);
                Ok(())
            }
            _ => Err(self.astray(from)),
        }
    }

    fn gone(&self, who: usize) -> Error {
        Error::group(who, self.size(), "is gone")
    }

    fn astray(&self, who: usize) -> Error {
        Error::group(who, self.size(), "does something else than the others")
    }
}

impl Group for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn tell(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        for to in 0..self.size() {
            self.send(to, Message::Bytes(mine.to_vec()))?;
        }
        let said = (0..self.size()).map(|from| match self.receive(from)? {
            Message::Bytes(said) => Ok(said),
            Message::Numbers(_) => Err(self.astray(from)),
        });
        said.collect()
    }

    fn deal(&self, mine: &[f32], theirs: &mut [f32]) -> Result<(), Error> {
        let part = mine.len() / self.size();
        for to in 0..self.size() {
            let part = mine[to * part..(to + 1) * part].to_vec();
            self.send(to, Message::Numbers(part))?;
        }
        for from in 0..self.size() {
            self.numbers(from, &mut theirs[from * part..(from + 1) * part])?;
        }
        Ok(())
    }

    fn collect(&self, mine: &[f32], all: &mut [f32]) -> Result<(), Error> {
        for to in 0..self.size() {
            self.send(to, Message::Numbers(mine.to_vec()))?;
        }
        for from in 0..self.size() {
            let place = from * mine.len()..(from + 1) * mine.len();
            self.numbers(from, &mut all[place])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::{scope, spawn};

    #[test]
    fn what_is_said_comes_in_order_to_all() {
        let all = Threads::new(3);
        scope(|scope| {
            for member in &all {
                scope.spawn(move || {
                    let rank = member.rank();
                    let said = member.tell(&vec![rank as u8; rank]).unwrap();
                    assert_eq!(said, [vec![], vec![1], vec![2, 2]]);
                    // From 0 to 2: 0.25, and so on: who says it, and for whom.
                    let mine: Vec<f32> =
                        (0..6).map(|i| rank as f32 + (i / 2) as f32 / 8.0).collect();
                    let mut theirs = [0.0; 6];
                    member.deal(&mine, &mut theirs).unwrap();
                    let here = rank as f32 / 8.0;
                    let wanted = [0.0, 0.0, 1.0, 1.0, 2.0, 2.0].map(|who| who + here);
                    assert_eq!(theirs, wanted);
                    let mut all = [0.0; 6];
                    member.collect(&mine[..2], &mut all).unwrap();
                    assert_eq!(all, [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]);
                });
            }
        });
    }

    #[test]
    fn one_that_is_gone_or_astray_ends_the_others() {
        let mut all = Threads::new(2);
        drop(all.pop());
        let error = all[0].tell(&[1]).unwrap_err().to_string();
        assert_eq!(error, "process 2 of 2 is gone");
        let mut all = Threads::new(2).into_iter();
        let (first, second) = (all.next().unwrap(), all.next().unwrap());
        let other = spawn(move || second.tell(&[1]).map(drop));
        let error = first.deal(&[0.0; 2], &mut [0.0; 2]).unwrap_err();
        assert!(error.to_string().contains("something else"), "{error}");
        drop(first);
        assert!(other.join().unwrap().is_err());
    }
}
