//! Faults on request, to test a script against every exit code of xmem.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};
use serde::Deserialize;
use xen::DomId;
use xen::xenstore::Answer;

use crate::error::{SimError, words_in_env};
use crate::observer::{Call, Failure, Observer, Verdict};
use crate::sim::locked;

pub(crate) const VARIABLE: &str = "XMEM_SIM_FAULT";

/// A fault, by its word in `XMEM_SIM_FAULT`. The [crate page](crate#faults) describes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
#[expect(missing_docs, reason = "the crate page describes each")]
pub enum Fault {
    LockBusy,
    NoXen,
    NoPermission,
    NotControl,
    Gone,
    LimitRefused,
    PodRefused,
    StoreDown,
    StoreFull,
    Conflict,
    ConflictOnce,
    CommitLostDone,
    CommitLostUndone,
    CommitUnknown,
    CommitUnknownDone,
    KillBeforeCommit,
    KillAfterCommit,
    GuestIgnores,
    HostFull,
}

/// The faults of a host: none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(pub(crate) BTreeSet<Fault>);

impl Faults {
    /// The faults that `XMEM_SIM_FAULT` asks for. Unset and empty mean none.
    ///
    /// # Errors
    /// [`SimError::Word`].
    pub fn from_env() -> Result<Self, SimError> {
        words_in_env(VARIABLE).map(Self)
    }

    /// Whether `fault` was asked for.
    pub fn has(&self, fault: Fault) -> bool {
        self.0.contains(&fault)
    }
}

/// Makes calls fail according to the faults.
#[derive(Debug, Default)]
pub(crate) struct FaultInjector {
    pub(crate) faults: Faults,
    /// One-time faults that have happened already.
    spent: Mutex<BTreeSet<Fault>>,
    /// Whether xenstored is down for good.
    store_down: AtomicBool,
    /// The number of queries for each domain, for `gone`.
    queries: Mutex<BTreeMap<DomId, u32>>,
}

impl FaultInjector {
    pub(crate) fn new(faults: Faults) -> Self {
        Self { faults, ..Self::default() }
    }

    /// Whether `gone` hides the domain, after so many more `queries`: it hides all but dom0 from the second query on.
    pub(crate) fn is_gone(&self, domid: DomId, queries: u32) -> bool {
        if domid == DomId::DOM0 || !self.faults.has(Fault::Gone) {
            return false;
        }
        let mut counts = locked(&self.queries);
        let count = counts.entry(domid).or_default();
        *count = count.saturating_add(queries);
        *count > 1
    }

    fn once(&self, fault: Fault) -> bool {
        self.faults.has(fault) && locked(&self.spent).insert(fault)
    }

    fn commit(&self) -> Verdict {
        if self.once(Fault::KillBeforeCommit) {
            kill();
        }
        if self.faults.has(Fault::Conflict) || self.once(Fault::ConflictOnce) {
            return Verdict::Fail(Failure::Answer(Answer::Again));
        }
        for (fault, is_done, is_final) in [
            (Fault::CommitUnknown, false, true),
            (Fault::CommitUnknownDone, true, true),
            (Fault::CommitLostUndone, false, false),
            (Fault::CommitLostDone, true, false),
        ] {
            if self.once(fault) {
                self.store_down.store(is_final, Ordering::Relaxed);
                let how = if is_done { Verdict::ProceedAndFail } else { Verdict::Fail };
                return how(Failure::Closed);
            }
        }
        Verdict::Proceed
    }
}

impl Observer for FaultInjector {
    fn before(&self, call: &Call<'_>) -> Verdict {
        let has = |fault| self.faults.has(fault);
        Verdict::Fail(match call {
            Call::Commit => return self.commit(),
            Call::Connect if has(Fault::StoreDown) || self.store_down.load(Ordering::Relaxed) => {
                Failure::Unreachable
            }
            Call::Write(_) if has(Fault::StoreFull) => Failure::Answer(Answer::NoSpace),
            call if !call.is_hypercall() => return Verdict::Proceed,
            _ if has(Fault::NoXen) => Failure::Errno(Errno::NODEV),
            _ if has(Fault::NoPermission) => Failure::Errno(Errno::ACCESS),
            _ if has(Fault::NotControl) => Failure::Errno(Errno::PERM),
            Call::SetLimit(..) if has(Fault::LimitRefused) => Failure::Errno(Errno::PERM),
            Call::SetPod(..) if has(Fault::PodRefused) => Failure::Errno(Errno::NOMEM),
            _ => return Verdict::Proceed,
        })
    }

    fn after(&self, call: &Call<'_>) {
        if *call == Call::Commit && self.once(Fault::KillAfterCommit) {
            kill();
        }
    }
}

/// Ends the process as `kill -9` does. Nothing is cleaned up.
fn kill() {
    // A process may always signal itself.
    let _ = kill_process(getpid(), Signal::KILL);
}
