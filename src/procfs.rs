//! Words of the kernel's about this host and this process: its number, and files that hold one word each.
//!
//! Owns their reading, in one read(2). Never a file of anybody else's: it would have to be whole in that.

use std::fs::File;
use std::io::Read as _;
use std::process;
use std::sync::OnceLock;

/// More than the longest of these words.
const MOST_BYTES: usize = 64;

/// This process's number: the kernel is asked once, and glibc would ask it each time.
pub(crate) fn pid() -> u32 {
    static PID: OnceLock<u32> = OnceLock::new();
    *PID.get_or_init(process::id)
}

/// The word in `path`, without white space around it. `None` where there is no such file, or none that may be read.
pub(crate) fn word(path: &str) -> Option<Box<str>> {
    let mut text = [0; MOST_BYTES];
    let length = File::open(path).ok()?.read(&mut text).ok()?;
    Some(str::from_utf8(text.get(..length)?).ok()?.trim().into())
}
