use super::*;
use crate::Error;
use crate::container::source::Cursor;
use crate::container::source::LazyFile;
use std::path::Path;

/// Reads one pickle and looks at it.
fn with<T>(bytes: &[u8], look: impl FnOnce(&Arena<'_>, Result<Id, Error>) -> T) -> T {
    let source = LazyFile::memory(bytes.to_vec(), Path::new("x.pkl"));
    let mut arena = Arena::new(&source, Policy::Refuse);
    let mut cursor = Cursor::new(&source, source.whole());
    let result = read(&mut cursor, &mut arena, Persistent::None);
    look(&arena, result)
}

fn json(bytes: &[u8]) -> serde_json::Value {
    with(bytes, |arena, id| super::json::value(arena, id.unwrap()))
}

fn error(bytes: &[u8]) -> String {
    with(bytes, |_, result| result.unwrap_err().to_string())
}

#[test]
fn the_same_value_in_every_protocol() {
    // pickle.dumps({'a': [1, -2, 2.5, None, True], 'b': ('x', b'y')}, protocol), Python 3.11.
    let by_protocol: [&[u8]; 6] = [
        b"(dp0\nVa\np1\n(lp2\nI1\naI-2\naF2.5\naNaI01\nasVb\np3\n(Vx\np4\nc_codecs\nencode\np5\n(Vy\np6\nVlatin1\np7\ntp8\nRp9\ntp10\ns.",
        b"}q\0(X\x01\0\0\0aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG@\x04\0\0\0\0\0\0NI01\neX\x01\0\0\0bq\x03(X\x01\0\0\0xq\x04c_codecs\nencode\nq\x05(X\x01\0\0\0yq\x06X\x06\0\0\0latin1q\x07tq\x08Rq\ttq\nu.",
        b"\x80\x02}q\0(X\x01\0\0\0aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG@\x04\0\0\0\0\0\0N\x88eX\x01\0\0\0bq\x03X\x01\0\0\0xq\x04c_codecs\nencode\nq\x05X\x01\0\0\0yq\x06X\x06\0\0\0latin1q\x07\x86q\x08Rq\t\x86q\nu.",
        b"\x80\x03}q\0(X\x01\0\0\0aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG@\x04\0\0\0\0\0\0N\x88eX\x01\0\0\0bq\x03X\x01\0\0\0xq\x04C\x01yq\x05\x86q\x06u.",
        b"\x80\x04\x95-\0\0\0\0\0\0\0}\x94(\x8c\x01a\x94]\x94(K\x01J\xfe\xff\xff\xffG@\x04\0\0\0\0\0\0N\x88e\x8c\x01b\x94\x8c\x01x\x94C\x01y\x94\x86\x94u.",
        b"\x80\x05\x95-\0\0\0\0\0\0\0}\x94(\x8c\x01a\x94]\x94(K\x01J\xfe\xff\xff\xffG@\x04\0\0\0\0\0\0N\x88e\x8c\x01b\x94\x8c\x01x\x94C\x01y\x94\x86\x94u.",
    ];
    let want = serde_json::json!({"a": [1, -2, 2.5, null, true], "b": ["x", "<other>"]});
    for (protocol, bytes) in by_protocol.iter().enumerate() {
        assert_eq!(json(bytes), want, "protocol {protocol}");
    }
}

#[test]
fn numbers_and_texts() {
    assert_eq!(json(b"\x80\x02\x8a\x02\x00\x80."), -32768);
    assert_eq!(json(b"\x80\x02\x8a\x00."), 0);
    assert_eq!(json(b"L12345678901L\n."), 12_345_678_901i64);
    assert_eq!(json(b"S'quoted'\n."), "quoted");
    assert_eq!(json(b"\x80\x02G\x7f\xf0\0\0\0\0\0\0."), "inf");
    assert_eq!(json(b"\x80\x03U\x02hi."), "hi");
    assert!(error(b"\x80\x02\x8b\xff\xff\xff\x7f.").contains("whole number of 2147483647 bytes"));
    // A number of numpy's: little-endian, and big-endian after `dtype.__setstate__`.
    let scalar = |order: &str, bytes: &[u8]| {
        let mut all = b"\x80\x03cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\nX\x02\0\0\0f8\x89\x88\x87R(K\x03X\x01\0\0\0".to_vec();
        all.extend(order.as_bytes());
        all.extend(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tbC\x08");
        all.extend(bytes);
        all.extend(b"tR.");
        json(&all)
    };
    assert_eq!(scalar("<", &0.7f64.to_le_bytes()), 0.7);
    assert_eq!(scalar(">", &0.7f64.to_be_bytes()), 0.7);
}

#[test]
fn long_texts_are_passed_over() {
    let mut bytes = b"\x80\x04X".to_vec();
    bytes.extend(100_000u32.to_le_bytes());
    bytes.extend([b'#'; 100_000]);
    bytes.push(b'.');
    with(&bytes, |arena, id| {
        assert!(matches!(arena.get(id.unwrap()), Node::LongText))
    });
}

#[test]
fn foreign_names_are_refused_with_their_place() {
    for (bytes, name, offset) in [
        (
            &b"\x80\x02cos\nsystem\nX\x02\0\0\0id\x85R."[..],
            "os.system",
            2,
        ),
        (b"cposix\nsystem\n(S'id'\ntR.", "posix.system", 0),
        (b"(S'id'\nios\nsystem\n.", "os.system", 7),
        (
            b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.",
            "builtins.eval",
            18,
        ),
        (
            b"\x80\x04\x8c\x02os\x94\x8c\x06system\x9400h\0h\x01\x93.",
            "os.system",
            22,
        ),
    ] {
        with(bytes, |_, result| match result.unwrap_err() {
            Error::ForeignCode {
                name: n, offset: o, ..
            } => assert_eq!((n.as_str(), o), (name, offset)),
            other => panic!("{other}"),
        });
    }
}

#[test]
fn broken_pickles_say_where() {
    for (bytes, word) in [
        (
            &b"\x80\x02."[..],
            "at byte 2: it takes a value from an empty stack",
        ),
        (b"\x80\x09N.", "protocol is 9"),
        (b"\x80\x02K\x01", "bytes follow"),
        (b"\x80\x02h\x05.", "memo 5 was never stored"),
        (b"\x80\x02)e.", "no mark"),
        (b"\x80\x02}(K\x01u.", "a key has no value"),
        (b"\x80\x02K\x01K\x02K\x03s.", "no dictionary"),
        (b"\x80\x02K\x01K\x02a.", "no list"),
        (b"\x80\x02X\xff\xff\xff\xffabc.", "bytes follow"),
        (
            b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc.",
            "bytes follow",
        ),
        (b"\x80\x02K\x01)R.", "calls something that is not a name"),
        (b"\x80\x02K\x01Q.", "outside the pickle"),
        (b"\x80\x02\x82\x01.", "extension registry"),
        (b"\x80\x05\x97.", "outside the file"),
        (b"\x80\x02\xff.", "0xff is no instruction"),
        (b"\x80\x02(\x85.", "too few values"),
    ] {
        let error = error(bytes);
        assert!(
            error.contains(word) && error.starts_with("x.pkl"),
            "{error}"
        );
    }
}

#[test]
fn depth_costs_no_recursion_and_size_is_paid_for() {
    let mut deep = b"\x80\x02".to_vec();
    deep.extend([b']'; 100_000]);
    deep.extend([b'a'; 99_999]);
    deep.push(b'.');
    with(&deep, |_, result| assert!(result.is_ok()));
    assert!(json(&deep).to_string().contains("<...>"));
    // Ten references to the list before, thirty times: 10^30 entries if they were spelled out.
    let mut bomb = b"\x80\x02]q\0".to_vec();
    for i in 0..30u8 {
        bomb.extend(b"](");
        bomb.extend([b'h', i].repeat(10));
        bomb.extend([b'e', b'q', i + 1]);
    }
    bomb.push(b'.');
    assert!(json(&bomb).to_string().len() < 1_000_000);
    for (what, word) in [
        (&b"]0"[..], "32 MB"),
        (b"N", "stack grows"),
        (b"(", "too many marks"),
        (b"N0", "instructions"),
        (b"]\x94", "32 MB"),
    ] {
        let mut bytes = b"\x80\x04".to_vec();
        bytes.extend(what.repeat(10_000_000 / what.len()));
        let error = error(&bytes);
        assert!(error.contains(word), "{error}");
    }
}
