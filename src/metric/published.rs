//! Means and covariances as others publish them: `.npz` archives of numpy's, and pickled dictionaries of its arrays.

use super::Moments;
use crate::Error;
use crate::container::{Array, numbers, pickled_arrays, row_major};
use crate::file::write_atomically;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// The largest array that is read, in bytes: a covariance of 16384 features.
const LARGEST: u64 = 1 << 31;
/// The first bytes of an array's file.
const MAGIC: &[u8; 6] = b"\x93NUMPY";

impl Moments {
    /// Reads statistics of any kind: ours, `.npz` with `mu` and `sigma` (of EDM, pytorch-fid, clean-fid), or a pickled
    /// dictionary of NVIDIA's tools, which is not executed. Statistics that do not say how many images they are of have a
    /// count of 0, and those that do not say which features an empty hash.
    ///
    /// # Errors
    /// As [`Moments::read`], and [`Error::Malformed`] for files without these arrays, or arrays that do not fit each other.
    pub fn read_any(path: &Path) -> Result<Self, Error> {
        let ends = |end: &str| {
            path.extension()
                .is_some_and(|e| e.eq_ignore_ascii_case(end))
        };
        if ends("npz") {
            return of_arrays(&archive(path)?, path);
        }
        if ends("pkl") || ends("pickle") {
            return of_arrays(&pickled_arrays(path)?, path);
        }
        Self::read(path)
    }

    /// Writes a `.npz` archive with `mu`, `sigma` and `count`, which numpy and the tools above read.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write_npz(&self, path: &Path) -> Result<(), Error> {
        let size = self.mean.len();
        let count = [self.count as f64];
        let arrays: [(&str, &[usize], &[f64]); 3] = [
            ("mu", &[size], &self.mean),
            ("sigma", &[size, size], &self.covariance),
            ("count", &[], &count),
        ];
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(zip::DateTime::default());
        let mut put = |name: &str, bytes: &[u8]| {
            writer.start_file(format!("{name}.npy"), options)?;
            writer.write_all(bytes)?;
            zip::result::ZipResult::Ok(())
        };
        let failed = |error: zip::result::ZipError| Error::file("write", path)(error.into());
        for (name, shape, values) in arrays {
            put(name, &file(shape, values)).map_err(failed)?;
        }
        write_atomically(path, &writer.finish().map_err(failed)?.into_inner())
    }
}

/// The statistics among arrays.
fn of_arrays(arrays: &BTreeMap<String, Array>, path: &Path) -> Result<Moments, Error> {
    let malformed = |reason: String| Error::malformed(path, "statistics file", reason);
    let get = |name: &str| arrays.get(name);
    let single = |name: &str| get(name).and_then(|array| array.values.first().copied());
    let named = [("mu", "sigma"), ("fid/mu", "fid/sigma"), ("mean", "cov")];
    let found = named
        .iter()
        .find_map(|(mean, cov)| Some((get(mean)?, get(cov)?)));
    let (mean, covariance) = match (found, get("raw_mean"), get("raw_cov"), single("num_items")) {
        (Some((mean, cov)), ..) => (mean.clone(), cov.clone()),
        (None, Some(mean), Some(cov), Some(items)) if items > 0.0 => sums(mean, cov, items),
        _ => {
            let names: Vec<&str> = arrays.keys().map(String::as_str).take(8).collect();
            let reason = format!("it has no `mu` and `sigma`; it has {}", names.join(", "));
            return Err(malformed(reason));
        }
    };
    let size = mean.values.len();
    if size == 0 || covariance.shape != [size, size] {
        let (mean, covariance) = (mean.shape, covariance.shape);
        return Err(malformed(format!(
            "mean {mean:?}, covariance {covariance:?}"
        )));
    }
    let all = mean.values.iter().chain(&covariance.values);
    if all.into_iter().any(|value| !value.is_finite()) {
        return Err(malformed("it holds numbers that are not finite".into()));
    }
    let count = single("count").or(single("num_items")).unwrap_or(0.0);
    Ok(Moments {
        count: count.max(0.0) as u64,
        mean: mean.values,
        covariance: covariance.values,
        features: String::new(),
    })
}

