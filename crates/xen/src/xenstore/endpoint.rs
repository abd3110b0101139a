//! Where xenstored is, and the way to it.
//!
//! Owns libxenstore's look-up order. Differs from it in one thing: a socket that is there but does
//! not let us in is the end, since behind the device a dead daemon would leave us hanging.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
        let at = |path: PathBuf| match look(&path) {
            Ok(seen) => Self::judge(path, seen),
            Err(source) => Err(StoreError::Unreachable { path, source }),
        };
        if let Some(path) = set(&variable, "XENSTORED_PATH") {
            return at(path);
        }
        match at(socket(&variable)) {
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

    /// Opens the way to this host's xenstored, closed on exec: a socket whose calls wait for `limit` at most, or
    /// the device, non-blocking.
    pub(super) fn reach(limit: Duration) -> Result<(OwnedFd, Medium), StoreError> {
        Self::first(|name| env::var_os(name)).reach_or(Self::find, limit)
    }

    /// Opens it, or else what `find` finds. What takes us as a socket is one, and nobody has to look at it first; what
    /// does not, and why, is told by a look.
    fn reach_or(
        self,
        find: impl FnOnce() -> Result<Self, StoreError>,
        limit: Duration,
    ) -> Result<(OwnedFd, Medium), StoreError> {
        match self.open(limit) {
            Ok(fd) => Ok((fd, self.medium)),
            // It is there, and has been waited for.
            Err(StoreError::Unreachable { path, source })
                if source.kind() == io::ErrorKind::TimedOut =>
            {
                Err(StoreError::Unreachable { path, source })
            }
            Err(_) => {
                let found = find()?;
                Ok((found.open(limit)?, found.medium))
            }
        }
    }

    /// What [`search`](Self::search) looks at first, as a socket.
    fn first(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = set(&variable, "XENSTORED_PATH").unwrap_or_else(|| socket(&variable));
        Self { path, medium: Medium::Socket }
    }

    /// Opens it, closed on exec: a socket whose calls wait for `limit` at most, or the device, non-blocking.
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

/// The path that the environment has as `name`; an empty one is none.
fn set(variable: impl Fn(&str) -> Option<OsString>, name: &str) -> Option<PathBuf> {
    variable(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Where the socket should be.
fn socket(variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    set(variable, "XENSTORED_RUNDIR")
        .map_or_else(|| PathBuf::from(SOCKET), |folder| folder.join("socket"))
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
    bound(&socket, limit)?;
    loop {
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            // This process was stopped, and goes on: nothing else interrupts it.
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Err(full(limit)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Lets no call on `socket` wait for longer than `limit`.
pub(super) fn bound(socket: impl AsFd, limit: Duration) -> io::Result<()> {
    // Zero would mean "for ever" to the kernel, which counts in microseconds.
    let limit = Some(limit.max(Duration::from_millis(1)));
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, limit)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, limit)?;
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;
    use std::time::Instant;

    use super::*;

    /// What the look-up finds, and which paths it looked at, in order.
    fn search(
        variables: &[(&str, &str)],
        host: &[(&str, io::Result<Seen>)],
    ) -> (Result<(String, Medium), String>, Vec<String>) {
        let looked = std::cell::RefCell::new(Vec::new());
        let found = Place::search(
            |name| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| value.into()),
            |path| {
                let path = path.to_str().unwrap();
                looked.borrow_mut().push(path.to_owned());
                match host.iter().find(|(there, _)| *there == path) {
                    Some((_, Ok(seen))) => Ok(*seen),
                    Some((_, Err(error))) => Err(error.kind().into()),
                    None => Err(io::ErrorKind::NotFound.into()),
                }
            },
        );
        let found = match found {
            Ok(place) => Ok((place.path.to_str().unwrap().to_owned(), place.medium)),
            Err(StoreError::Unreachable { path, source }) => {
                Err(format!("{}: {}", path.display(), source.kind()))
            }
            Err(other) => panic!("{other:?}"),
        };
        (found, looked.into_inner())
    }

    fn found(path: &str, medium: Medium) -> (String, Medium) {
        (path.to_owned(), medium)
    }

    #[test]
    fn the_order_is_libxenstores() {
        let all = || {
            vec![
                ("/mine", Ok(Seen::Socket)),
                ("/run-dir/socket", Ok(Seen::Socket)),
                (SOCKET, Ok(Seen::Socket)),
                (DEVICE, Ok(Seen::Device)),
                (OLD_DEVICE, Ok(Seen::Other)),
            ]
        };
        let both = [("XENSTORED_PATH", "/mine"), ("XENSTORED_RUNDIR", "/run-dir")];
        assert_eq!(search(&both, &all()).0, Ok(found("/mine", Medium::Socket)));
        assert_eq!(search(&both[1..], &all()).0, Ok(found("/run-dir/socket", Medium::Socket)));
        assert_eq!(search(&[], &all()).0, Ok(found(SOCKET, Medium::Socket)));
        assert_eq!(search(&[], &all()[3..]).0, Ok(found(DEVICE, Medium::Device)));
        assert_eq!(search(&[], &all()[4..]).0, Ok(found(OLD_DEVICE, Medium::Device)));
        assert_eq!(search(&[], &[]).0, Err(format!("{SOCKET}: entity not found")));
        // A folder that is named but has no socket: the device, not the default folder.
        let (got, looked) = search(&[("XENSTORED_RUNDIR", "/none")], &all());
        assert_eq!(got, Ok(found(DEVICE, Medium::Device)));
        assert_eq!(looked, ["/none/socket", DEVICE]);
    }

    #[test]
    fn an_empty_variable_is_none() {
        let empty = [("XENSTORED_PATH", ""), ("XENSTORED_RUNDIR", "")];
        assert_eq!(
            search(&empty, &[(SOCKET, Ok(Seen::Socket))]).0,
            Ok(found(SOCKET, Medium::Socket))
        );
    }

    #[test]
    fn a_path_that_is_named_is_the_only_one() {
        let named = [("XENSTORED_PATH", "/mine")];
        let others = [(SOCKET, Ok(Seen::Socket)), (DEVICE, Ok(Seen::Device))];
        let (got, looked) = search(&named, &others);
        assert_eq!(got, Err("/mine: entity not found".to_owned()));
        assert_eq!(looked, ["/mine"]);
        let device = [("/mine", Ok(Seen::Device))];
        assert_eq!(search(&named, &device).0, Ok(found("/mine", Medium::Device)));
    }

    #[test]
    fn a_socket_that_cannot_be_looked_at_is_not_passed_over() {
        let host =
            [(SOCKET, Err(io::ErrorKind::PermissionDenied.into())), (DEVICE, Ok(Seen::Device))];
        let (got, looked) = search(&[], &host);
        assert_eq!(got, Err(format!("{SOCKET}: permission denied")));
        assert_eq!(looked, [SOCKET]);
    }

    #[test]
    fn an_ordinary_file_is_never_written_to() {
        let named = [("XENSTORED_PATH", "/mine")];
        let got = search(&named, &[("/mine", Ok(Seen::Other))]).0;
        assert_eq!(got, Err("/mine: invalid input parameter".to_owned()));
        let got = search(&[], &[(SOCKET, Ok(Seen::Other)), (DEVICE, Ok(Seen::Device))]).0;
        assert_eq!(got, Err(format!("{SOCKET}: invalid input parameter")));
        let old = [("XENSTORED_PATH", OLD_DEVICE)];
        let got = search(&old, &[(OLD_DEVICE, Ok(Seen::Other))]).0;
        assert_eq!(got, Ok(found(OLD_DEVICE, Medium::Device)));
    }

    #[test]
    fn paths_are_told_apart_on_a_real_file_system() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&socket, &link).unwrap();
        assert_eq!(look(&socket).unwrap(), Seen::Socket);
        assert_eq!(look(&link).unwrap(), Seen::Socket);
        assert_eq!(look(folder.path()).unwrap(), Seen::Other);
        assert_eq!(look(Path::new("/dev/null")).unwrap(), Seen::Device);
        assert!(absent(&look(&folder.path().join("none")).unwrap_err()));
    }

    fn at(path: &Path, medium: Medium) -> Place {
        Place { path: path.to_owned(), medium }
    }

    /// The kind of error that opening `place` ends in, and the path in it.
    fn refusal(place: &Place, limit: Duration) -> io::ErrorKind {
        match place.open(limit) {
            Err(StoreError::Unreachable { path, source }) => {
                assert_eq!(path, place.path);
                source.kind()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_opened_is_closed_on_exec_and_does_not_block_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        let limit = Duration::from_secs(10);
        let opened = at(&socket, Medium::Socket).open(limit).unwrap();
        for way in [sockopt::Timeout::Send, sockopt::Timeout::Recv] {
            assert_eq!(sockopt::socket_timeout(&opened, way).unwrap(), Some(limit));
        }
        let device = at(Path::new("/dev/null"), Medium::Device).open(limit).unwrap();
        assert!(rustix::fs::fcntl_getfl(&device).unwrap().contains(OFlags::NONBLOCK));
        for fd in [opened, device] {
            assert!(rustix::io::fcntl_getfd(&fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        }
    }

    /// Most hosts have the socket, and a look at it would be a system call more for each run.
    #[test]
    fn a_socket_that_takes_us_is_not_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        let limit = Duration::from_secs(10);
        let unasked = || panic!("looked at");
        let (_, medium) = at(&socket, Medium::Socket).reach_or(unasked, limit).unwrap();
        assert_eq!(medium, Medium::Socket);
        // Whatever else is there is left to the search.
        for other in ["none", "/dev/null", &"x".repeat(200)] {
            let place = at(&folder.path().join(other), Medium::Socket);
            let found = || Ok(at(Path::new("/dev/null"), Medium::Device));
            let (_, medium) = place.reach_or(found, limit).unwrap();
            assert_eq!(medium, Medium::Device);
        }
        for (variables, first) in [
            (&[][..], SOCKET),
            (&[("XENSTORED_RUNDIR", "/run-dir"), ("XENSTORED_PATH", "")][..], "/run-dir/socket"),
            (&[("XENSTORED_RUNDIR", "/run-dir"), ("XENSTORED_PATH", "/mine")][..], "/mine"),
        ] {
            let set = |name: &str| {
                variables.iter().find(|(set, _)| *set == name).map(|(_, value)| value.into())
            };
            assert_eq!(Place::first(set), at(Path::new(first), Medium::Socket));
        }
    }

    #[test]
    fn a_dead_daemons_socket_is_told_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        drop(UnixListener::bind(&socket).unwrap());
        let place = at(&socket, Medium::Socket);
        assert_eq!(refusal(&place, Duration::from_secs(10)), io::ErrorKind::ConnectionRefused);
        let long = at(Path::new(&"x".repeat(200)), Medium::Socket);
        let _ = refusal(&long, Duration::from_secs(10));
    }

    #[test]
    fn a_stopped_daemons_full_backlog_meets_the_deadline() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let listener = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        rustix::net::bind(&listener, &SocketAddrUnix::new(&socket).unwrap()).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        let place = at(&socket, Medium::Socket);
        let limit = Duration::from_millis(150);
        // Linux lets one more than the backlog wait.
        let _waiting = [place.open(limit).unwrap(), place.open(limit).unwrap()];
        let begun = Instant::now();
        assert_eq!(refusal(&place, limit), io::ErrorKind::TimedOut);
        // Neither is it looked at and tried again, for another deadline.
        let unasked = || panic!("looked at");
        assert!(matches!(
            place.clone().reach_or(unasked, limit),
            Err(StoreError::Unreachable { source, .. }) if source.kind() == io::ErrorKind::TimedOut
        ));
        let took = begun.elapsed() / 2;
        assert!(took >= limit.mul_f32(0.9) && took < Duration::from_secs(5), "{took:?}");
        // It gets in as soon as there is room.
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(50));
                rustix::net::accept(&listener).unwrap()
            });
            drop(place.open(Duration::from_secs(20)).unwrap());
        });
    }
}
