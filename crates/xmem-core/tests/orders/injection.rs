//! The failures of a call to the host that are possible for each type of call.

use std::mem::{Discriminant, discriminant};

use rustix::io::Errno;
use xen::xenstore::Answer;
use xmem_sim::{Call, Failure};

/// A type of call, with all that its failures depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallType {
    call: Discriminant<Call<'static>>,
    is_hypercall: bool,
    modes: Vec<FailureMode>,
}

/// A way for a call to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FailureMode {
    /// It fails without having an effect.
    Fails(Failure),
    /// It has its effect, but reports a failure.
    DoneAndFails(Failure),
    /// This call and all later ones fail; this one has had its effect or not.
    Gone { done: bool },
    /// The process is killed, before the call or after.
    Killed { done: bool },
}

/// A failure to inject into one call of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Injection {
    /// The index of the call, from 0 ...
    pub(crate) at: usize,
    /// ... and its type; another call with this index does not fail.
    pub(crate) kind: CallType,
    pub(crate) mode: FailureMode,
}

impl CallType {
    pub(crate) fn of(call: &Call<'_>) -> Self {
        let is_hypercall = call.is_hypercall();
        // A failure is the same whatever its lifetime.
        let (call, modes) = match call {
            Call::Connect => (discriminant(&Call::Connect), store_modes()),
            Call::Begin => (discriminant(&Call::Begin), store_modes()),
            Call::Read(_) => (discriminant(&Call::Read(&[])), store_modes()),
            Call::Write(_) => (discriminant(&Call::Write(&[])), store_modes()),
            Call::Permissions(domid, _) => {
                (discriminant(&Call::Permissions(*domid, &[])), store_modes())
            }
            Call::Commit => (discriminant(&Call::Commit), commit_modes()),
            Call::Domain(domid) => (discriminant(&Call::Domain(*domid)), query_modes()),
            Call::Pod(domid) => (discriminant(&Call::Pod(*domid)), query_modes()),
            Call::HostMemory => (discriminant(&Call::HostMemory), query_modes()),
            Call::SetLimit(domid, kib) => {
                (discriminant(&Call::SetLimit(*domid, *kib)), set_modes())
            }
            Call::SetPod(domid, kib) => (discriminant(&Call::SetPod(*domid, *kib)), set_modes()),
            other => panic!("no change makes the call {other:?}"),
        };
        Self { call, is_hypercall, modes }
    }

    /// The error of the call once the host is unreachable.
    pub(crate) const fn lost(&self) -> Failure {
        if self.is_hypercall { Failure::Errno(Errno::IO) } else { Failure::Closed }
    }

    pub(crate) fn is_commit(&self) -> bool {
        self.call == discriminant(&Call::Commit)
    }
}

/// Every single failure to inject into a change that makes these `calls`, from the call `from` on.
pub(crate) fn injections(calls: &[CallType], from: usize) -> impl Iterator<Item = Injection> {
    calls.iter().enumerate().skip(from).flat_map(|(at, kind)| {
        let endings = [FailureMode::Gone { done: false }, FailureMode::Killed { done: false }];
        let modes = endings.into_iter().chain(kind.modes.clone());
        modes.map(move |mode| Injection { at, kind: kind.clone(), mode })
    })
}

fn eio() -> Failure {
    Failure::Answer(Answer::Other("EIO".to_owned()))
}

fn store_modes() -> Vec<FailureMode> {
    [eio(), Failure::Closed].map(FailureMode::Fails).into()
}

fn query_modes() -> Vec<FailureMode> {
    vec![FailureMode::Fails(Failure::Errno(Errno::PERM))]
}

fn set_modes() -> Vec<FailureMode> {
    vec![
        FailureMode::Fails(Failure::Errno(Errno::PERM)),
        FailureMode::DoneAndFails(Failure::Errno(Errno::NOMEM)),
        FailureMode::Gone { done: true },
        FailureMode::Killed { done: true },
    ]
}

fn commit_modes() -> Vec<FailureMode> {
    let unclear = || [eio(), Failure::Closed, Failure::Deadline].into_iter();
    let refused = [Failure::Answer(Answer::Again), Failure::Unusable].into_iter();
    let fails = unclear().chain(refused).map(FailureMode::Fails);
    let endings = [FailureMode::Gone { done: true }, FailureMode::Killed { done: true }];
    fails.chain(unclear().map(FailureMode::DoneAndFails)).chain(endings).collect()
}