/// Mean and covariance from sums over images.
fn sums(mean: &Array, products: &Array, items: f64) -> (Array, Array) {
    let mean = Array {
        shape: mean.shape.clone(),
        values: mean.values.iter().map(|sum| sum / items).collect(),
    };
    let size = mean.values.len().max(1);
    let centred = products.values.iter().enumerate().map(|(i, sum)| {
        let at = |i: usize| mean.values.get(i).copied().unwrap_or(0.0);
        sum / items - at(i / size) * at(i % size)
    });
    let covariance = Array {
        shape: products.shape.clone(),
        values: centred.collect(),
    };
    (mean, covariance)
}

/// Every array of an archive that is of numbers, by its name.
fn archive(path: &Path) -> Result<BTreeMap<String, Array>, Error> {
    let malformed = |reason: String| Error::malformed(path, "numpy archive", reason);
    let file = File::open(path).map_err(Error::file("read", path))?;
    let mut archive =
        ZipArchive::new(BufReader::new(file)).map_err(|error| malformed(error.to_string()))?;
    let mut arrays = BTreeMap::new();
    for index in 0..archive.len() {
        let entry = archive
            .by_index(index)
            .map_err(|e| malformed(e.to_string()))?;
        let name = entry.name().map_err(|e| malformed(e.to_string()))?;
        let Some(name) = name.strip_suffix(".npy").map(str::to_string) else {
            continue;
        };
        let mut bytes = Vec::new();
        let read = entry.take(LARGEST).read_to_end(&mut bytes);
        read.map_err(|error| malformed(format!("{name}: {error}")))?;
        // Others than numbers may lie beside what is looked for.
        if let Some(array) =
            parse(&bytes).map_err(|reason| malformed(format!("{name} {reason}")))?
        {
            arrays.insert(name, array);
        }
    }
    Ok(arrays)
}

