//! The way to xenstored: libxenstore's search order (`xs_open`, `tools/libs/store/xs.c`).
//!
//! It differs in one thing: a socket that exists but refuses the connection is an error, not a reason to use the
//! device. A request to a dead daemon's device would never be answered.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::StoreError;

/// What a connection runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// xenstored's socket.
    Socket,
    /// The kernel's xenbus device, which has room for one request at a time.
    Device,
}

/// Where xenstored is unless the environment says otherwise.
struct Paths<'a> {
    socket: &'a Path,
    device: &'a Path,
    /// The device's place in xenfs, where stat(2) shows an ordinary file.
    old_device: &'a Path,
}

/// Connects to this host's xenstored. The file descriptor is closed on exec: a socket whose calls block for `limit` at
/// most, or the non-blocking device.
pub(super) fn connect(limit: Duration) -> Result<(OwnedFd, Transport), StoreError> {
    let paths = Paths {
        socket: Path::new("/var/run/xenstored/socket"),
        device: Path::new("/dev/xen/xenbus"),
        old_device: Path::new("/proc/xen/xenbus"),
    };
    paths.connect(|name| env::var_os(name), limit)
}

impl Paths<'_> {
    /// Opens `$XENSTORED_PATH` and nothing else, if it is set; or else the socket, in `$XENSTORED_RUNDIR` if that is
    /// set; or, if there is no such socket, the device. An empty variable counts as unset.
    fn connect(
        &self,
        variable: impl Fn(&str) -> Option<OsString>,
        limit: Duration,
    ) -> Result<(OwnedFd, Transport), StoreError> {
        let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = set("XENSTORED_PATH") {
            return self.open(&path, limit).map_err(unreachable(&path));
        }
        let socket = set("XENSTORED_RUNDIR").map(|dir| dir.join("socket"));
        let socket = socket.as_deref().unwrap_or(self.socket);
        // A control domain should have the socket, so that is the path to name if nothing exists.
        let error = match self.open(socket, limit) {
            Err(error) if is_absent(&error) => error,
            outcome => return outcome.map_err(unreachable(socket)),
        };
        for device in [self.device, self.old_device] {
            match self.open(device, limit) {
                Err(error) if is_absent(&error) => {}
                outcome => return outcome.map_err(unreachable(device)),
            }
        }
        Err(unreachable(socket)(error))
    }

    /// Tries connect(2) first; uses stat(2) only if that fails, to find a device or a precise error. An ordinary file
    /// is refused: it would store requests as data.
    fn open(&self, path: &Path, limit: Duration) -> io::Result<(OwnedFd, Transport)> {
        let error = match connect_socket(path, limit) {
            Ok(fd) => return Ok((fd, Transport::Socket)),
            // A socket that was waited for.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error),
            Err(error) => error,
        };
        let file = fs::metadata(path)?.file_type();
        if file.is_socket() {
            return Err(error);
        }
        if !file.is_char_device() && path != self.old_device {
            let what = "it is neither a socket nor a character device";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok((rustix::fs::open(path, flags, Mode::empty())?, Transport::Device))
    }
}

