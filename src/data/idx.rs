//! The IDX format of MNIST and its kin: two zero bytes, the type (8 for bytes), the number of dimensions, each
//! dimension as a big-endian u32, then the values, last dimension fastest.

use super::{Options, Split, fit};
use crate::Error;
use flate2::read::GzDecoder;
use rayon::prelude::*;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The image file of a split under one of its standard names, if the folder has one.
pub(super) fn find(folder: &Path, split: Split) -> Option<PathBuf> {
    let stems: &[&str] = match split {
        Split::Train => &["train"],
        Split::Test => &["t10k", "test"],
    };
    stems
        .iter()
        .flat_map(|stem| ["-idx3", ".idx3"].map(|mark| format!("{stem}-images{mark}-ubyte")))
        .flat_map(|name| [folder.join(&name), folder.join(name + ".gz")])
        .find(|path| path.is_file())
}

/// Reads an image file, and the label file beside it if there is one: fitted pixels, and a class for each image.
pub(super) fn open(
    images: &Path,
    options: &Options,
) -> Result<(Vec<u8>, Option<Vec<usize>>), Error> {
    let ([count, height, width], bytes) = self::images(images)?;
    let fitted = bytes.par_chunks_exact(height * width).map(|image| {
        let grey = image::GrayImage::from_raw(width as u32, height as u32, image.to_vec());
        let grey = grey.ok_or_else(|| "the image is too large".to_owned())?;
        fit::fit(grey.into(), options)
    });
    // All images have one size, so one that does not fit means that none does.
    let fitted: Result<Vec<Vec<u8>>, String> = fitted.collect();
    let pixels = fitted
        .map_err(|reason| Error::malformed(images, "IDX image file", reason))?
        .concat();
    let labels = match partner(images) {
        Some(path) => Some(labels(&path, count)?),
        None => None,
    };
    Ok((pixels, labels))
}

/// Number, height and width of the images of a file, and their bytes.
pub(super) fn images(path: &Path) -> Result<([usize; 3], Vec<u8>), Error> {
    let (dimensions, bytes) = read(path)?;
    let &[count, height, width] = dimensions.as_slice() else {
        let reason = format!("it has {} dimensions, images have 3", dimensions.len());
        return Err(Error::malformed(path, "IDX image file", reason));
    };
    if bytes.is_empty() {
        let reason = format!("it holds no pixel: {count} x {height} x {width}");
        return Err(Error::malformed(path, "IDX image file", reason));
    }
    Ok(([count, height, width], bytes))
}

fn labels(path: &Path, images: usize) -> Result<Vec<usize>, Error> {
    let (dimensions, bytes) = read(path)?;
    if dimensions != [images] {
        let reason = format!("its dimensions are {dimensions:?}, but there are {images} images");
        return Err(Error::malformed(path, "IDX label file", reason));
    }
    Ok(bytes.into_iter().map(usize::from).collect())
}

/// The label file that belongs to an image file: the same name with `labels` and `idx1`, zipped or not.
fn partner(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let labels = name.replace("images", "labels").replace("idx3", "idx1");
    let plain = labels.strip_suffix(".gz").unwrap_or(&labels).to_owned();
    [plain.clone() + ".gz", plain]
        .iter()
        .filter(|candidate| candidate.as_str() != name)
        .map(|candidate| images.with_file_name(candidate))
        .find(|path| path.is_file())
}

