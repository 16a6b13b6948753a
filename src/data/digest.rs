//! What tells a data set from another.

use super::Dataset;
use crate::file::hexadecimal;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// Bytes that are hashed together, so that all threads share the work.
const PART: usize = 1 << 22;

impl Dataset {
    /// SHA-256 of the images and classes as they were read, in hexadecimal: their shape, their bytes, and the class number of
    /// each. Where they came from, and what their classes are called, does not count. It takes far less time than reading them
    /// did.
    pub fn digest(&self) -> String {
        let parts = self.pixels.par_chunks(PART).map(Sha256::digest);
        let parts: Vec<_> = parts.collect();
        let mut digest = Sha256::new();
        for number in self.shape {
            digest.update((number as u64).to_le_bytes());
        }
        for part in parts {
            digest.update(part);
        }
        for label in self.labels.iter().flatten() {
            digest.update((*label as u64).to_le_bytes());
        }
        hexadecimal(&digest.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_and_every_class_counts() {
        let names = |n: usize| (0..n).map(|i| i.to_string()).collect();
        let data = |pixels: Vec<u8>, shape, labels: Option<Vec<usize>>| {
            Dataset::new(pixels, shape, labels, names(3))
                .unwrap()
                .digest()
        };
        let mut long = vec![7; PART + 24];
        let first = data(long.clone(), [1, 2, 4], None);
        assert_eq!(first.len(), 64);
        assert_eq!(first, data(long.clone(), [1, 2, 4], None));
        assert_ne!(first, data(long.clone(), [1, 4, 2], None));
        *long.last_mut().unwrap() = 8;
        assert_ne!(first, data(long, [1, 2, 4], None));
        let labelled = |labels| data(vec![1, 2], [1, 1, 1], labels);
        assert_ne!(labelled(None), labelled(Some(vec![0, 0])));
        assert_ne!(labelled(Some(vec![1, 0])), labelled(Some(vec![0, 1])));
    }
}
