//! Words of the kernel's about this host and this process, from files that hold one word each.
//!
//! Owns their reading, in one read(2). Never a file of anybody else's: it would have to be whole in that.

use std::fs::File;
use std::io::Read as _;

/// More than the longest of these words.
const MOST_BYTES: usize = 64;

/// The word in `path`, without white space around it. `None` where there is no such file, or none that may be read.
pub(crate) fn word(path: &str) -> Option<Box<str>> {
    let mut text = [0; MOST_BYTES];
    let length = File::open(path).ok()?.read(&mut text).ok()?;
    Some(str::from_utf8(text.get(..length)?).ok()?.trim().into())
}
