//! What can go wrong with a call to the host.
//!
//! Owns the list of failures: which of them make sense for which call, and how they look to xmem.

use std::io;

use rustix::io::Errno;
use xmem::hypervisor::HypervisorError;
use xmem::xenstore::{Answer, StoreError};

/// A call to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Connect,
    Start,
    Read,
    Write,
    Commit,
    /// getdomaininfo.
    Look,
    SetLimit,
    SetPod,
    HostMemory,
}

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// It is not made, and fails.
    Fails(Trouble),
    /// It is made, and fails all the same.
    DoneAndFails(Trouble),
    /// From here on no call is made, and all fail; this one has been made or not.
    Gone { done: bool },
    /// The process is killed, before the call or after.
    Dies { done: bool },
}

/// What is told of a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// By xenstored.
    Answer(&'static str),
    /// The connection is gone.
    Closed,
    /// The connection was gone before: it was not sent.
    Unusable,
    /// No answer in time.
    Deadline,
    /// By the hypervisor.
    Refused(Errno),
}

impl Trouble {
    pub(crate) fn of_store(self) -> io::Error {
        let request = "REQUEST".to_owned();
        match self {
            Self::Answer(name) => {
                StoreError::Answered { answer: Answer::named(name), request }.into()
            }
            Self::Closed | Self::Refused(_) => StoreError::Closed { request }.into(),
            Self::Unusable => StoreError::Unusable { request, earlier: "closed".to_owned() }.into(),
            Self::Deadline => StoreError::Deadline { request, seconds: 5 }.into(),
        }
    }

    pub(crate) fn of_xen(self) -> HypervisorError {
        let errno = if let Self::Refused(errno) = self { errno } else { Errno::IO };
        HypervisorError::Refused { call: "CALL", source: errno.into() }
    }
}

/// One thing that goes wrong with one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mishap {
    /// With which of its calls, counted from 0 ...
    pub(crate) at: usize,
    /// ... if it is this one.
    pub(crate) call: Call,
    pub(crate) how: How,
}

/// All that can go wrong, once, with a change that makes these `calls`, from the call `from` on.
pub(crate) fn mishaps(calls: &[Call], from: usize) -> impl Iterator<Item = Mishap> {
    let calls = calls.iter().copied().enumerate().skip(from);
    calls.flat_map(|(at, call)| hows(call).into_iter().map(move |how| Mishap { at, call, how }))
}

fn hows(call: Call) -> Vec<How> {
    use How::{Dies, DoneAndFails, Fails, Gone};
    let mut hows = vec![Gone { done: false }, Dies { done: false }];
    match call {
        Call::Connect | Call::Start | Call::Read | Call::Write => {
            hows.extend([Trouble::Answer("EIO"), Trouble::Closed].map(Fails));
        }
        Call::Look | Call::HostMemory => hows.push(Fails(Trouble::Refused(Errno::PERM))),
        Call::SetLimit | Call::SetPod => hows.extend([
            Fails(Trouble::Refused(Errno::PERM)),
            DoneAndFails(Trouble::Refused(Errno::NOMEM)),
            Gone { done: true },
            Dies { done: true },
        ]),
        Call::Commit => {
            let unclear = [Trouble::Answer("EIO"), Trouble::Closed, Trouble::Deadline];
            hows.extend(unclear.map(Fails));
            hows.extend(unclear.map(DoneAndFails));
            hows.extend([Trouble::Answer("EAGAIN"), Trouble::Unusable].map(Fails));
            hows.extend([Gone { done: true }, Dies { done: true }]);
        }
    }
    hows
}
