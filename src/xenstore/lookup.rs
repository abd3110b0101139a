//! Where xenstored is, and the way to it.
//!
//! Owns libxenstore's look-up order. Differs from it in one thing: a socket that is there but does
//! not let us in is the end, since behind the device a dead daemon would leave us hanging.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::StoreError;

/// The socket, unless the environment names another.
const SOCKET: &str = "/var/run/xenstored/socket";

/// The kernel's device, and its older place: an ordinary file to stat(2), in xenfs.
const DEVICE: &str = "/dev/xen/xenbus";
const OLD_DEVICE: &str = "/proc/xen/xenbus";

/// What a connection runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Medium {
    /// xenstored's own socket.
    Socket,
    /// The kernel's xenbus device, which has room for one request at a time.
    Device,
}

/// A way to xenstored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    path: PathBuf,
    pub(super) medium: Medium,
}

/// What stat(2) says of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Socket,
    Device,
    Other,
}

impl Place {
    /// The way to this host's xenstored.
    pub(super) fn find() -> Result<Self, StoreError> {
        Self::search(|name| env::var_os(name), look)
    }

    /// libxenstore's order (`xs_open`): `$XENSTORED_PATH` and nothing else; or the socket, in
    /// `$XENSTORED_RUNDIR` or in its default folder; or, where there is no such socket, the device.
    fn search(
        variable: impl Fn(&str) -> Option<OsString>,
        look: impl Fn(&Path) -> io::Result<Seen>,
    ) -> Result<Self, StoreError> {
        let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let at = |path: PathBuf| match look(&path) {
            Ok(seen) => Self::judge(path, seen),
            Err(source) => Err(StoreError::Unreachable { path, source }),
        };
        if let Some(path) = set("XENSTORED_PATH") {
            return at(path);
        }
        let socket = set("XENSTORED_RUNDIR")
            .map_or_else(|| PathBuf::from(SOCKET), |folder| folder.join("socket"));
        match at(socket) {
            Err(StoreError::Unreachable { path, source }) if absent(&source) => {
                for device in [DEVICE, OLD_DEVICE] {
                    match at(device.into()) {
                        Err(StoreError::Unreachable { source, .. }) if absent(&source) => {}
                        found => return found,
                    }
                }
                // The socket is what a control domain should have, so it is the one to name.
                Err(StoreError::Unreachable { path, source })
            }
            found => found,
        }
    }

    /// Takes sockets and devices only: an ordinary file would swallow requests as data.
    fn judge(path: PathBuf, seen: Seen) -> Result<Self, StoreError> {
        match seen {
            Seen::Socket => Ok(Self { path, medium: Medium::Socket }),
            Seen::Device => Ok(Self { path, medium: Medium::Device }),
            Seen::Other if path == Path::new(OLD_DEVICE) => {
                Ok(Self { path, medium: Medium::Device })
            }
            Seen::Other => {
                let source = io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "it is neither a socket nor a character device",
                );
                Err(StoreError::Unreachable { path, source })
            }
        }
    }

    /// Opens it, non-blocking and closed on exec.
    pub(super) fn open(&self, limit: Duration) -> Result<OwnedFd, StoreError> {
        let opened = match self.medium {
            Medium::Socket => connect(&self.path, limit),
            Medium::Device => {
                let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
                rustix::fs::open(&self.path, flags, Mode::empty()).map_err(io::Error::from)
            }
        };
        opened.map_err(|source| StoreError::Unreachable { path: self.path.clone(), source })
    }
}

/// Connects, waiting no longer than `limit` for a place in the daemon's backlog. xenstored's backlog
/// is 1, so a stopped daemon makes the third client wait; a non-blocking connect(2) would refuse it
/// at once and could not be polled for, but `SO_SNDTIMEO` bounds the wait (`unix_stream_connect`).
fn connect(path: &Path, limit: Duration) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let begun = Instant::now();
    loop {
        let left = limit.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(full(limit));
        }
        // Zero would mean "for ever" to the kernel, which counts in microseconds.
        let left = left.max(Duration::from_millis(1));
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(left))?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => break,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Err(full(limit)),
            Err(error) => return Err(error.into()),
        }
    }
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

/// The error for a daemon that takes no more clients.
fn full(limit: Duration) -> io::Error {
    let text = format!("it has taken no new client within {} s", super::connection::seconds(limit));
    io::Error::new(io::ErrorKind::TimedOut, text)
}

/// Whether a path is not there at all.
fn absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn look(path: &Path) -> io::Result<Seen> {
    let kind = fs::metadata(path)?.file_type();
    Ok(if kind.is_socket() {
        Seen::Socket
    } else if kind.is_char_device() {
        Seen::Device
    } else {
        Seen::Other
    })
}
