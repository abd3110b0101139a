//! Calls to the host, as an [`Observer`] sees them.

use std::fmt;

use rustix::io::Errno;
use xen::hypervisor::HypervisorError;
use xen::xenstore::{Answer, StoreError};
use xen::{DomId, Kib};

/// Is called before each call to the host and after its effect. The world is not locked meanwhile: an observer may
/// switch threads, change the world, sleep, or unwind to simulate a kill.
///
/// A closure that takes a [`Call`] and returns a [`Verdict`] is an observer.
pub trait Observer: Send + Sync {
    /// Called before the call. Decides its outcome.
    fn before(&self, call: &Call<'_>) -> Verdict;

    /// Called after the call's effect, before its result is returned.
    fn after(&self, call: &Call<'_>) {
        let _ = call;
    }
}

impl<F: Fn(&Call<'_>) -> Verdict + Send + Sync> Observer for F {
    fn before(&self, call: &Call<'_>) -> Verdict {
        self(call)
    }
}

/// The outcome of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Make the call.
    Proceed,
    /// Fail without an effect.
    Fail(Failure),
    /// Make the call, but report a failure.
    ProceedAndFail(Failure),
}

/// How a call fails. All but [`Failure::Answer`] and [`Failure::Errno`] break a connection to xenstore.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// A hypercall: the hypervisor refuses with this errno; ENODEV and EACCES come from the privcmd device. A request
    /// to xenstore: the operating system fails it.
    Errno(Errno),
    /// xenstored refuses.
    Answer(Answer),
    /// The connection is closed during the request.
    Closed,
    /// The connection was broken before; the request is not sent.
    Unusable,
    /// xenstored does not answer in time.
    Deadline,
    /// xenstored does not accept the connection.
    Unreachable,
}

/// A call to the host: a request to xenstore, or a hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the methods of xen's traits")]
pub enum Call<'a> {
    Connect,
    Begin,
    Read(&'a [&'a str]),
    Write(&'a [(&'a str, &'a str)]),
    List(&'a str),
    Permissions(DomId, &'a [&'a str]),
    Watch(&'a [&'a str]),
    Unwatch(&'a [&'a str]),
    Commit,
    Domain(DomId),
    Domains,
    SetLimit(DomId, Kib),
    Pod(DomId),
    SetPod(DomId, Kib),
    HostMemory,
}

impl Call<'_> {
    /// Whether it is a hypercall. No request has a name like those in Xen's headers.
    pub fn is_hypercall(&self) -> bool {
        self.name().starts_with("XEN")
    }

    /// The name of a request in the protocol, or of a hypercall in Xen's headers.
    const fn name(&self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Begin => "TRANSACTION_START",
            Self::Read(_) => "READ",
            Self::Write(_) => "WRITE",
            Self::List(_) => "DIRECTORY",
            Self::Permissions(..) => "GET_PERMS",
            Self::Watch(_) => "WATCH",
            Self::Unwatch(_) => "UNWATCH",
            Self::Commit => "TRANSACTION_END",
            Self::Domain(_) => "XEN_DOMCTL_getdomaininfo",
            Self::Domains => "XEN_SYSCTL_getdomaininfolist",
            Self::SetLimit(..) => "XEN_DOMCTL_max_mem",
            Self::Pod(_) => "XENMEM_get_pod_target",
            Self::SetPod(..) => "XENMEM_set_pod_target",
            Self::HostMemory => "XEN_SYSCTL_physinfo",
        }
    }

    /// The paths in the request.
    pub(crate) fn paths(&self) -> Vec<&str> {
        match self {
            Self::Read(paths)
            | Self::Permissions(_, paths)
            | Self::Watch(paths)
            | Self::Unwatch(paths) => paths.to_vec(),
            Self::List(path) => vec![path],
            Self::Write(nodes) => nodes.iter().map(|(path, _)| *path).collect(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn store_error(&self, failure: Failure) -> StoreError {
        let request = self.to_string();
        match failure {
            Failure::Answer(answer) => StoreError::Answered { answer, request },
            Failure::Closed => StoreError::Closed { request },
            Failure::Unusable => {
                StoreError::Unusable { request, earlier: "the connection was closed".to_owned() }
            }
            Failure::Deadline => StoreError::Deadline { request, seconds: 10 },
            Failure::Unreachable => StoreError::Unreachable {
                daemon: "the sim's xenstored".to_owned(),
                source: Errno::CONNREFUSED.into(),
            },
            Failure::Errno(errno) => StoreError::Transport { request, source: errno.into() },
        }
    }

    pub(crate) fn hypervisor_error(&self, failure: &Failure) -> HypervisorError {
        let path = "/dev/xen/privcmd".into();
        let errno = if let Failure::Errno(errno) = failure { *errno } else { Errno::IO };
        match errno {
            Errno::NODEV => HypervisorError::NoXen { path },
            Errno::ACCESS => HypervisorError::Device { path, source: errno.into() },
            _ => HypervisorError::Refused { call: self.name(), source: errno.into() },
        }
    }
}

/// The call's name, and its first path.
impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        self.paths().first().map_or(Ok(()), |path| write!(f, " {path}"))
    }
}
