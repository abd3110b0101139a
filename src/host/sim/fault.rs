//! Misbehaviour on demand, so that a script can be shown every exit code of xmem's.
//!
//! Owns the words of `XMEM_SIM_FAULT`. Never misbehaves itself: that is done where it belongs, in
//! the store and the hypervisor. What each word does is told in [the sim's](super) own words.

use std::collections::BTreeSet;
use std::str::FromStr;

use super::error::SimError;

/// The environment variable that asks for misbehaviour.
pub const VARIABLE: &str = "XMEM_SIM_FAULT";

/// One way in which the sim can misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Every domain's lock is held, by this very process.
    LockBusy,
    /// The hypercall device cannot be opened.
    NoPermission,
    /// There is no hypercall device.
    NoXen,
    /// Every hypercall is refused, as in a domain that controls nothing.
    NotControl,
    /// Every commit meets another change.
    Conflict,
    /// The first commit of the process meets another change.
    ConflictOnce,
    /// The limit cannot be set.
    LimitRefused,
    /// The PoD target cannot be set.
    PodRefused,
    /// Nothing can be written to xenstore.
    StoreFull,
    /// Nobody listens at xenstore's socket.
    StoreDown,
    /// xenstored goes away in the first commit, which it has done.
    CommitLostDone,
    /// xenstored goes away in the first commit, which it has not done.
    CommitLostUndone,
    /// xenstored goes away in the first commit, which it has not done, and does not come back.
    CommitUnknown,
    /// The process is killed right before its first commit.
    KillBeforeCommit,
    /// The process is killed right after its first commit.
    KillAfterCommit,
    /// A domain disappears after its first look.
    Gone,
    /// No balloon moves.
    GuestIgnores,
    /// The host has no free memory: no balloon grows.
    HostFull,
}

impl Fault {
    /// Every fault, in the order in which they are told.
    const ALL: [(&str, Self); 18] = [
        ("lock-busy", Self::LockBusy),
        ("no-xen", Self::NoXen),
        ("no-permission", Self::NoPermission),
        ("not-control", Self::NotControl),
        ("gone", Self::Gone),
        ("limit-refused", Self::LimitRefused),
        ("pod-refused", Self::PodRefused),
        ("store-down", Self::StoreDown),
        ("store-full", Self::StoreFull),
        ("conflict", Self::Conflict),
        ("conflict-once", Self::ConflictOnce),
        ("commit-lost-done", Self::CommitLostDone),
        ("commit-lost-undone", Self::CommitLostUndone),
        ("commit-unknown", Self::CommitUnknown),
        ("kill-before-commit", Self::KillBeforeCommit),
        ("kill-after-commit", Self::KillAfterCommit),
        ("guest-ignores", Self::GuestIgnores),
        ("host-full", Self::HostFull),
    ];

    /// All words, for a message.
    pub fn words() -> String {
        Self::ALL.map(|(word, _)| word).join(", ")
    }
}

impl FromStr for Fault {
    type Err = SimError;

    fn from_str(word: &str) -> Result<Self, SimError> {
        Self::ALL
            .iter()
            .find(|(known, _)| *known == word)
            .map(|(_, fault)| *fault)
            .ok_or_else(|| SimError::UnknownFault { word: word.to_owned() })
    }
}

/// How the sim misbehaves: not at all by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(BTreeSet<Fault>);

impl Faults {
    /// What `XMEM_SIM_FAULT` asks for.
    ///
    /// # Errors
    /// A word in it is unknown.
    pub fn from_env() -> Result<Self, SimError> {
        std::env::var_os(VARIABLE)
            .map_or_else(|| Ok(Self::default()), |value| value.to_string_lossy().parse())
    }

    /// Whether `fault` was asked for.
    pub fn has(&self, fault: Fault) -> bool {
        self.0.contains(&fault)
    }
}

/// Reads a list of words with commas between them; nothing at all is no fault.
impl FromStr for Faults {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::parse).collect()
    }
}

impl FromIterator<Fault> for Faults {
    fn from_iter<T: IntoIterator<Item = Fault>>(faults: T) -> Self {
        Self(faults.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_as_its_fault() {
        for (word, fault) in Fault::ALL {
            assert_eq!(word.parse::<Faults>().unwrap(), Faults::from_iter([fault]), "{word}");
        }
        let all: Faults = Fault::words().parse().unwrap();
        assert_eq!(all.0.len(), Fault::ALL.len(), "two words mean the same");
    }

    #[test]
    fn lists_are_read_leniently() {
        assert_eq!("".parse::<Faults>().unwrap(), Faults::default());
        assert_eq!(
            " gone, conflict,".parse::<Faults>().unwrap(),
            Faults::from_iter([Fault::Gone, Fault::Conflict])
        );
    }

    #[test]
    fn an_unknown_word_is_named_with_the_known_ones() {
        let message = "gone,confict".parse::<Faults>().unwrap_err().to_string();
        assert!(message.starts_with("XMEM_SIM_FAULT: `confict` is not one of lock-busy, "));
        assert!(message.contains("conflict-once"), "{message}");
    }
}
