//! Files that gone domains and killed processes left in libxl's state directory.
//!
//! The record of a domain that exists is not among them: it belongs to that domain's own findings.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use xen::escape::escaped_path;
use xen::hypervisor::HypervisorError;
use xen::lock::{Lock, LockState};
use xen::userdata::{FileName, Letter};
use xen::{Host, Identity, Interrupt};

use super::Finding;
use crate::diagnosis::{Diagnosis, DiagnosisKind, Fix};
use crate::failure::Cause;
use crate::intent::{IntentError, RECORD, SET_ASIDE};
use crate::survey::{Row, StateFiles};

/// The purpose of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Lock,
    /// An intent record.
    Record,
    /// An intent record that was not written completely.
    Draft,
    /// An intent record that was moved aside.
    SetAside,
}

impl Role {
    fn of(name: &FileName) -> Option<Self> {
        match (name.letter, name.kind.as_str()) {
            (Letter::Lock, _) => Some(Self::Lock),
            (Letter::Data, RECORD) => Some(Self::Record),
            (Letter::Data, SET_ASIDE) => Some(Self::SetAside),
            (Letter::New, _) => Some(Self::Draft),
            (Letter::Data, _) => None,
        }
    }
}

/// The stale files, by domid. `rows` are the domains of the latest survey.
pub(super) fn find(host: &dyn Host, rows: &[Row]) -> Result<Vec<Finding>, Cause> {
    let dir = host.state_dir();
    // The files are listed before the domains: otherwise a file of a domain created in between would look like
    // one of a domain that is gone.
    let files =
        StateFiles::list(dir).map_err(|source| Cause::StateDir { path: dir.to_owned(), source })?;
    let mut findings = Vec::new();
    for (identity, names) in files {
        let names: Vec<(Role, PathBuf)> =
            names.iter().filter_map(|name| Some((Role::of(name)?, name.in_dir(dir)))).collect();
        if names.is_empty() {
            continue;
        }
        let is_alive = is_alive(host, identity)?;
        let row = rows.iter().find(|row| row.domain.identity == identity);
        let domain = row.map_or_else(|| identity.into(), |row| row.domain.clone());
        let lock = LockState::of(dir, identity).unwrap_or(LockState::Unlocked);
        let has_record = names.iter().any(|(role, _)| *role == Role::Record);
        for (role, path) in names {
            let found = if is_alive {
                of_living(role, &path, &lock, has_record)
            } else {
                of_gone(role, &path, &lock, identity)
            };
            findings.extend(found.map(|it| Finding::of(&domain, it)));
        }
    }
    Ok(findings)
}

/// A file of a domain that exists.
fn of_living(role: Role, path: &Path, lock: &LockState, has_record: bool) -> Option<Diagnosis> {
    let shown = escaped_path(path);
    let stale = |kind, message: String, meaning| {
        Some(Diagnosis::notice(kind, message, meaning).with_fix(Fix::Repair(None)))
    };
    match role {
        // Repairing the record takes the lock, and its file goes with that.
        Role::Lock if *lock == LockState::Stale && !has_record => stale(
            DiagnosisKind::StaleLock,
            format!("a stale lock file: {shown}"),
            "harmless; the next process to lock this domain reuses it",
        ),
        Role::Draft if !matches!(lock, LockState::Held(_)) => stale(
            DiagnosisKind::StaleRecord,
            format!("an intent record that was never completed: {shown}"),
            "harmless; the change it was for had not begun",
        ),
        Role::SetAside => Some(
            Diagnosis::notice(
                DiagnosisKind::SetAside,
                format!("an intent record that an earlier xmem moved aside: {shown}"),
                "it was incomplete, or written before a reboot, by another version of xmem or by another program; \
                 nothing acts on it",
            )
            .with_fix(Fix::RemoveRecord(path.to_owned())),
        ),
        Role::Lock | Role::Record | Role::Draft => None,
    }
}

/// A file of a domain that is gone.
fn of_gone(role: Role, path: &Path, lock: &LockState, identity: Identity) -> Option<Diagnosis> {
    let (shown, uuid) = (escaped_path(path), identity.uuid);
    let (kind, message, meaning) = match (role, lock) {
        (Role::Lock, LockState::Unlocked) => return None,
        (Role::Lock, LockState::Held(holder)) => {
            return Some(
                Diagnosis::notice(
                    DiagnosisKind::Locked(Some(holder.clone())),
                    format!("gone (UUID {uuid}), but its lock is held by {holder}"),
                    "the domain is being destroyed, or that process hangs",
                )
                .with_fix(Fix::AwaitLock(holder.clone())),
            );
        }
        (Role::Lock, LockState::Unusable) => {
            return Some(
                Diagnosis::notice(
                    DiagnosisKind::UnusableLock,
                    format!("gone (UUID {uuid}), but its lock path is not a regular file: {shown}"),
                    "harmless, unless a domain with the same domid and UUID is started",
                )
                .with_fix(Fix::RemoveUnknown(path.to_owned())),
            );
        }
        (Role::Lock, _) => (
            DiagnosisKind::StaleLock,
            format!("gone (UUID {uuid}), but its lock file is left: {shown}"),
            "harmless; libxl removes it with the domain unless it is killed",
        ),
        _ => (
            DiagnosisKind::StaleRecord,
            format!("gone (UUID {uuid}), but the record of a change is left: {shown}"),
            "harmless, unless a domain with the same domid and UUID is started",
        ),
    };
    Some(Diagnosis::notice(kind, message, meaning).with_fix(Fix::Repair(None)))
}

/// Removes the stale files of `identity` under its lock, if no process holds it. For a domain that exists, its record
/// and what was set aside stay.
///
/// # Errors
/// The lock is held, or a file cannot be removed.
pub(super) fn remove(
    host: &dyn Host,
    identity: Identity,
    interrupt: &dyn Interrupt,
) -> Result<(), Cause> {
    // The lock's own file is removed when it is released.
    let _lock = Lock::take(host.state_dir(), identity, Duration::ZERO, interrupt)?;
    let is_alive = is_alive(host, identity)?;
    let files = [(Letter::New, RECORD), (Letter::Data, RECORD), (Letter::Data, SET_ASIDE)];
    for (letter, kind) in files {
        if is_alive && letter != Letter::New {
            continue;
        }
        let path = FileName { letter, identity, kind: kind.to_owned() }.in_dir(host.state_dir());
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(IntentError { action: "remove", path, source }.into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether exactly this domain exists, and not another with its domid.
fn is_alive(host: &dyn Host, identity: Identity) -> Result<bool, HypervisorError> {
    let info = host.hypervisor().domain(identity.domid)?;
    Ok(info.is_some_and(|info| info.identity == identity))
}
