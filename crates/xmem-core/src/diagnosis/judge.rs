//! The findings about one domain.

mod numbers;

use std::path::{Path, PathBuf};

use xen::escape::{Escaped, escaped_path};
use xen::hypervisor::{HostMemory, Pod, Shutdown};
use xen::lock::LockState;
use xen::userdata::FileName;
use xen::{Dom0, DomId, Kib, Mib};

use super::{Diagnosis, DiagnosisKind, Fix};
use crate::memory::{BadNode, Memory};
use crate::state::State;

/// The facts about a domain besides its memory and its state.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The directory of its lock and its record.
    pub state_dir: &'a Path,
    /// The control domain's kernel.
    pub dom0: Dom0,
    /// Its populate-on-demand state, if it was read.
    pub pod: Option<Pod>,
    /// The host's memory, if it was read.
    pub host: Option<HostMemory>,
    /// Its lock.
    pub lock: LockState,
    /// An incomplete change of a killed process.
    pub killed: Option<KilledChange>,
    /// Whether the guest may write its own memory nodes.
    pub guest_writes: bool,
}

impl<'a> Facts<'a> {
    /// No facts.
    pub const fn none(state_dir: &'a Path) -> Self {
        Self {
            state_dir,
            dom0: Dom0 { balloon_target: None, kernel: None, direct_mapped: false },
            pod: None,
            host: None,
            lock: LockState::Unlocked,
            killed: None,
            guest_writes: false,
        }
    }
}

/// An intent record that no lock protects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KilledChange {
    /// The record.
    pub record: PathBuf,
    /// The process that wrote it, or the reason why xmem does not act on it.
    pub pid: Result<u32, String>,
}

/// The findings about a domain, the most severe first.
pub fn diagnose(memory: &Memory, state: State, facts: &Facts<'_>) -> Vec<Diagnosis> {
    let judge = Judge { memory, state, facts, domid: memory.info.identity.domid };
    let mut found = judge.all();
    // Stable: findings of one severity stay in order.
    found.sort_by_key(|finding| finding.severity);
    found
}

struct Judge<'a> {
    memory: &'a Memory,
    state: State,
    facts: &'a Facts<'a>,
    domid: DomId,
}

