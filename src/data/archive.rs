//! A zip archive of pictures, laid out like a folder of them.

use super::{Dataset, Options, Skipped, Split, fit, folder};
use crate::Error;
use rayon::prelude::*;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use zip::ZipArchive;

/// Pictures unpacked at a time, so that the archive is never in memory as a whole.
const CHUNK: usize = 256;

/// A picture's file is not read beyond this size, in bytes, whatever the archive promises.
const LARGEST: u64 = 1 << 28;

/// The pictures of an archive that is open.
#[derive(Debug)]
pub(super) struct Entries {
    path: PathBuf,
    archive: Mutex<ZipArchive<BufReader<File>>>,
    /// Name and number of each, in the order of the names.
    entries: Vec<(PathBuf, usize)>,
    /// The folder inside which they are.
    part: &'static str,
}

impl Entries {
    /// Lists the pictures of a part.
    pub(super) fn open(path: &Path, split: Split) -> Result<Self, Error> {
        let malformed = |reason: String| Error::malformed(path, "zip archive", reason);
        let file = File::open(path).map_err(Error::file("read", path))?;
        let mut archive =
            ZipArchive::new(BufReader::new(file)).map_err(|error| malformed(error.to_string()))?;
        let mut entries: Vec<(PathBuf, usize)> = Vec::new();
        for index in 0..archive.len() {
            let entry = archive
                .by_index_raw(index)
                .map_err(|error| malformed(error.to_string()))?;
            let name = entry
                .enclosed_name()
                .filter(|name| folder::is_picture(name));
            if let (true, Some(name)) = (entry.is_file(), name) {
                entries.push((name, index));
            }
        }
        entries.sort();
        let part = folder::choose(entries.iter().map(|(name, _)| name.as_path()), split)?;
        let part = part.unwrap_or_default();
        entries.retain(|(name, _)| name.starts_with(part));
        Ok(Self {
            path: path.to_path_buf(),
            archive: Mutex::new(archive),
            entries,
            part,
        })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Some of the files, with their names for messages.
    pub(super) fn read(&self, indices: &[usize]) -> Vec<(PathBuf, Result<Vec<u8>, String>)> {
        // A thread that panicked leaves an archive that can still be read from the start of any entry.
        let mut archive = self.archive.lock().unwrap_or_else(PoisonError::into_inner);
        let file = |index: &usize| {
            let (name, number) = &self.entries[*index];
            (self.path.join(name), read(&mut archive, *number))
        };
        indices.iter().map(file).collect()
    }
}

/// Reads all pictures in an archive.
pub(super) fn open(path: &Path, options: &Options) -> Result<Dataset, Error> {
    let entries = Entries::open(path, options.split)?;
    let all: Vec<usize> = (0..entries.len()).collect();
    let mut images = Vec::with_capacity(all.len());
    for chunk in all.chunks(CHUNK) {
        let files = entries.read(chunk).into_par_iter().zip(chunk);
        images.par_extend(files.map(|((name, file), index)| {
            let inside = entries.entries[*index].0.strip_prefix(entries.part);
            let class = inside.ok().and_then(folder::class);
            let image = file.and_then(|file| fit::decode(&file, options));
            (class, image.map_err(|reason| Skipped { name, reason }))
        }));
    }
    Dataset::assemble(path, options, images)
}

fn read(archive: &mut ZipArchive<BufReader<File>>, index: usize) -> Result<Vec<u8>, String> {
    let entry = archive.by_index(index).map_err(|error| error.to_string())?;
    let mut file = Vec::new();
    let read = entry.take(LARGEST).read_to_end(&mut file);
    read.map_err(|error| error.to_string())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Write};
    use zip::{ZipWriter, write::SimpleFileOptions};

    fn picture(value: u8) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        image::GrayImage::from_pixel(3, 3, image::Luma([value]))
            .write_to(&mut file, image::ImageFormat::Png)
            .unwrap();
        file.into_inner()
    }

    fn archive(entries: &[(&str, Vec<u8>)]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pictures.zip");
        let mut writer = ZipWriter::new(File::create(&path).unwrap());
        for (name, content) in entries {
            writer
                .start_file(*name, SimpleFileOptions::default())
                .unwrap();
            writer.write_all(content).unwrap();
        }
        writer.finish().unwrap();
        (folder, path)
    }

    #[test]
    fn an_archive_reads_like_a_folder() {
        let (_folder, path) = archive(&[
            ("cat/2.png", picture(2)),
            ("cat/1.png", picture(1)),
            ("ant/1.png", picture(3)),
            ("__MACOSX/cat/1.png", vec![]),
            ("readme.txt", b"no picture".to_vec()),
        ]);
        let data = Dataset::open(&path, &Options::new(3, 1)).unwrap();
        assert_eq!(data.classes(), ["ant", "cat"]);
        assert_eq!(data.labels(), Some(&[0, 1, 1][..]));
        let first: Vec<u8> = (0..3).map(|i| data.pixels(i)[0]).collect();
        assert_eq!(first, [3, 1, 2]);
    }

    #[test]
    fn damage_is_named_or_skipped() {
        let (_folder, path) =
            archive(&[("1.png", picture(1)), ("2.png", b"not a picture".to_vec())]);
        let mut options = Options::new(3, 1);
        let error = Dataset::open(&path, &options).unwrap_err();
        assert!(error.to_string().contains("2.png"), "{error}");
        options.skip_unreadable = true;
        let data = Dataset::open(&path, &options).unwrap();
        assert_eq!((data.len(), data.skipped().len()), (1, 1));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let error = Dataset::open(&path, &options).unwrap_err();
        assert!(error.to_string().contains("zip archive"), "{error}");
    }
}
