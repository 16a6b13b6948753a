//! A zip archive of pictures, laid out like a folder of them.

use super::super::Split;
use super::super::kind::{self, HEAD};
use super::entry::{entries, read, whole};
use super::layout::arrange;
use super::listing::{Found, Listing, Names, Place};
use crate::Error;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Mutex;
use zip::ZipArchive;

/// Lists all pictures in an archive.
pub(super) fn find(path: &Path, split: Split) -> Result<Found, Error> {
    let malformed = |reason: String| Error::malformed(path, "zip archive", reason);
    let file = File::open(path).map_err(Error::file("read", path))?;
    let mut archive =
        ZipArchive::new(BufReader::new(file)).map_err(|error| malformed(error.to_string()))?;
    let entries = entries(&mut archive).map_err(malformed)?;
    let mut files = Vec::with_capacity(entries.len());
    for (name, index) in &entries {
        let head = read(&mut archive, *index, HEAD as u64).unwrap_or_default();
        files.push((name.clone(), kind::of(name, &head)));
    }
    let names = Names::sort(files.into_iter());
    let layout = arrange(path, &names.pictures, split, &mut |name| {
        let content = whole(&mut archive, *entries.get(name)?);
        Some(content.map_err(|reason| Error::malformed(path.join(name), "file of labels", reason)))
    })?;
    let archive = Mutex::new(archive);
    let place = Place::Archive {
        path: path.to_owned(),
        archive,
        entries,
    };
    Ok(Found::Files(Box::new(Listing::new(
        place,
        names,
        layout,
        Vec::new(),
    ))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dataset, Options};
    use std::io::{Cursor, Write};
    use std::path::PathBuf;
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
    fn backslashes_separate_folders_where_nothing_else_does() {
        let (_folder, path) = archive(&[("cat\\1.png", picture(1)), ("ant\\1.png", picture(3))]);
        let data = Dataset::open(&path, &Options::new(3, 1)).unwrap();
        assert_eq!(data.classes(), ["ant", "cat"]);
    }

    #[test]
    fn an_archive_is_known_by_its_content_and_looked_through() {
        let (_folder, path) = archive(&[
            ("photos/train/a/1.png", picture(1)),
            ("photos/train/b/1.png", picture(2)),
            ("photos/test/a/1.png", picture(3)),
            ("photos/movie.mp4", b"\0\0\0\x18ftypisom".to_vec()),
        ]);
        let renamed = path.with_file_name("pictures");
        std::fs::rename(path, &renamed).unwrap();
        let data = Dataset::open(&renamed, &Options::new(3, 1)).unwrap();
        assert_eq!((data.len(), data.classes().len()), (2, 2));
        assert_eq!(data.report().taken, Path::new("photos/train"));
        assert!(data.report().left_out.is_empty(), "the film lies outside");
    }

    #[test]
    fn labels_of_edm_are_read() {
        let labels = br#"{"labels": [["00000/a.png", 2], ["00000/b.png", 0]]}"#;
        let (_folder, path) = archive(&[
            ("00000/a.png", picture(1)),
            ("00000/b.png", picture(2)),
            ("dataset.json", labels.to_vec()),
        ]);
        let data = Dataset::open(&path, &Options::new(3, 1)).unwrap();
        assert_eq!(
            (data.labels(), data.classes().len()),
            (Some(&[2, 0][..]), 3)
        );
        assert!(data.report().left_out.is_empty(), "the labels are read");
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
