//! Byte pair encoding of one word. [Sennrich et al. 2016]

use super::vocabulary::{END, Vocabulary, characters};
use std::collections::HashMap;

/// Merges over ids.
#[derive(Clone, Debug)]
pub(super) struct Encoder {
    /// Of each byte, inside a word and at its end.
    bytes: [[u32; 2]; 256],
    /// Rank, and the id of what two become.
    merges: HashMap<(u32, u32), (u32, u32)>,
    /// How many bytes each id stands for.
    lengths: HashMap<u32, usize>,
}

/// An id and the bytes that it stands for.
pub(super) type Symbol = (u32, usize);

impl Encoder {
    /// # Errors
    /// What is missing.
    pub(super) fn new(vocabulary: &Vocabulary) -> Result<Self, String> {
        let id = |symbol: &str| {
            let id = vocabulary.ids.get(symbol).copied();
            id.ok_or_else(|| format!("there is no id for {symbol:?}"))
        };
        let mut bytes = [[0; 2]; 256];
        for (byte, character) in bytes.iter_mut().zip(characters()) {
            *byte = [
                id(&character.to_string())?,
                id(&format!("{character}{END}"))?,
            ];
        }
        let mut merges = HashMap::new();
        let mut lengths: HashMap<u32, usize> = bytes.iter().flatten().map(|id| (*id, 1)).collect();
        for (rank, (a, b)) in (0..).zip(&vocabulary.merges) {
            let whole = id(&format!("{a}{b}"))?;
            let pair = (id(a)?, id(b)?);
            merges.entry(pair).or_insert((rank, whole));
            let length = |id: &u32| lengths.get(id).copied();
            let (Some(first), Some(second)) = (length(&pair.0), length(&pair.1)) else {
                return Err(format!(
                    "the merge {a:?} {b:?} comes before that of its parts"
                ));
            };
            lengths.insert(whole, first + second);
        }
        Ok(Self {
            bytes,
            merges,
            lengths,
        })
    }

    /// The ids of a word, which has at least one byte: the best pair becomes one wherever it stands, until there is none.
    pub(super) fn encode(&self, word: &str) -> Vec<Symbol> {
        let mut ids: Vec<u32> = word
            .bytes()
            .map(|b| self.bytes[usize::from(b)][0])
            .collect();
        if let (Some(id), Some(byte)) = (ids.last_mut(), word.bytes().last()) {
            *id = self.bytes[usize::from(byte)][1];
        }
        loop {
            let pairs = ids.windows(2).filter_map(|pair| {
                let pair = (pair[0], pair[1]);
                let (rank, whole) = self.merges.get(&pair)?;
                Some((*rank, *whole, pair))
            });
            let Some((_, whole, (first, second))) = pairs.min() else {
                break;
            };
            let mut merged = Vec::with_capacity(ids.len());
            let mut at = 0;
            while at < ids.len() {
                if ids[at] == first && ids.get(at + 1) == Some(&second) {
                    merged.push(whole);
                    at += 2;
                } else {
                    merged.push(ids[at]);
                    at += 1;
                }
            }
            ids = merged;
        }
        let length = |id: u32| self.lengths.get(&id).copied().unwrap_or(1);
        ids.into_iter().map(|id| (id, length(id))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoder(merges: &[(&str, &str)]) -> (Encoder, Vocabulary) {
        let merges = merges.iter().map(|(a, b)| ((*a).into(), (*b).into()));
        let vocabulary = Vocabulary::of_merges(merges.collect()).unwrap();
        (Encoder::new(&vocabulary).unwrap(), vocabulary)
    }

    #[test]
    fn the_best_pair_comes_first() {
        let (encoder, vocabulary) = encoder(&[("b", "c"), ("a", "b"), ("a", "bc"), ("c", "d</w>")]);
        let symbols = |word: &str| -> Vec<String> {
            let name = |id| vocabulary.ids.iter().find(|(_, i)| **i == id).unwrap().0;
            let ids = encoder.encode(word);
            assert_eq!(ids.iter().map(|s| s.1).sum::<usize>(), word.len());
            ids.into_iter().map(|(id, _)| name(id).clone()).collect()
        };
        assert_eq!(symbols("abcd"), ["abc", "d</w>"]);
        assert_eq!(symbols("abab"), ["ab", "a", "b</w>"]);
        assert_eq!(symbols("cd"), ["cd</w>"]);
        assert_eq!(symbols("bcbcc"), ["bc", "bc", "c</w>"]);
        assert_eq!(symbols("é").len(), 2);
    }

    #[test]
    fn parts_must_be_known() {
        let mut vocabulary = Vocabulary::of_merges(vec![("a".into(), "b".into())]).unwrap();
        vocabulary.ids.remove("z");
        assert!(Encoder::new(&vocabulary).unwrap_err().contains("\"z\""));
        let order = vec![("ab".into(), "c".into()), ("a".into(), "b".into())];
        let vocabulary = Vocabulary::of_merges(order).unwrap();
        assert!(Encoder::new(&vocabulary).unwrap_err().contains("before"));
    }
}
