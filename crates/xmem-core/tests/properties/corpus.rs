//! The fuzzer's corpus: each input once took a new path through the code.

use std::fs;
use std::path::Path;

use crate::targets::TARGETS;

#[test]
fn every_input_of_the_fuzzers_corpus_holds() {
    for (name, target) in TARGETS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
        let files: Vec<_> =
            fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() > 10, "{} has {} files", corpus.display(), files.len());
        for file in files {
            // Names the input if this panics.
            println!("{}", file.display());
            target(&fs::read(file).unwrap());
        }
    }
}