/// Dimensions and bytes of one file, gzipped or not.
fn read(path: &Path) -> Result<(Vec<usize>, Vec<u8>), Error> {
    let malformed = |reason: String| Error::malformed(path, "IDX file", reason);
    let mut file = std::fs::read(path).map_err(Error::file("read", path))?;
    if file.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        let unzipped = GzDecoder::new(file.as_slice()).read_to_end(&mut plain);
        unzipped.map_err(|error| malformed(format!("its gzip stream is damaged: {error}")))?;
        file = plain;
    }
    let &[0, 0, kind, rank, ..] = file.as_slice() else {
        return Err(malformed(
            "it does not start with two zero bytes and a type".into(),
        ));
    };
    if kind != 8 {
        return Err(malformed(format!(
            "its values have type {kind:#04x}; only bytes (0x08) are read"
        )));
    }
    let start = 4 + 4 * usize::from(rank);
    let header = file
        .get(4..start)
        .ok_or_else(|| malformed("it ends inside its header".into()))?;
    let dimensions: Vec<usize> = header
        .chunks_exact(4)
        .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize)
        .collect();
    let size = dimensions
        .iter()
        .try_fold(1usize, |size, &n| size.checked_mul(n));
    let found = file.len() - start;
    if size != Some(found) {
        let reason = format!("dimensions {dimensions:?} do not match its {found} bytes of data");
        return Err(malformed(reason));
    }
    file.drain(..start);
    Ok((dimensions, file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;
    use burn::tensor::Device;
    use std::io::Write;

    fn file(dimensions: &[u32], bytes: &[u8]) -> Vec<u8> {
        let mut file = vec![0, 0, 8, dimensions.len() as u8];
        file.extend(dimensions.iter().flat_map(|d| d.to_be_bytes()));
        file.extend(bytes);
        file
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    const IMAGES: &str = "train-images-idx3-ubyte";
    const LABELS: &str = "train-labels-idx1-ubyte";

    #[test]
    fn images_and_labels_are_found_and_padded() {
        let images = file(&[3, 1, 2], &[1, 2, 3, 4, 5, 6]);
        let labels = file(&[3], &[2, 0, 2]);
        for (suffix, pack) in [("", <[u8]>::to_vec as fn(&[u8]) -> Vec<u8>), (".gz", gzip)] {
            let folder = folder(&[
                (&format!("{IMAGES}{suffix}"), pack(&images)),
                (&format!("{LABELS}{suffix}"), pack(&labels)),
            ]);
            let data = Dataset::open(folder.path(), &Options::new(2, 1)).unwrap();
            assert_eq!((data.len(), data.shape()), (3, [1, 2, 2]));
            assert_eq!(data.pixels(1), [3, 4, 0, 0]);
            assert_eq!(data.labels(), Some(&[2, 0, 2][..]));
            assert_eq!(data.classes(), ["0", "1", "2"]);
        }
    }

    #[test]
    fn labels_may_be_absent_and_the_file_may_be_named() {
        let folder = folder(&[("mine.idx", file(&[1, 2, 2], &[1, 2, 3, 4]))]);
        let data = Dataset::open(&folder.path().join("mine.idx"), &Options::new(2, 3)).unwrap();
        assert_eq!(data.labels(), None);
        assert_eq!(data.pixels(0), [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]);
    }

    #[test]
    fn damaged_files_are_named_with_the_reason() {
        let good = file(&[2, 2, 2], &[0; 8]);
        let mut half = gzip(&good);
        half.truncate(half.len() / 2);
        let mut floats = good.clone();
        floats[2] = 0x0d;
        let cases = [
            (good[..19].to_vec(), "do not match its 3 bytes"),
            (good[..9].to_vec(), "inside its header"),
            (b"PK".to_vec(), "two zero bytes"),
            (floats, "0x0d"),
            (half, "gzip"),
            (file(&[2, 4], &[0; 8]), "2 dimensions"),
            (file(&[u32::MAX; 3], &[0; 8]), "do not match"),
            (file(&[0, 2, 2], &[]), "no pixel"),
            (file(&[1, 3, 3], &[0; 9]), "do not fit in 2 x 2"),
        ];
        for (content, reason) in cases {
            let folder = folder(&[(IMAGES, content)]);
            let error = Dataset::open(folder.path(), &Options::new(2, 1)).unwrap_err();
            let message = error.to_string();
            assert!(
                message.contains(IMAGES) && message.contains(reason),
                "{message}"
            );
        }
        let folder = folder(&[(IMAGES, good), (LABELS, file(&[3], &[0; 3]))]);
        let error = Dataset::open(folder.path(), &Options::new(2, 1)).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains(LABELS) && message.contains("2 images"),
            "{message}"
        );
    }

    /// The real files, where the machine has them.
    #[test]
    fn fashion_mnist_is_read() {
        let path = Path::new("/usr/share/datasets/fashion-mnist");
        if !path.is_dir() {
            println!("skipped: {} is not installed", path.display());
            return;
        }
        let mut options = Options::new(32, 1);
        options.split = Split::Test;
        let data = Dataset::open(path, &options).unwrap();
        assert_eq!((data.len(), data.classes().len()), (10_000, 10));
        let labels = data.labels().unwrap();
        assert_eq!(labels[..5], [9, 2, 1, 1, 6]);
        assert!((0..10).all(|class| labels.iter().filter(|&&l| l == class).count() == 1000));
        let indices: Vec<usize> = (0..64).collect();
        let batch = data.batch(&indices, &[], &Device::flex());
        assert_eq!(batch.dims(), [64, 1, 32, 32]);
        let border: f32 = batch.clone().narrow(2, 0, 2).max().into_scalar();
        assert_eq!(border, -1.0, "the border is black");
        let brightest: f32 = batch.max().into_scalar();
        assert_eq!(brightest, 1.0);
    }
}
