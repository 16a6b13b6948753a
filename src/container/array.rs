//! Arrays of numpy's in a pickled dictionary, as tools of NVIDIA's keep their statistics.

use super::pickle::{ARRAY, Arena, Id, Node, Object, Policy};
use super::source::LazyFile;
use super::torch::stream;
use crate::Error;
use std::collections::BTreeMap;
use std::path::Path;

/// An array of numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its dimensions; none for a single number.
    pub shape: Vec<usize>,
    /// The numbers, row-major.
    pub values: Vec<f64>,
}

/// Most dictionaries inside each other.
const DEEPEST: usize = 3;
/// Most arrays of a file.
const MOST: usize = 256;

/// Every array and number of a pickled dictionary; those of a dictionary inside it as `outer/inner`. Nothing is executed.
///
/// # Errors
/// [`Error::File`]; [`Error::Malformed`] for what is no pickle of a dictionary, or holds arrays of other types than f32 and
/// f64; [`Error::ForeignCode`] if it mentions names that have nothing to do with numbers.
pub fn pickled_arrays(path: &Path) -> Result<BTreeMap<String, Array>, Error> {
    let source = LazyFile::open(path)?;
    let mut arena = Arena::new(&source, Policy::Refuse);
    let (_, top) = stream::read(&mut arena)?;
    if arena.pairs(top).is_none() {
        return Err(source.broken("pickle of arrays", "it holds no dictionary"));
    }
    let mut found = BTreeMap::new();
    gather(&arena, top, "", 0, &mut found)?;
    Ok(found)
}

fn gather(
    arena: &Arena<'_>,
    dict: Id,
    prefix: &str,
    depth: usize,
    found: &mut BTreeMap<String, Array>,
) -> Result<(), Error> {
    for (key, value) in arena.pairs(dict).unwrap_or_default() {
        let Some(key) = arena.text(*key) else {
            continue;
        };
        if found.len() >= MOST {
            return Err(arena
                .source
                .broken("pickle of arrays", "it holds too many arrays"));
        }
        let name = format!("{prefix}{key}");
        let single = |value: f64| Array {
            shape: Vec::new(),
            values: vec![value],
        };
        match arena.get(*value) {
            Node::Dict(_) if depth + 1 < DEEPEST => {
                gather(arena, *value, &format!("{name}/"), depth + 1, found)?;
            }
            Node::Int(value) => drop(found.insert(name, single(*value as f64))),
            Node::Float(value) => drop(found.insert(name, single(*value))),
            Node::Object(object) if object.class.ends_with(ARRAY) => {
                let array = array(arena, object).map_err(|reason| {
                    let reason = format!("{name} {reason}; save it with numpy.savez");
                    arena.source.broken("pickle of arrays", reason)
                })??;
                found.insert(name, array);
            }
            _ => {}
        }
    }
    Ok(())
}

/// What `(version, shape, type, columns first, bytes)` describes, or what is wrong with it.
fn array(arena: &Arena<'_>, object: &Object) -> Result<Result<Array, Error>, String> {
    let state = object.state.and_then(|state| arena.items(state));
    let Some(&[_, shape, of, columns_first, bytes]) = state else {
        return Err("is an array without numbers".into());
    };
    let sizes = arena.items(shape).unwrap_or_default().iter();
    let sizes = sizes.map(|id| arena.int(*id).and_then(|n| usize::try_from(n).ok()));
    let shape: Option<Vec<usize>> = sizes.collect();
    let shape = shape.ok_or("has no shape")?;
    let (Node::NumpyType(kind, false), Node::Bytes(span)) = (arena.get(of), arena.get(bytes))
    else {
        return Err("is not of little-endian numbers, or spelled as a text".into());
    };
    let size = match kind.trim_start_matches(['<', '=']) {
        "f8" => 8,
        "f4" => 4,
        other => return Err(format!("is of type {other}, not f4 or f8")),
    };
    let count = shape
        .iter()
        .try_fold(1u64, |n, &side| n.checked_mul(side as u64));
    if count.and_then(|n| n.checked_mul(size)) != Some(span.len) {
        return Err(format!("has {} bytes, which is not its shape", span.len));
    }
    let raw = match arena.source.read(*span) {
        Ok(raw) => raw,
        Err(error) => return Ok(Err(error)),
    };
    let values = numbers(&raw, size == 8);
    let columns_first = arena.int(columns_first) == Some(1);
    Ok(Ok(Array {
        values: row_major(values, &shape, columns_first)?,
        shape,
    }))
}

