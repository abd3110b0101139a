//! What the fuzzer has kept: each of its inputs once found a way through the code that no other had.

use std::fs;
use std::path::Path;

use crate::targets::TARGETS;

#[test]
fn everything_that_the_fuzzer_has_kept_holds() {
    for (name, target) in TARGETS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
        let files: Vec<_> =
            fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() > 10, "{} has {} files", corpus.display(), files.len());
        for file in files {
            // The file to look at if this panics.
            println!("{}", file.display());
            target(&fs::read(file).unwrap());
        }
    }
}
