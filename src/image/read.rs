//! Pictures back from their PNG files, with the texts in them.

use super::Picture;
use crate::Error;
use std::io::BufReader;
use std::path::Path;

impl Picture {
    /// Reads a picture that [`write_png`](Self::write_png) wrote, with its texts (keyword, content).
    ///
    /// # Errors
    /// [`Error::File`], or [`Error::Malformed`] for any other file, PNG files of other kinds (palettes, transparency, 16 bit)
    /// included.
    pub fn read_png(path: &Path) -> Result<(Self, Vec<(String, String)>), Error> {
        let malformed = |reason: String| Error::malformed(path, "picture of ours", reason);
        let mut reader = png_reader(path)?;
        let size = reader.output_buffer_size();
        let mut pixels = vec![0; size.ok_or_else(|| malformed("it is too large".into()))?];
        let frame = reader.next_frame(&mut pixels);
        let frame = frame.map_err(|error| malformed(error.to_string()))?;
        let channels = match (frame.color_type, frame.bit_depth) {
            (png::ColorType::Grayscale, png::BitDepth::Eight) => 1,
            (png::ColorType::Rgb, png::BitDepth::Eight) => 3,
            other => return Err(malformed(format!("its pixels are {other:?}"))),
        };
        pixels.truncate(frame.buffer_size());
        let picture = Self {
            width: frame.width as usize,
            height: frame.height as usize,
            channels,
            pixels,
        };
        Ok((picture, texts(reader.info())))
    }

    /// The texts (keyword, content) of a PNG file, of which no more is read than stands before its pixels.
    ///
    /// # Errors
    /// [`Error::File`], or [`Error::Malformed`] if it is no PNG file.
    pub fn read_texts(path: &Path) -> Result<Vec<(String, String)>, Error> {
        Ok(texts(png_reader(path)?.info()))
    }
}

fn png_reader(path: &Path) -> Result<png::Reader<BufReader<std::fs::File>>, Error> {
    let file = std::fs::File::open(path).map_err(Error::file("read", path))?;
    let reader = png::Decoder::new(BufReader::new(file)).read_info();
    reader.map_err(|error| match error {
        png::DecodingError::IoError(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            Error::file("read", path)(error)
        }
        other => Error::malformed(path, "PNG file", other.to_string()),
    })
}

fn texts(info: &png::Info<'_>) -> Vec<(String, String)> {
    let latin = info.uncompressed_latin1_text.iter();
    let latin = latin.map(|text| (text.keyword.clone(), text.text.clone()));
    let other = info.utf8_text.iter();
    let other = other.filter_map(|text| Some((text.keyword.clone(), text.get_text().ok()?)));
    latin.chain(other).collect()
}