/// The array of an `.npy` file, or `None` if it is of something else than little-endian f32 or f64, or whole numbers.
fn parse(bytes: &[u8]) -> Result<Option<Array>, String> {
    let broken = || "is no array of numpy's".to_string();
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(broken)?;
    let (len, rest) = match rest {
        [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        _ => return Err(broken()),
    };
    let header = rest.get(..len).and_then(|h| std::str::from_utf8(h).ok());
    let (header, data) = (header.ok_or_else(broken)?, &rest[len..]);
    let value = |key: &str| {
        let (_, after) = header.split_once(&format!("'{key}':"))?;
        Some(after.trim_start())
    };
    let (Some(kind), Some(shape)) = (value("descr"), value("shape")) else {
        return Err(broken());
    };
    let columns_first = value("fortran_order").is_some_and(|v| v.starts_with("True"));
    let inside = shape.strip_prefix('(').and_then(|s| s.split_once(')'));
    let sides = inside.ok_or_else(broken)?.0.split(',').map(str::trim);
    let sides = sides
        .filter(|side| !side.is_empty())
        .map(str::parse::<usize>);
    let shape: Vec<usize> = sides.collect::<Result<_, _>>().map_err(|_| broken())?;
    let kind = kind
        .trim_start_matches('\'')
        .split('\'')
        .next()
        .unwrap_or_default();
    let size = match kind {
        "<f8" | "<i8" => 8,
        "<f4" => 4,
        _ => return Ok(None),
    };
    let count = shape
        .iter()
        .try_fold(1usize, |n, side| n.checked_mul(*side));
    if count.and_then(|n| n.checked_mul(size)) != Some(data.len()) {
        return Err(format!(
            "has {} bytes, which is not its shape {shape:?}",
            data.len()
        ));
    }
    let values = match kind {
        "<i8" => {
            let all = data.as_chunks::<8>().0.iter();
            all.map(|bytes| i64::from_le_bytes(*bytes) as f64).collect()
        }
        _ => numbers(data, size == 8),
    };
    let values = row_major(values, &shape, columns_first)?;
    Ok(Some(Array { shape, values }))
}

/// An array as an `.npy` file of version 1, whose data start at a multiple of 64 bytes.
fn file(shape: &[usize], values: &[f64]) -> Vec<u8> {
    let sides = shape
        .iter()
        .map(|side| format!("{side},"))
        .collect::<String>();
    let mut header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({sides}), }}");
    let start = MAGIC.len() + 4;
    let padding = (start + header.len() + 1).next_multiple_of(64) - start - 1;
    header = format!("{header:padding$}\n");
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments() -> Moments {
        Moments {
            count: 7,
            mean: vec![1.5, -2.0],
            covariance: vec![2.0, 0.25, 0.25, 3.0],
            features: String::new(),
        }
    }

    #[test]
    fn our_archives_come_back_and_have_equal_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.npz"), folder.path().join("b.npz"));
        moments().write_npz(&a).unwrap();
        moments().write_npz(&b).unwrap();
        assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
        assert_eq!(Moments::read_any(&a).unwrap(), moments());
    }

    #[test]
    fn arrays_of_other_kinds_are_understood() {
        let put = |header: &str, data: &[u8]| {
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend((header.len() as u16).to_le_bytes());
            bytes.extend(header.as_bytes());
            bytes.extend(data);
            parse(&bytes)
        };
        let floats: Vec<u8> = (1..=6).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let header = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }\n";
        let array = put(header, &floats).unwrap().unwrap();
        assert_eq!(array.shape, [2, 3]);
        assert_eq!(array.values, [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
        let text = "{'descr': '<U3', 'fortran_order': False, 'shape': (), }";
        assert_eq!(put(text, &[0; 12]), Ok(None));
        let short = "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }";
        assert!(put(short, &[0; 8]).unwrap_err().contains("[2]"));
        assert!(put("{}", &[]).is_err() && parse(b"PK").is_err());
        let huge = "{'descr': '<f8', 'fortran_order': False, 'shape': (18446744073709551615, 2), }";
        assert!(put(huge, &[0; 8]).is_err());
    }

    #[test]
    fn statistics_are_found_under_every_name() {
        let array = |shape: &[usize], values: &[f64]| Array {
            shape: shape.to_vec(),
            values: values.to_vec(),
        };
        let (mean, cov) = (
            array(&[2], &[1.5, -2.0]),
            array(&[2, 2], &[2.0, 0.25, 0.25, 3.0]),
        );
        for (a, b) in [("mu", "sigma"), ("fid/mu", "fid/sigma"), ("mean", "cov")] {
            let arrays = [(a.to_string(), mean.clone()), (b.to_string(), cov.clone())].into();
            let found = of_arrays(&arrays, Path::new("x.pkl")).unwrap();
            assert_eq!((found.count, &found.mean), (0, &mean.values));
        }
        // Sums over four images.
        let products = array(&[2, 2], &[4.0 * 4.25, 4.0 * -2.75, 4.0 * -2.75, 4.0 * 7.0]);
        let arrays = [
            ("raw_mean".to_string(), array(&[2], &[6.0, -8.0])),
            ("raw_cov".to_string(), products),
            ("num_items".to_string(), array(&[], &[4.0])),
        ];
        let found = of_arrays(&arrays.into(), Path::new("x.pkl")).unwrap();
        assert_eq!((found.count, found.covariance), (4, moments().covariance));
        let wrong = [
            ("mu".to_string(), mean),
            ("sigma".to_string(), array(&[1], &[1.0])),
        ];
        assert!(of_arrays(&wrong.into(), Path::new("x.npz")).is_err());
        let none = [("act".to_string(), array(&[1], &[1.0]))];
        let message = of_arrays(&none.into(), Path::new("x.npz"))
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("x.npz") && message.contains("act"),
            "{message}"
        );
    }
}