/// Little-endian numbers of eight or four bytes.
pub(crate) fn numbers(raw: &[u8], double: bool) -> Vec<f64> {
    match double {
        true => {
            let all = raw.as_chunks::<8>().0.iter();
            all.map(|bytes| f64::from_le_bytes(*bytes)).collect()
        }
        false => {
            let all = raw.as_chunks::<4>().0.iter();
            all.map(|bytes| f64::from(f32::from_le_bytes(*bytes)))
                .collect()
        }
    }
}

/// Values that may lie column by column, row by row.
pub(crate) fn row_major(
    values: Vec<f64>,
    shape: &[usize],
    columns_first: bool,
) -> Result<Vec<f64>, String> {
    match (columns_first, shape) {
        (false, _) | (true, [] | [_]) => Ok(values),
        (true, &[rows, columns]) => {
            let at = |i: usize| values[i % columns * rows + i / columns];
            Ok((0..values.len()).map(at).collect())
        }
        _ => Err("lies column by column in more than two dimensions".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `pickle.dumps({'fid': {'mu': [1.5, -2], 'sigma': [[2, 0.25], [0.5, 3]]}, 'n': 7, 'f4': [1, 2]}, protocol=4)` with numpy's
    /// arrays, `sigma` column by column.
    const PICKLE: &[&str] = &[
        "80049547010000000000007d94288c03666964947d94288c026d75948c166e756d70792e5f636f72652e6d756c7469617272",
        "6179948c0c5f7265636f6e7374727563749493948c056e756d7079948c076e6461727261799493944b008594430162948794",
        "5294284b014b02859468078c0564747970659493948c02663894898887945294284b038c013c944e4e4e4affffffff4affff",
        "ffff4b00749462894310000000000000f83f00000000000000c0947494628c057369676d6194680668094b008594680b8794",
        "5294284b014b024b02869468138843200000000000000040000000000000e03f000000000000d03f00000000000008409474",
        "9462758c016e944b078c02663494680668094b008594680b87945294284b014b02859468108c02663494898887945294284b",
        "0368144e4e4e4affffffff4affffffff4b007494628943080000803f0000004094749462752e",
    ];

    fn read(bytes: &[u8]) -> Result<BTreeMap<String, Array>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("statistics.pkl");
        std::fs::write(&path, bytes).unwrap();
        pickled_arrays(&path)
    }

    #[test]
    fn arrays_of_a_pickled_dictionary_are_read_as_data() {
        let digits = PICKLE.concat();
        let byte = |i: usize| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..digits.len() / 2).map(byte).collect();
        let arrays = read(&bytes).unwrap();
        let names: Vec<&str> = arrays.keys().map(String::as_str).collect();
        assert_eq!(names, ["f4", "fid/mu", "fid/sigma", "n"]);
        assert_eq!(arrays["fid/mu"].values, [1.5, -2.0]);
        assert_eq!(arrays["fid/sigma"].shape, [2, 2]);
        assert_eq!(arrays["fid/sigma"].values, [2.0, 0.25, 0.5, 3.0]);
        assert_eq!(arrays["f4"].values, [1.0, 2.0]);
        assert_eq!(
            (arrays["n"].shape.len(), &arrays["n"].values[..]),
            (0, &[7.0][..])
        );
        // Numbers that are not the shape's, and what would run something.
        let at = bytes.windows(4).position(|w| w == b"K\x02K\x02").unwrap();
        let mut wrong = bytes.clone();
        wrong[at + 1] = 3;
        let message = read(&wrong).unwrap_err().to_string();
        assert!(
            message.contains("fid/sigma") && message.contains("32 bytes"),
            "{message}"
        );
        let foreign = read(b"\x80\x03cos\nsystem\nX\x02\0\0\0ls\x85R.").unwrap_err();
        assert!(matches!(foreign, Error::ForeignCode { .. }), "{foreign}");
        assert!(
            read(b"\x80\x03K\x01.")
                .unwrap_err()
                .to_string()
                .contains("no dictionary")
        );
    }
}
