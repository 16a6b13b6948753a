//! Grey pictures of 8 x 8 in IDX files.

use fewstep::data::{Dataset, Options};
use std::fs;
use std::path::Path;

const SIDE: usize = 8;

/// Writes a picture for each label, of what `pixel` says of its number, row and column, and opens them.
pub fn dataset(folder: &Path, labels: &[u8], pixel: impl Fn(usize, [usize; 2]) -> u8) -> Dataset {
    let (count, side) = (labels.len() as u8, SIDE as u8);
    let mut bytes = vec![0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, side, 0, 0, 0, side];
    for picture in 0..labels.len() {
        bytes.extend((0..SIDE * SIDE).map(|i| pixel(picture, [i / SIDE, i % SIDE])));
    }
    fs::write(folder.join("train-images-idx3-ubyte"), bytes).unwrap();
    let bytes = [&[0, 0, 8, 1, 0, 0, 0, count][..], labels].concat();
    fs::write(folder.join("train-labels-idx1-ubyte"), bytes).unwrap();
    Dataset::open(folder, &Options::new(SIDE, 1)).unwrap()
}

/// Ten grey pictures, uneven, without anything to see.
pub fn uneven(folder: &Path) -> Dataset {
    dataset(folder, &[0; 10], |picture, [y, x]| {
        let i = 64 * picture + 8 * y + x;
        (i * i * 31 % 251) as u8
    })
}
