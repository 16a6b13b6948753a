//! Trajectories on disk, whoever makes them.

use crate::work::{Work, classes};
use crate::{student, together};
use fewstep::distill::Recipe;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// All files of a cache.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let teacher = folder.join("0123456789abcdef");
    let all = fs::read_dir(teacher).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        (name, fs::read(path).unwrap())
    });
    all.collect()
}

#[test]
fn a_cache_is_the_same_for_any_number_of_processes() {
    let recipe = Recipe {
        batch: 5,
        micro_batch: Some(2),
        ..student::short()
    };
    let work = Work::new(&recipe, &classes);
    let expected = work.same(&[]);
    let folders: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let [alone, several] = [folders[0].path(), folders[1].path()];
    for (size, folder) in [(1, alone), (3, several)] {
        let cached = Work {
            cache: Some(folder),
            ..work
        };
        for (state, _) in together(size, |group| cached.run(group).unwrap()) {
            assert!(state == expected);
        }
    }
    let written = files(alone);
    assert_eq!(written.len(), 3);
    assert!(written == files(several));
    // One batch is missing, one broken: both come back, and one batch is read by three processes from one's file.
    let mut names = written.keys();
    let teacher = alone.join("0123456789abcdef");
    fs::remove_file(teacher.join(names.next().unwrap())).unwrap();
    fs::write(teacher.join(names.next().unwrap()), "broken").unwrap();
    let cached = Work {
        cache: Some(alone),
        ..work
    };
    for (state, _) in together(3, |group| cached.run(group).unwrap()) {
        assert!(state == expected);
    }
    assert!(written == files(alone));
}
