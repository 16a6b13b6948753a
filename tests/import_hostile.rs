//! Hostile files: whatever bytes say, the readers answer with an error or a checkpoint, and take little memory.

#[path = "support/counting.rs"]
mod counting;
#[path = "support/explore.rs"]
mod explore;
#[path = "support/foreign.rs"]
mod foreign;
#[path = "support/mutation.rs"]
mod mutation;
#[path = "support/torch.rs"]
mod torch;

use counting::{Counting, peak};
use explore::explore;
use fewstep::Error;
use fewstep::import::{Checkpoint, globals, globals_in};
use fewstep::network::{NetworkConfig, SongUNetConfig};
use mutation::{Dice, mutate};
use std::path::Path;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What reading a file may take besides the copies of it that the test makes: its size and 64 MB.
fn check_memory(used: usize, len: usize) {
    let copies = 2 * len;
    let limit = copies + len + (64 << 20);
    assert!(used <= limit, "{used} bytes for a file of {len}");
}

fn network() -> NetworkConfig {
    NetworkConfig::SongUnet(SongUNetConfig {
        resolution: 4,
        channels: 1,
        classes: 0,
        model_channels: 4,
        channel_multipliers: vec![1],
        blocks: 0,
        attention_resolutions: vec![],
        augment_labels: 0,
        dropout: 0.0,
        step_branch: false,
        ..SongUNetConfig::default()
    })
}

/// A small whole file of each format, with its name.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let network = network();
    let mut edm = Vec::new();
    foreign::edm_pickle(&mut edm, &network, &mut foreign::values).unwrap();
    let state = torch::state(&network);
    let few = &state[..3.min(state.len())];
    let bundled = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden")
            .join(name);
        std::fs::read(path).unwrap()
    };
    vec![
        ("edm.pkl", edm),
        ("few.ckpt", torch::legacy(few)),
        ("few.pt", torch::zip(few, "little")),
        ("tricky-legacy.pt", bundled("ckpt_legacy_tricky.pt")),
        ("tricky-zip.pt", bundled("ckpt_zip_tricky.pt")),
        ("tricky.safetensors", bundled("ckpt_zip_tricky.safetensors")),
    ]
}

/// Mutated files of each reader, and of the largest seed: together above 100,000.
const MUTATED: usize = 19_000;
const MUTATED_LARGE: usize = 8_000;

#[test]
fn mutated_and_truncated_files() {
    let seeds = seeds();
    let total = std::thread::scope(|scope| {
        let pairs = seeds.iter().zip(seeds.iter().cycle().skip(1)).enumerate();
        let threads: Vec<_> = pairs
            .map(|(i, ((name, whole), (_, other)))| {
                scope.spawn(move || torture(name, whole, other, &mut Dice(i as u64)))
            })
            .collect();
        let counts = threads.into_iter().map(|thread| thread.join().unwrap());
        counts.sum::<usize>()
    });
    assert!(total >= 100_000, "{total}");
    println!("{total} files");
}

/// Changes a file in many ways, and cuts it off; how many files that made.
fn torture(name: &str, whole: &[u8], other: &[u8], dice: &mut Dice) -> usize {
    assert!(explore(whole, Path::new(name)), "{name}");
    let count = if whole.len() > 12_000 {
        MUTATED_LARGE
    } else {
        MUTATED
    };
    let mut opened = 0;
    for _ in 0..count {
        let mut bytes = whole.to_vec();
        mutate(&mut bytes, other, dice);
        let (open, used) = peak(|| explore(&bytes, Path::new(name)));
        check_memory(used, bytes.len());
        opened += usize::from(open);
    }
    // Some changes only touch numbers; most break something.
    assert!(opened > 0 && opened < count * 9 / 10, "{name}: {opened}");
    // Cut off at every byte, up to a thousand of them.
    let step = whole.len().div_ceil(1000);
    let cuts = (0..whole.len()).step_by(step);
    for len in cuts.clone() {
        let (open, used) = peak(|| explore(&whole[..len], Path::new(name)));
        assert!(!open, "{name} cut at {len}");
        check_memory(used, len);
    }
    count + cuts.count()
}

fn error(bytes: Vec<u8>) -> Error {
    let len = bytes.len();
    let (result, used) = peak(|| Checkpoint::from_bytes(bytes, Path::new("x.pt")));
    check_memory(used, len);
    result.unwrap_err()
}

/// A state dict of one tensor as a plain pickle, whose storage, size and strides are given as instructions.
fn one_tensor(size: &[u8], stride: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x80\x04}X\x01\0\0\0w".to_vec();
    bytes.extend(b"ctorch._utils\n_rebuild_tensor_v2\n(ctorch.storage\n_load_from_bytes\nB");
    let stream = foreign::legacy_storage(&[1.0, 2.0]);
    bytes.extend((stream.len() as u32).to_le_bytes());
    bytes.extend(stream);
    bytes.extend(b"\x85RK\0");
    bytes.extend(size);
    bytes.extend(stride);
    bytes.extend(b"\x89NtRs.");
    bytes
}

