//! Files in a folder where others can put things.
//!
//! Owns how they are opened: only regular ones, without waiting, and never through a link unless asked.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// The regular file at `path`, opened so, without waiting; `None` for anything else that stands there.
pub(super) fn open(path: &Path, mut how: OpenOptions, flags: OFlags) -> io::Result<Option<File>> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match how.custom_flags(flags.bits().cast_signed()).open(path) {
        // A link, with NOFOLLOW; a folder, for writing; a socket, or a device without a driver.
        Err(error)
            if [Errno::LOOP, Errno::ISDIR, Errno::NXIO]
                .contains(&Errno::from_io_error(&error).unwrap_or(Errno::IO)) =>
        {
            return Ok(None);
        }
        file => file?,
    };
    Ok(file.metadata()?.is_file().then_some(file))
}

/// A new file at `path`, in place of what a killed process left there, or of a link that somebody has put
/// there: never written through.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let create = || OpenOptions::new().read(true).write(true).create_new(true).open(path);
    match create() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            create()
        }
        created => created,
    }
}

/// What is known of the file at `path`; `None` when there is none.
pub(super) fn metadata(path: &Path, follow: bool) -> io::Result<Option<Metadata>> {
    match if follow { fs::metadata(path) } else { fs::symlink_metadata(path) } {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}