impl Judge<'_> {
    fn all(&self) -> Vec<Diagnosis> {
        // xenstore is emptied before the memory is freed, and filled while the domain is built.
        if matches!(self.state, State::Dying | State::Building) {
            return self.state().into_iter().collect();
        }
        let mut found = Vec::new();
        match &self.facts.lock {
            // A change in progress looks out of step.
            LockState::Held(holder) => found.push(
                Diagnosis::notice(
                    DiagnosisKind::Locked(Some(holder.clone())),
                    format!("locked by {holder}"),
                    "it is being changed, so its numbers are not checked",
                )
                .with_fix(Fix::AwaitLock(holder.clone())),
            ),
            lock => {
                if matches!(lock, LockState::Unusable) {
                    let identity = self.memory.info.identity;
                    found
                        .push(unusable_lock(FileName::lock(identity).in_dir(self.facts.state_dir)));
                }
                found.extend(self.bad_nodes());
                match &self.facts.killed {
                    // The numbers are a consequence, and its repair corrects them.
                    Some(killed) => found.push(self.interrupted_change(killed)),
                    None => found.extend(self.numbers()),
                }
            }
        }
        found.extend(self.state());
        found.extend(self.around());
        found
    }

    fn state(&self) -> Option<Diagnosis> {
        let info = &self.memory.info;
        let current = Mib(info.current);
        Some(match self.state {
            State::Paused => Diagnosis::notice(
                DiagnosisKind::Paused,
                "paused",
                "it cannot balloon until it is unpaused",
            )
            .with_fix(Fix::Unpause(self.domid)),
            State::Building => Diagnosis::notice(
                DiagnosisKind::Building,
                match &self.memory.target {
                    Ok(Some(target)) => format!(
                        "being created, restored or received ({current} of {} MiB)",
                        Mib(*target)
                    ),
                    _ => format!("being created, restored or received ({current} MiB so far)"),
                },
                "its numbers are not checked, and its memory cannot be changed, until it runs",
            ),
            State::Suspended => Diagnosis::notice(
                DiagnosisKind::Suspended,
                "suspended: it is being saved or migrated",
                "it cannot balloon until it resumes",
            ),
            State::ShutDown => Diagnosis::notice(
                DiagnosisKind::ShutDown,
                match info.shutdown {
                    Some(Shutdown::Reboot) => "shut down, to be rebooted",
                    _ => "shut down",
                },
                "its guest will not balloon again; the toolstack keeps the domain or is about to destroy it",
            ),
            State::Crashed => Diagnosis::notice(
                DiagnosisKind::Crashed,
                match info.shutdown {
                    Some(Shutdown::Watchdog) => "crashed: its watchdog expired",
                    _ => "crashed",
                },
                "its guest will not balloon again; the toolstack keeps the domain or is about to destroy it",
            ),
            State::Dying => Diagnosis::notice(
                DiagnosisKind::Dying,
                format!("being destroyed; still has {current} MiB"),
                "its memory is freed once the last user of it, often a device backend, releases it",
            ),
            State::Running => return None,
        })
    }

    fn bad_nodes(&self) -> Vec<Diagnosis> {
        let Memory { target, static_max, video, .. } = self.memory;
        [target.as_ref().err(), static_max.as_ref().err(), video.as_ref().err()]
            .into_iter()
            .flatten()
            .map(|bad: &BadNode| {
                Diagnosis::out_of_step(
                    DiagnosisKind::BadNode,
                    bad.to_string(),
                    "xmem cannot tell what it should be, and changes nothing that depends on it; xl misreads it",
                )
                .with_fix(Fix::Rewrite(bad.path.clone()))
            })
            .collect()
    }

    fn interrupted_change(&self, killed: &KilledChange) -> Diagnosis {
        let pid = killed.pid.as_ref().ok().copied();
        let kind = DiagnosisKind::InterruptedChange { record: killed.record.clone(), pid };
        match &killed.pid {
            Ok(pid) => Diagnosis::out_of_step(
                kind,
                format!("a change by process {pid} was interrupted"),
                "the limit may be ahead of the target in xenstore, or behind it",
            ),
            Err(why) => Diagnosis::out_of_step(
                kind,
                format!(
                    "an intent record that xmem does not act on ({}): {}",
                    Escaped(why),
                    escaped_path(&killed.record)
                ),
                "a change was interrupted, and this record does not say how to complete it",
            ),
        }
        .with_fix(Fix::Repair(Some(self.domid)))
    }

    /// Findings that involve other domains or programs.
    fn around(&self) -> Vec<Diagnosis> {
        let outstanding = Some(self.memory.info.outstanding).filter(|claimed| *claimed > Kib(0));
        [
            self.memory.device_model_of.map(|guest| {
                Diagnosis::notice(
                    DiagnosisKind::DeviceModel,
                    format!("device model of domain {guest}"),
                    "it has no memory to spare: if it runs out, that domain dies",
                )
            }),
            self.memory.manager.map(|manager| {
                Diagnosis::notice(
                    DiagnosisKind::Managed,
                    format!("managed by {manager}"),
                    "its memory manager overwrites targets that others set",
                )
                .with_fix(Fix::UseManager)
            }),
            outstanding.map(|claimed| {
                Diagnosis::notice(
                    DiagnosisKind::Outstanding,
                    format!("{} MiB are claimed for it and not yet allocated", Mib(claimed)),
                    "that memory is not free for other domains",
                )
            }),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// A lock path that is not a regular file.
fn unusable_lock(path: PathBuf) -> Diagnosis {
    Diagnosis::out_of_step(
        DiagnosisKind::UnusableLock,
        format!("its lock path is not a regular file: {}", escaped_path(&path)),
        "neither xl nor xmem can lock the domain, so its memory cannot be changed",
    )
    .with_fix(Fix::RemoveUnknown(path))
}

#[cfg(test)]
mod tests;
