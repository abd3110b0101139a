//! What the fuzzer has kept: each of its inputs once found a way through the code that no other had.

use std::fs;
use std::path::Path;

use crate::targets::TARGETS;

#[test]
fn what_the_fuzzer_has_kept() {
    for (name, target) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let files: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() > 10, "{} has {} files", folder.display(), files.len());
        for file in files {
            // The file is the one to look at if this panics.
            println!("{}", file.display());
            target(&fs::read(file).unwrap());
        }
    }
}

/// Each folder belongs to a target.
#[test]
fn nothing_is_kept_for_nobody() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut folders: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    let mut names = TARGETS.map(|(name, _)| name);
    names.sort_unstable();
    assert_eq!(folders, names);
}
