//! Features of a set of images: their moments, over all and in blocks, and every vector where it is needed.

use crate::screen::failure::wrong;
use fewstep::feature::inception::LOGITS;
use fewstep::metric::{Accumulator, Extract, InceptionScore, Moments, Vectors};
use fewstep::noise::{Domain, Stream};

/// Fewer images than this say little about a block.
const FEWEST: usize = 20;

/// Parts of the images that the inception score is taken of.
const PARTS: usize = 10;

/// Takes in features as they come.
pub struct Collector<'a> {
    features: &'a dyn Extract,
    total: Accumulator,
    blocks: Vec<Accumulator>,
    /// The block of each image in the order in which they come; empty where there are no blocks.
    block_of: Vec<usize>,
    /// Every vector, if asked for.
    rows: Option<Vec<f32>>,
    /// Class scores, if asked for, and of how many images.
    score: Option<(InceptionScore, usize)>,
}

/// What came of it.
pub struct FeatureSet {
    /// Of all images.
    pub moments: Moments,
    /// Of each block.
    pub blocks: Vec<Moments>,
    block_of: Vec<usize>,
    /// Empty unless asked for.
    rows: Vec<f32>,
    /// The inception score and its standard deviation over ten parts, if asked for.
    pub inception_score: Option<(f64, f64)>,
}

impl<'a> Collector<'a> {
    /// Keeps every vector if `keep`; `block_of` says which block each image belongs to, or is empty.
    pub fn new(features: &'a dyn Extract, keep: bool, block_of: Vec<usize>) -> Self {
        let empty = Accumulator::new(features.size());
        let blocks = block_of.iter().max().map_or(0, |last| last + 1);
        Self {
            features,
            blocks: vec![empty.clone(); blocks],
            total: empty,
            block_of,
            rows: keep.then(Vec::new),
            score: None,
        }
    }

    /// Takes the inception score of so many images, too.
    pub fn with_score(mut self, images: usize) -> Self {
        let score = InceptionScore::new(LOGITS, PARTS.min(images.max(1)));
        self.score = Some((score, images));
        self
    }

    /// The network that the features come from.
    pub fn features(&self) -> &'a dyn Extract {
        self.features
    }

    /// Adds the features of the next images.
    pub fn push(&mut self, features: &[f32]) -> Result<(), fewstep::Error> {
        let mut seen = self.total.count() as usize;
        self.total.push(features)?;
        if let Some((score, images)) = &mut self.score
            && let Some(all) = self.features.scores(features)
        {
            let parts = PARTS.min(*images);
            for (i, scores) in all.chunks(LOGITS).enumerate() {
                let part = (seen + i) * parts / (*images).max(1);
                score.push(part.min(parts.saturating_sub(1)), scores);
            }
        }
        for row in features.chunks(self.features.size()) {
            if let Some(block) = self.block_of.get(seen) {
                self.blocks[*block].push(row)?;
            }
            seen += 1;
        }
        if let Some(rows) = &mut self.rows {
            rows.extend_from_slice(features);
        }
        Ok(())
    }

    /// Images so far.
    pub fn count(&self) -> u64 {
        self.total.count()
    }

    /// All that was found.
    pub fn finish(self) -> Result<FeatureSet, fewstep::Error> {
        let hash = self.features.hash();
        let blocks = self.blocks.into_iter().map(|block| block.finish(hash));
        Ok(FeatureSet {
            moments: self.total.finish(hash)?,
            blocks: blocks.collect::<Result<_, _>>()?,
            block_of: self.block_of,
            rows: self.rows.unwrap_or_default(),
            inception_score: self.score.map(|(score, _)| score.finish()),
        })
    }
}

impl FeatureSet {
    /// Every vector.
    pub fn vectors(&self) -> Result<Vectors<'_, f32>, fewstep::Error> {
        Vectors::new(&self.rows, self.moments.mean.len())
    }

    /// A copy of the vectors of one block, side by side.
    pub fn block(&self, wanted: usize) -> Vec<f32> {
        let rows = self.rows.chunks(self.moments.mean.len());
        let inside = rows.zip(&self.block_of).filter(|(_, b)| **b == wanted);
        inside.flat_map(|(row, _)| row).copied().collect()
    }
}

/// Refuses pictures, `[channels, height, width]`, that features were not made for, before any is drawn. The texts name the
/// pictures, the features, and what to do.
pub fn check_shape(
    features: &dyn Extract,
    pictures: [usize; 3],
    [whose, which, remedy]: [&str; 3],
) -> anyhow::Result<()> {
    let Some(made_for) = features.only().filter(|made_for| *made_for != pictures) else {
        return Ok(());
    };
    let text = |[channels, height, width]: [usize; 3]| format!("{channels} x {height} x {width}");
    Err(wrong(format!(
        "{whose} are {}, and {which} were made for {}: {remedy}",
        text(pictures),
        text(made_for)
    )))
}

/// How many blocks to make of so many images: none if they would be too small to have a `nearest`-th neighbour, or to
/// say anything.
pub fn sensible(blocks: usize, images: usize, nearest: usize) -> usize {
    let enough = images / blocks.max(1) >= FEWEST.max(nearest.saturating_add(1));
    if blocks >= 2 && enough { blocks } else { 0 }
}

/// The block of each image: stretches of neighbouring seeds, as equal as can be.
pub fn stretches(images: usize, blocks: usize) -> Vec<usize> {
    if blocks == 0 {
        return Vec::new();
    }
    (0..images).map(|i| i * blocks / images).collect()
}

/// The block of each image of a data set, at random: its order may mean something, such as its classes.
pub fn shuffled(images: usize, blocks: usize, seed: u64) -> Vec<usize> {
    let ordered = stretches(images, blocks);
    if ordered.is_empty() {
        return ordered;
    }
    let order = Stream::keyed(seed, Domain::Metric, 0, 1, 0).permutation(images);
    order.into_iter().map(|i| ordered[i]).collect()
}

/// So many of the numbers 0..len, picked at random and in rising order.
pub fn pick(len: usize, count: usize, seed: u64, use_: u64) -> Vec<usize> {
    let mut picked = Stream::keyed(seed, Domain::Metric, 0, use_, 0).permutation(len);
    picked.truncate(count);
    picked.sort_unstable();
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_equal_and_disjoint() {
        assert_eq!(stretches(7, 3), [0, 0, 0, 1, 1, 2, 2]);
        assert!(stretches(7, 0).is_empty() && shuffled(7, 0, 1).is_empty());
        let mixed = shuffled(100, 4, 1);
        for block in 0..4 {
            assert_eq!(mixed.iter().filter(|b| **b == block).count(), 25);
        }
        assert_ne!(mixed, stretches(100, 4));
        assert_ne!(mixed, shuffled(100, 4, 2));
    }

    #[test]
    fn small_blocks_are_not_made() {
        assert_eq!(sensible(5, 100, 5), 5);
        assert_eq!(sensible(5, 99, 5), 0);
        assert_eq!(sensible(5, 100, 20), 0);
        assert_eq!((sensible(1, 100, 5), sensible(0, 100, 5)), (0, 0));
    }

    #[test]
    fn picks_are_different_numbers() {
        let picked = pick(50, 20, 3, 0);
        assert_eq!(picked.len(), 20);
        assert!(picked.windows(2).all(|w| w[0] < w[1]) && picked[19] < 50);
        assert_ne!(picked, pick(50, 20, 4, 0));
        assert_ne!(picked, pick(50, 20, 3, 2));
        assert!(pick(5, 5, 0, 0).into_iter().eq(0..5));
    }
}