fn unreachable(path: &Path) -> impl Fn(io::Error) -> StoreError {
    move |source| {
        let daemon = format!("xenstored at {}", path.display());
        StoreError::Unreachable { daemon, source }
    }
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Connects, waiting for a place in the daemon's backlog for `limit` at most. xenstored's backlog is 1, so a stopped
/// daemon makes the third client wait. A non-blocking connect(2) would fail at once and cannot be polled for, but
/// `SO_SNDTIMEO` bounds a blocking one (`unix_stream_connect`, Linux).
fn connect_socket(path: &Path, limit: Duration) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // Zero would mean "no limit" to the kernel, which counts in microseconds.
    let timeout = Some(limit.max(Duration::from_millis(1)));
    sockopt::set_socket_timeout(socket.as_fd(), sockopt::Timeout::Send, timeout)?;
    match rustix::io::retry_on_intr(|| rustix::net::connect(&socket, &address)) {
        Ok(()) => Ok(socket),
        Err(Errno::AGAIN) => {
            let seconds = super::link::seconds(limit);
            let what = format!("it has accepted no new client within {seconds} s");
            Err(io::Error::new(io::ErrorKind::TimedOut, what))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::thread;
    use std::time::Instant;

    use tempfile::TempDir;

    use super::*;

    const AMPLE: Duration = Duration::from_secs(20);

    /// A directory used as a host's root file system.
    struct Root(TempDir);

    impl Root {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// A daemon's socket.
        fn listen(&self, name: &str) -> UnixListener {
            fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
            UnixListener::bind(self.path(name)).unwrap()
        }

        /// A character device that can be opened.
        fn device(&self, name: &str) {
            symlink("/dev/null", self.path(name)).unwrap();
        }

        /// The connection of a client with this environment, or the path and the kind of its error.
        fn connect(
            &self,
            variables: &[(&str, &str)],
        ) -> Result<Transport, (String, io::ErrorKind)> {
            self.try_connect(variables, AMPLE).map(|(_, transport)| transport).map_err(|error| {
                let StoreError::Unreachable { daemon, source } = error else { panic!("{error:?}") };
                let dir = format!("xenstored at {}/", self.0.path().display());
                (daemon.strip_prefix(&dir).unwrap().to_owned(), source.kind())
            })
        }

        fn try_connect(
            &self,
            variables: &[(&str, &str)],
            limit: Duration,
        ) -> Result<(OwnedFd, Transport), StoreError> {
            let (socket, device, old) =
                (self.path("socket"), self.path("device"), self.path("old_device"));
            let paths = Paths { socket: &socket, device: &device, old_device: &old };
            let variable = |name: &str| {
                let (_, value) = variables.iter().find(|(set, _)| *set == name)?;
                Some(if value.is_empty() { OsString::new() } else { self.path(value).into() })
            };
            paths.connect(variable, limit)
        }
    }

    fn error<T>(path: &str, kind: io::ErrorKind) -> Result<T, (String, io::ErrorKind)> {
        Err((path.to_owned(), kind))
    }

    #[test]
    fn the_search_order_is_that_of_libxenstore() {
        let root = Root::new();
        let not_found = io::ErrorKind::NotFound;
        // From last to first: each new place is preferred to the existing ones.
        assert_eq!(root.connect(&[]), error("socket", not_found));
        fs::write(root.path("old_device"), "").unwrap();
        assert_eq!(root.connect(&[]), Ok(Transport::Device));
        assert_eq!(fs::read(root.path("old_device")).unwrap(), b"");
        root.device("device");
        assert_eq!(root.connect(&[]), Ok(Transport::Device));
        let _socket = root.listen("socket");
        assert_eq!(root.connect(&[]), Ok(Transport::Socket));
        // The named directory has no socket: then the device is used, not the default directory.
        let dir = [("XENSTORED_RUNDIR", "dir")];
        assert_eq!(root.connect(&dir), Ok(Transport::Device));
        let _in_dir = root.listen("dir/socket");
        assert_eq!(root.connect(&dir), Ok(Transport::Socket));
        let both = [("XENSTORED_RUNDIR", "dir"), ("XENSTORED_PATH", "named")];
        assert_eq!(root.connect(&both), error("named", not_found));
        let _named = root.listen("named");
        assert_eq!(root.connect(&both), Ok(Transport::Socket));
    }

    #[test]
    fn an_empty_variable_is_unset() {
        let root = Root::new();
        let _socket = root.listen("socket");
        let empty = [("XENSTORED_PATH", ""), ("XENSTORED_RUNDIR", "")];
        assert_eq!(root.connect(&empty), Ok(Transport::Socket));
    }

    #[test]
    fn a_named_path_is_the_only_one_tried() {
        let root = Root::new();
        let _socket = root.listen("socket");
        root.device("device");
        let named = [("XENSTORED_PATH", "named")];
        assert_eq!(root.connect(&named), error("named", io::ErrorKind::NotFound));
        root.device("named");
        assert_eq!(root.connect(&named), Ok(Transport::Device));
    }

    #[test]
    fn a_dead_daemons_socket_is_an_error_although_the_device_exists() {
        let root = Root::new();
        root.device("device");
        drop(root.listen("socket"));
        assert_eq!(root.connect(&[]), error("socket", io::ErrorKind::ConnectionRefused));
    }

    #[test]
    fn an_ordinary_file_is_never_written_to() {
        let root = Root::new();
        root.device("device");
        for (name, variables) in [("named", &[("XENSTORED_PATH", "named")][..]), ("socket", &[])] {
            fs::write(root.path(name), "").unwrap();
            assert_eq!(root.connect(variables), error(name, io::ErrorKind::InvalidInput));
        }
        let old = [("XENSTORED_PATH", "old_device")];
        fs::write(root.path("old_device"), "").unwrap();
        assert_eq!(root.connect(&old), Ok(Transport::Device));
        fs::create_dir(root.path("dir")).unwrap();
        let dir = [("XENSTORED_PATH", "dir")];
        assert_eq!(root.connect(&dir), error("dir", io::ErrorKind::InvalidInput));
    }

    #[test]
    fn links_to_sockets_are_followed() {
        let root = Root::new();
        let _socket = root.listen("real");
        symlink(root.path("real"), root.path("socket")).unwrap();
        assert_eq!(root.connect(&[]), Ok(Transport::Socket));
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_looked_for_anyway() {
        let root = Root::new();
        let long = "x".repeat(200);
        let named = [("XENSTORED_PATH", long.as_str())];
        assert_eq!(root.connect(&named), error(&long, io::ErrorKind::NotFound));
        root.device(&long);
        assert_eq!(root.connect(&named), Ok(Transport::Device));
    }

    #[test]
    fn descriptors_are_close_on_exec_and_never_block_for_ever() {
        let root = Root::new();
        root.device("device");
        let (device, _) = root.try_connect(&[], AMPLE).unwrap();
        assert!(rustix::fs::fcntl_getfl(&device).unwrap().contains(OFlags::NONBLOCK));
        let _listener = root.listen("socket");
        let (socket, _) = root.try_connect(&[], AMPLE).unwrap();
        let timeout = sockopt::socket_timeout(&socket, sockopt::Timeout::Send).unwrap();
        assert_eq!(timeout, Some(AMPLE));
        for fd in [socket, device] {
            assert!(rustix::io::fcntl_getfd(&fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        }
    }

    #[test]
    fn a_stopped_daemons_full_backlog_meets_the_deadline() {
        let root = Root::new();
        let listener = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let address = SocketAddrUnix::new(root.path("socket")).unwrap();
        rustix::net::bind(&listener, &address).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        let limit = Duration::from_secs(1);
        // Linux lets one client more than the backlog wait.
        let _waiting =
            [root.try_connect(&[], limit).unwrap(), root.try_connect(&[], limit).unwrap()];
        let begun = Instant::now();
        let error = root.try_connect(&[], limit).unwrap_err();
        assert!(
            matches!(&error, StoreError::Unreachable { source, .. } if source.kind() == io::ErrorKind::TimedOut),
            "{error:?}"
        );
        // One deadline for all attempts.
        let took = begun.elapsed();
        assert!(took >= limit.mul_f32(0.9) && took < limit.mul_f32(1.9), "{took:?}");
        // Once there is room, it connects.
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(50));
                rustix::net::accept(&listener).unwrap()
            });
            drop(root.try_connect(&[], AMPLE).unwrap());
        });
    }
}