#[test]
fn a_plain_tensor_is_read() {
    let bytes = one_tensor(b"K\x02\x85", b"K\x01\x85");
    let file = Checkpoint::from_bytes(bytes, Path::new("x.pkl")).unwrap();
    assert_eq!(file.values("w").unwrap(), [1.0, 2.0]);
}

/// Settings that trainers leave beside weights are of classes that are not on the list: kept shut, and listed.
#[test]
fn classes_beside_weights_are_passed_over() {
    let plain = one_tensor(b"K\x02\x85", b"K\x01\x85");
    let (start, rest) = plain.split_at(3);
    let mut bytes = start.to_vec();
    // An instance with a state, one made of arguments, one with items, and a class by itself.
    bytes.extend(b"X\x03\0\0\0cfgcargparse\nNamespace\n)\x81}X\x01\0\0\0aK\x01sbs");
    bytes.extend(b"X\x04\0\0\0pathcpathlib\nPosixPath\n(X\x01\0\0\0atRs");
    bytes.extend(b"X\x04\0\0\0listcomegaconf.listconfig\nListConfig\n)\x81(K\x01K\x02es");
    bytes.extend(b"X\x04\0\0\0dictcomegaconf.dictconfig\nDictConfig\n)\x81X\x01\0\0\0aK\x01ss");
    bytes.extend(b"X\x04\0\0\0kindctyping\nAny\ns");
    bytes.extend(rest);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pkl");
    std::fs::write(&path, &bytes).unwrap();
    let file = Checkpoint::read(&path).unwrap();
    assert_eq!(file.values("w").unwrap(), [1.0, 2.0]);
    let strangers: Vec<&str> = file
        .globals
        .iter()
        .filter(|global| !global.allowed)
        .map(|global| global.name.as_str())
        .collect();
    let expected = [
        "argparse.Namespace",
        "pathlib.PosixPath",
        "omegaconf.listconfig.ListConfig",
        "omegaconf.dictconfig.DictConfig",
        "typing.Any",
    ];
    assert_eq!(strangers, expected);
    assert_eq!(globals(&path).unwrap(), file.globals);
    // Weights do not come out of them, nor from what harms.
    let inside = b"\x80\x04cmine\nNet\n)\x81}X\x01\0\0\0wK\x01sb.";
    let harmful = b"\x80\x04}X\x01\0\0\0xcsubprocess\nPopen\n)Rs.";
    for (bytes, wanted) in [
        (&inside[..], "mine.Net"),
        (&harmful[..], "subprocess.Popen"),
    ] {
        match error(bytes.to_vec()) {
            Error::ForeignCode { name, .. } => assert_eq!(name, wanted),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn code_is_named_and_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("marker");
    let command = format!("touch {}", marker.display());
    let mut bytes = b"\x80\x04}X\x01\0\0\0wcos\nsystem\nX".to_vec();
    bytes.extend((command.len() as u32).to_le_bytes());
    bytes.extend(command.as_bytes());
    bytes.extend(b"\x85Rs.");
    let path = folder.path().join("evil.pkl");
    std::fs::write(&path, &bytes).unwrap();
    match Checkpoint::read(&path).unwrap_err() {
        Error::ForeignCode { name, offset, .. } => {
            assert_eq!((name.as_str(), offset), ("os.system", 9))
        }
        other => panic!("{other}"),
    }
    let listed = globals(&path).unwrap();
    assert_eq!(
        (listed[0].name.as_str(), listed[0].allowed),
        ("os.system", false)
    );
    assert!(!marker.exists());
}

#[test]
fn names_inside_byte_strings_are_listed() {
    let mut stream = foreign::LEGACY_START.to_vec();
    stream.extend(b"\x80\x02cposix\nsystem\nX\x02\0\0\0id\x85R.");
    // Whatever function it would be given to.
    let mut bytes = b"\x80\x04c__builtin__\nanything\nB".to_vec();
    bytes.extend((stream.len() as u32).to_le_bytes());
    bytes.extend(stream);
    bytes.extend(b"\x85R.");
    let listed = globals_in(bytes, Path::new("x")).unwrap();
    let names: Vec<_> = listed.iter().map(|g| g.name.as_str()).collect();
    assert_eq!(names, ["__builtin__.anything", "posix.system"]);
}

#[test]
fn tensors_larger_than_the_file() {
    for (size, stride) in [
        (&b"\x8a\x08\0\0\0\0\0\0\0\x10\x85"[..], &b"K\x01\x85"[..]),
        (b"\x8a\x08\0\0\0\0\0\0\0\x10\x85", b"K\0\x85"),
        (b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86", b"K\0K\0\x86"),
        (
            b"K\x02\x85",
            b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85",
        ),
        (b"J\0\0\0\x80\x85", b"K\x01\x85"),
        (b"K\x03\x85", b"K\x01\x85"),
    ] {
        let error = error(one_tensor(size, stride)).to_string();
        assert!(error.contains("tensor"), "{error}");
    }
    // A storage that claims 2^60 numbers, in a stream and in an archive.
    let mut stream = foreign::LEGACY_START.to_vec();
    stream.extend(b"\x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu");
    stream.extend(b"\x8a\x08\0\0\0\0\0\0\0\x10NtQ.");
    let error = error(stream).to_string();
    assert!(error.contains("larger than the file"), "{error}");
}

#[test]
fn nesting_and_sharing() {
    let nested = |open: &[u8], close: &[u8]| {
        let mut bytes = b"\x80\x04}X\x01\0\0\0w".to_vec();
        bytes.extend(open.repeat(100_000));
        bytes.extend(close.repeat(100_000));
        bytes.extend(b"Ns.");
        error(bytes)
    };
    for (open, close) in [
        (&b"]"[..], &b"a"[..]),
        (b"}X\x01\0\0\0w", b"s"),
        (b"(", b"t"),
        (
            b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._tensor\n_rebuild_from_type_v2\nN",
            b"NtR",
        ),
    ] {
        nested(open, close);
    }
    // Modules inside modules, each of them ten times in the next: a tree of 10^19 leaves in 4 kB.
    let mut shared = b"\x80\x04}X\x03\0\0\0ema".to_vec();
    for i in 0..20u8 {
        shared.extend(b"ctorch.nn.modules.module\nModule\n)\x81}X\x08\0\0\0_modules}");
        if i > 0 {
            shared.push(b'(');
            for name in b'a'..b'k' {
                shared.extend([b'X', 1, 0, 0, 0, name, b'h', i - 1]);
            }
            shared.push(b'u');
        }
        shared.extend(b"sb\x94");
        if i < 19 {
            shared.push(b'0');
        }
    }
    shared.extend(b"s.");
    let error = error(shared).to_string();
    assert!(error.contains("nested too deep, or too many"), "{error}");
}

#[test]
fn bombs() {
    for (what, word) in [
        // Memo entries, at far places and in great number.
        (b"Nr\xff\xff\xff\xff0".repeat(2_000_000), "MB"),
        (b"]\x94".repeat(4_000_000), "MB"),
        (b"N".repeat(30_000_000), "stack"),
        (b"(".repeat(30_000_000), "marks"),
        (b"N0".repeat(20_000_000), "instructions"),
        (b"cos\nx\n".repeat(10), "os.x"),
    ] {
        let mut bytes = b"\x80\x04".to_vec();
        bytes.extend(what);
        bytes.push(b'.');
        let error = error(bytes).to_string();
        assert!(error.contains(word), "{error}");
    }
    // A text, bytes and a frame longer than the file.
    for start in [
        &b"X\xff\xff\xff\xff"[..],
        b"B\xff\xff\xff\xff",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
    ] {
        let error = error([b"\x80\x04", start].concat()).to_string();
        assert!(error.contains("bytes follow"), "{error}");
    }
    // A header of safetensors that is nothing but small tensors.
    let entry =
        |i: usize| format!("\"{i}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}");
    let entries: Vec<_> = (0..60_000).map(entry).collect();
    let header = format!("{{{}}}", entries.join(","));
    for header in [
        header,
        format!("{{\"__metadata__\":{{\"a\":\"{}\"}}}}", "b".repeat(3 << 20)),
    ] {
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
        let len = bytes.len();
        let (_, used) = peak(|| Checkpoint::from_bytes(bytes, Path::new("x.safetensors")).is_ok());
        check_memory(used, len);
    }
}

#[test]
fn byte_order() {
    let state = [("w".to_string(), vec![2], vec![1.0, 2.0])];
    let error_of = |bytes| error(bytes).to_string();
    let big = error_of(torch::zip(&state, "big"));
    assert!(big.contains("byte order is \"big\""), "{big}");
    let mut legacy = torch::legacy(&state);
    let at = legacy
        .windows(13)
        .position(|w| w == b"little_endian")
        .unwrap()
        + 13;
    legacy[at] = 0x89;
    let big = error_of(legacy);
    assert!(big.contains("big-endian"), "{big}");
}

#[test]
fn archives() {
    let state = [
        ("a".to_string(), vec![2], vec![1.0, 2.0]),
        ("b".to_string(), vec![2], vec![3.0, 4.0]),
    ];
    let whole = torch::zip(&state, "little");
    let entry = b"archive/data/1";
    let name = whole
        .windows(entry.len())
        .rposition(|w| w == entry)
        .unwrap();
    for (change, word) in [
        // Its place, its sizes, its method, in the directory: 4, 26 and 36 bytes before the name.
        ((name - 4..name, 0), "overlaps"),
        ((name - 26..name - 18, 0x7f), "does not lie inside"),
        ((name - 36..name - 35, 8), "compressed"),
        ((name - 38..name - 37, 1), "encrypted"),
        (
            (name + 13..name + 14, b'7'),
            "data/1 with 8 bytes is missing",
        ),
    ] {
        let mut bytes = whole.clone();
        let (place, value) = change;
        bytes[place].fill(value);
        let error = error(bytes).to_string();
        assert!(error.contains(word), "{error}");
    }
    let mut empty = b"PK\x05\x06".to_vec();
    empty.extend([0; 18]);
    let error = error(empty).to_string();
    assert!(error.contains("data.pkl"), "{error}");
}
