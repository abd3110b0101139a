//! The xenstore client with any bytes from xenstored: properties, and the fuzzer's corpus.
#![expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]

#[cfg(test)]
mod properties;
#[cfg(test)]
mod target;

use std::fs;
use std::path::Path;

#[cfg(test)]
#[test]
fn every_input_of_the_fuzzers_corpus_ends_in_printable_errors() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/wire");
    let files = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path());
    let count = files
        .inspect(|file| println!("{}", file.display()))
        .map(|file| target::exercise(&fs::read(file).unwrap()))
        .count();
    assert!(count > 10, "{count}");
}
