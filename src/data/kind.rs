//! What a file is, by its first bytes: endings are wrong too often.

use std::ffi::OsStr;
use std::path::{Component, Path};

/// The sheet of all pictures in a folder of samples. In a folder or archive that is read as data, a file of this name is
/// left out.
pub const SHEET: &str = "grid.png";

/// How many bytes of a file [`of`] wants to see.
pub(super) const HEAD: usize = 512;

/// The formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Bmp,
    Gif,
    Jpeg,
    Png,
    Pnm,
    Qoi,
    Tiff,
    WebP,
}

/// What readers of messages are told is read.
pub(super) const READ: &str = "PNG, JPEG, WebP, TIFF, GIF, BMP, PNM or QOI";

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A picture that is read.
    Picture(Format),
    /// Named like a picture that is read, but it is none.
    Damaged,
    /// Anything else, under the name that people know it by.
    Other(String),
}

/// Whether a name is one that people do not see or did not make: hidden, left by a desktop, or the sheet of all samples in
/// a folder of samples.
pub(super) fn is_passed_over(name: &OsStr) -> bool {
    let left = ["__MACOSX", "Thumbs.db", "ehthumbs.db", "desktop.ini", SHEET];
    name.as_encoded_bytes().starts_with(b".") || left.iter().any(|left| name == *left)
}

/// The same of a path inside a data set.
pub(super) fn is_visible(inside: &Path) -> bool {
    inside.components().all(|part| match part {
        Component::Normal(name) => !is_passed_over(name),
        _ => false,
    })
}

/// What a file is that begins with `head`, its first [`HEAD`] bytes or all of it.
pub(super) fn of(name: &Path, head: &[u8]) -> Kind {
    let ending = name.extension().and_then(|e| e.to_str());
    let ending = ending.unwrap_or_default().to_ascii_lowercase();
    // Without the header of a file its content says little.
    let bare = ending == "dib" && head.first().is_some_and(|size| HEADERS.contains(size));
    let format = picture(head).or(bare.then_some(Format::Bmp));
    // Raw files of cameras are TIFF files whose first picture is a small one to look at.
    let raw = [
        "3fr", "arw", "cr2", "dng", "erf", "nef", "nrw", "orf", "pef", "rw2", "srw",
    ];
    if format == Some(Format::Tiff) && raw.contains(&ending.as_str()) {
        return Kind::Other("camera raw".into());
    }
    match (format, foreign(head)) {
        (Some(format), _) => Kind::Picture(format),
        (None, Some(name)) => Kind::Other(name.into()),
        (None, None) if is_read(&ending) => Kind::Damaged,
        (None, None) if ending.is_empty() => Kind::Other("without an ending".into()),
        (None, None) => Kind::Other(format!(".{ending}")),
    }
}

/// Whether files of this ending, in small letters, are read.
fn is_read(ending: &str) -> bool {
    let known = [
        "apng", "bmp", "dib", "gif", "jfif", "jpe", "jpeg", "jpg", "pbm", "pgm", "png", "pnm",
        "ppm", "qoi", "tif", "tiff", "webp",
    ];
    known.contains(&ending)
}

/// Lengths of the headers of BMP.
const HEADERS: [u8; 7] = [12, 40, 52, 56, 64, 108, 124];

fn picture(head: &[u8]) -> Option<Format> {
    let starts = |magic: &[u8]| head.starts_with(magic);
    if starts(b"\x89PNG\r\n\x1a\n") {
        Some(Format::Png)
    } else if starts(b"\xff\xd8\xff") {
        Some(Format::Jpeg)
    } else if starts(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        Some(Format::WebP)
    } else if starts(b"GIF87a") || starts(b"GIF89a") {
        Some(Format::Gif)
    } else if [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"]
        .iter()
        .any(|magic| starts(&magic[..]))
    {
        Some(Format::Tiff)
    } else if starts(b"BM") && head.get(14).is_some_and(|size| HEADERS.contains(size)) {
        Some(Format::Bmp)
    } else if starts(b"qoif") {
        Some(Format::Qoi)
    } else if is_pnm(head) {
        Some(Format::Pnm)
    } else {
        None
    }
}

/// `P1` to `P6` and a number, perhaps after comments: two letters alone may begin a text.
fn is_pnm(head: &[u8]) -> bool {
    let &[b'P', b'1'..=b'6', space, ..] = head else {
        return false;
    };
    let next = head[2..].iter().find(|byte| !byte.is_ascii_whitespace());
    space.is_ascii_whitespace() && next.is_some_and(|byte| byte.is_ascii_digit() || *byte == b'#')
}

/// Formats of pictures, and of what is taken for pictures, that are not read.
fn foreign(head: &[u8]) -> Option<&'static str> {
    if head.get(4..8) == Some(b"ftyp") {
        return Some(match head.get(8..12) {
            Some(b"avif" | b"avis") => "AVIF",
            Some(b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"mif1" | b"msf1") => "HEIC",
            _ => "video",
        });
    }
    let known: [(&[u8], &str); 22] = [
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL ", "JPEG XL"),
        (b"\0\0\0\x0cjP  ", "JPEG 2000"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"8BPS", "PSD"),
        (b"gimp xcf", "XCF"),
        (b"\0\0\x01\0", "ICO"),
        (b"\0\0\x02\0", "CUR"),
        (b"icns", "ICNS"),
        (b"DDS ", "DDS"),
        (b"\x76\x2f\x31\x01", "OpenEXR"),
        (b"#?RADIANCE", "Radiance HDR"),
        (b"#?RGBE", "Radiance HDR"),
        (b"farbfeld", "farbfeld"),
        (b"P7\n", "PAM"),
        (b"PF\n", "PFM"),
        (b"Pf\n", "PFM"),
        (b"%PDF", "PDF"),
        (b"%!PS", "PostScript"),
        (b"\x1aE\xdf\xa3", "video"),
        (b"PK\x03\x04", "zip"),
        (b"\x1f\x8b", "gzip"),
    ];
    let found = known.iter().find(|(magic, _)| head.starts_with(magic));
    let svg = || head.windows(4).any(|four| four == b"<svg").then_some("SVG");
    found.map(|(_, name)| *name).or_else(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str, head: &[u8]) -> Kind {
        of(Path::new(name), head)
    }

    #[test]
    fn content_decides_and_the_name_only_where_it_does_not() {
        let png = b"\x89PNG\r\n\x1a\n....";
        assert_eq!(kind("x.jpg", png), Kind::Picture(Format::Png));
        assert_eq!(kind("x", png), Kind::Picture(Format::Png));
        assert_eq!(
            kind("x.jfif", b"\xff\xd8\xff\xe0"),
            Kind::Picture(Format::Jpeg)
        );
        assert_eq!(kind("x.jfif", b"text"), Kind::Damaged);
        assert_eq!(kind("x.PNG", b""), Kind::Damaged);
        let other = |name: &str| Kind::Other(name.into());
        assert_eq!(kind("x.jpg", b"\0\0\0\x18ftypheic"), other("HEIC"));
        assert_eq!(kind("x.xyz", b"<?xml version='1.0'?><svg>"), other("SVG"));
        assert_eq!(kind("notes.TXT", b"P1 is the first"), other(".txt"));
        assert_eq!(
            kind("notes", b"BM is short for"),
            other("without an ending")
        );
        assert_eq!(kind("x.dng", b"II*\0...."), other("camera raw"));
        assert_eq!(kind("x.tif", b"II*\0...."), Kind::Picture(Format::Tiff));
        assert_eq!(kind("x", b"P5\n# made by\n3 3"), Kind::Picture(Format::Pnm));
    }
}
