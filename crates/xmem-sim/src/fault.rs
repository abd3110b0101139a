//! Faults on request (`XMEM_SIM_FAULT`), so that a script can be tried against every exit code of xmem.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};
use xen::DomId;
use xen::xenstore::Answer;

use crate::error::SimError;
use crate::observer::{Call, Failure, Observer, Verdict};

/// The environment variable that asks for faults.
pub const FAULT_VARIABLE: &str = "XMEM_SIM_FAULT";

/// A fault. The [crate page](crate#faults) describes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the crate page describes each by its word")]
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

/// Every fault and its word.
const WORDS: [(&str, Fault); 19] = [
    ("lock-busy", Fault::LockBusy),
    ("no-xen", Fault::NoXen),
    ("no-permission", Fault::NoPermission),
    ("not-control", Fault::NotControl),
    ("gone", Fault::Gone),
    ("limit-refused", Fault::LimitRefused),
    ("pod-refused", Fault::PodRefused),
    ("store-down", Fault::StoreDown),
    ("store-full", Fault::StoreFull),
    ("conflict", Fault::Conflict),
    ("conflict-once", Fault::ConflictOnce),
    ("commit-lost-done", Fault::CommitLostDone),
    ("commit-lost-undone", Fault::CommitLostUndone),
    ("commit-unknown", Fault::CommitUnknown),
    ("commit-unknown-done", Fault::CommitUnknownDone),
    ("kill-before-commit", Fault::KillBeforeCommit),
    ("kill-after-commit", Fault::KillAfterCommit),
    ("guest-ignores", Fault::GuestIgnores),
    ("host-full", Fault::HostFull),
];

/// The faults of a host: none by default. Reads a list of words with commas.
///
/// ```
/// use xmem_sim::{Fault, Faults};
///
/// let faults: Faults = "conflict-once,guest-ignores".parse()?;
/// assert!(faults.has(Fault::ConflictOnce));
/// # Ok::<(), xmem_sim::SimError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(BTreeSet<Fault>);

impl Faults {
    /// The faults that `XMEM_SIM_FAULT` asks for. Unset and empty mean none.
    ///
    /// # Errors
    /// [`SimError::UnknownFault`].
    pub fn from_env() -> Result<Self, SimError> {
        std::env::var_os(FAULT_VARIABLE)
            .map_or_else(|| Ok(Self::default()), |words| words.to_string_lossy().parse())
    }

    /// Whether `fault` was asked for.
    pub fn has(&self, fault: Fault) -> bool {
        self.0.contains(&fault)
    }

    /// All words, for a message.
    pub fn words() -> String {
        WORDS.map(|(word, _)| word).join(", ")
    }
}

impl FromStr for Faults {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        words
            .map(|word| {
                let fault = WORDS.iter().find(|(known, _)| *known == word);
                fault
                    .map(|(_, fault)| *fault)
                    .ok_or_else(|| SimError::UnknownFault { word: word.to_owned() })
            })
            .collect()
    }
}

impl FromIterator<Fault> for Faults {
    fn from_iter<T: IntoIterator<Item = Fault>>(faults: T) -> Self {
        Self(faults.into_iter().collect())
    }
}

/// Makes calls fail as the faults say.
#[derive(Debug, Default)]
pub(crate) struct FaultInjector {
    pub(crate) faults: Faults,
    /// Faults that happen once, and have.
    spent: Mutex<BTreeSet<Fault>>,
    /// Whether xenstored is down for good.
    store_down: AtomicBool,
    /// How often each domain was looked at, for `gone`.
    looks: Mutex<BTreeMap<DomId, u32>>,
}

impl FaultInjector {
    pub(crate) fn new(faults: Faults) -> Self {
        Self { faults, ..Self::default() }
    }

    /// Whether the domain is gone, after `looks` more at it: all but dom0 are from the second look on.
    pub(crate) fn is_gone(&self, domid: DomId, looks: u32) -> bool {
        if domid == DomId::DOM0 || !self.faults.has(Fault::Gone) {
            return false;
        }
        let mut counts = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(domid).or_default();
        *count = count.saturating_add(looks);
        *count > 1
    }

    fn once(&self, fault: Fault) -> bool {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        self.faults.has(fault) && spent.insert(fault)
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
        let failure = match call {
            Call::Commit => return self.commit(),
            Call::Connect if has(Fault::StoreDown) || self.store_down.load(Ordering::Relaxed) => {
                Failure::Unreachable
            }
            Call::Write(_) if has(Fault::StoreFull) => Failure::Answer(Answer::NoSpace),
            call if !call.is_hypercall() => return Verdict::Proceed,
            _ if has(Fault::NoXen) => Failure::NoXen,
            _ if has(Fault::NoPermission) => Failure::NoPermission,
            _ if has(Fault::NotControl) => Failure::Errno(Errno::PERM),
            Call::SetLimit(..) if has(Fault::LimitRefused) => Failure::Errno(Errno::PERM),
            Call::SetPod(..) if has(Fault::PodRefused) => Failure::Errno(Errno::NOMEM),
            _ => return Verdict::Proceed,
        };
        Verdict::Fail(failure)
    }

    fn after(&self, call: &Call<'_>) {
        if *call == Call::Commit && self.once(Fault::KillAfterCommit) {
            kill();
        }
    }
}

/// Ends the process as `kill -9` does. Nothing is cleaned up.
fn kill() {
    // Sending a signal to oneself cannot fail.
    let _ = kill_process(getpid(), Signal::KILL);
}
