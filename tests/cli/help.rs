//! The help. Its snapshots show each change in review; `SNAPSHOTS=overwrite cargo test` accepts one.

use std::collections::BTreeSet;

use snapbox::{assert_data_eq, file};

use crate::sandbox::xmem;

#[test]
fn help_is_as_reviewed() {
    for (words, snapshot) in [
        ("--help", file!["snapshots/help.txt"]),
        ("-h", file!["snapshots/help-short.txt"]),
        ("set --help", file!["snapshots/help-set.txt"]),
        ("max --help", file!["snapshots/help-max.txt"]),
        ("check --help", file!["snapshots/help-check.txt"]),
    ] {
        let ran = xmem(words).run();
        assert_eq!((ran.status.code(), &*ran.stderr), (Some(0), ""), "{words}");
        assert_data_eq!(ran.stdout, snapshot.raw());
    }
}

#[test]
fn every_spelling_of_help_prints_the_same() {
    for (one, other) in [
        ("help", "--help"),
        ("help set", "set --help"),
        ("mem-set --help", "set --help"),
        ("mem-max --help", "max --help"),
    ] {
        assert_eq!(xmem(one).run().stdout, xmem(other).run().stdout, "{one}");
    }
}

#[test]
fn version_is_the_package_version() {
    let expected = format!("xmem {}\n", env!("CARGO_PKG_VERSION"));
    for flag in ["--version", "-V"] {
        let ran = xmem(flag).run();
        assert_eq!((ran.status.code(), ran.stdout), (Some(0), expected.clone()));
    }
}

#[test]
fn the_help_has_each_variable_of_the_guide() {
    let guide = include_str!("../../docs/guide.md");
    let help = xmem("--help").run().stdout;
    let variables = |page: &str| -> BTreeSet<String> {
        let words = page.split(|c: char| !c.is_ascii_uppercase() && c != '_');
        words.filter(|word| word.starts_with("XMEM_")).map(str::to_owned).collect()
    };
    assert_eq!(variables(&help), variables(guide));
}
