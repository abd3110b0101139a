//! The failures of a call to the host that are possible for each type of call.

use std::mem::{Discriminant, discriminant};

use rustix::io::Errno;
use xen::xenstore::Answer;
use xmem_sim::{Call, Failure};

/// A type of call, with all that its failures depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    call: Discriminant<Call<'static>>,
    is_hypercall: bool,
    hows: Vec<How>,
}

/// A way for a call to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// It fails without having an effect.
    Fails(Failure),
    /// It has its effect, but reports a failure.
    DoneAndFails(Failure),
    /// This call and all later ones fail; this one has had its effect or not.
    Gone { done: bool },
    /// The process is killed, before the call or after.
    Dies { done: bool },
}

/// One failure of one call of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mishap {
    /// The index of the call, from 0 ...
    pub(crate) at: usize,
    /// ... and its type; another call with this index does not fail.
    pub(crate) kind: Kind,
    pub(crate) how: How,
}

impl Kind {
    pub(crate) fn of(call: &Call<'_>) -> Self {
        let is_hypercall = call.is_hypercall();
        // A failure is the same whatever its lifetime.
        let (call, hows) = match call {
            Call::Connect => (discriminant(&Call::Connect), store_hows()),
            Call::Begin => (discriminant(&Call::Begin), store_hows()),
            Call::Read(_) => (discriminant(&Call::Read(&[])), store_hows()),
            Call::Write(_) => (discriminant(&Call::Write(&[])), store_hows()),
            Call::Permissions(domid, _) => {
                (discriminant(&Call::Permissions(*domid, &[])), store_hows())
            }
            Call::Commit => (discriminant(&Call::Commit), commit_hows()),
            Call::Domain(domid) => (discriminant(&Call::Domain(*domid)), look_hows()),
            Call::Pod(domid) => (discriminant(&Call::Pod(*domid)), look_hows()),
            Call::HostMemory => (discriminant(&Call::HostMemory), look_hows()),
            Call::SetLimit(domid, kib) => (discriminant(&Call::SetLimit(*domid, *kib)), set_hows()),
            Call::SetPod(domid, kib) => (discriminant(&Call::SetPod(*domid, *kib)), set_hows()),
            other => panic!("no change makes the call {other:?}"),
        };
        Self { call, is_hypercall, hows }
    }

    /// The error of the call once the host is unreachable.
    pub(crate) const fn lost(&self) -> Failure {
        if self.is_hypercall { Failure::Errno(Errno::IO) } else { Failure::Closed }
    }

    pub(crate) fn is_commit(&self) -> bool {
        self.call == discriminant(&Call::Commit)
    }
}

/// Every single failure of a change that makes these `calls`, from the call `from` on.
pub(crate) fn mishaps(calls: &[Kind], from: usize) -> impl Iterator<Item = Mishap> {
    calls.iter().enumerate().skip(from).flat_map(|(at, kind)| {
        let endings = [How::Gone { done: false }, How::Dies { done: false }];
        let hows = endings.into_iter().chain(kind.hows.clone());
        hows.map(move |how| Mishap { at, kind: kind.clone(), how })
    })
}

fn eio() -> Failure {
    Failure::Answer(Answer::Other("EIO".to_owned()))
}

fn store_hows() -> Vec<How> {
    [eio(), Failure::Closed].map(How::Fails).into()
}

fn look_hows() -> Vec<How> {
    vec![How::Fails(Failure::Errno(Errno::PERM))]
}

fn set_hows() -> Vec<How> {
    vec![
        How::Fails(Failure::Errno(Errno::PERM)),
        How::DoneAndFails(Failure::Errno(Errno::NOMEM)),
        How::Gone { done: true },
        How::Dies { done: true },
    ]
}

fn commit_hows() -> Vec<How> {
    let unclear = || [eio(), Failure::Closed, Failure::Deadline].into_iter();
    let refused = [Failure::Answer(Answer::Again), Failure::Unusable].into_iter();
    let fails = unclear().chain(refused).map(How::Fails);
    let endings = [How::Gone { done: true }, How::Dies { done: true }];
    fails.chain(unclear().map(How::DoneAndFails)).chain(endings).collect()
}
