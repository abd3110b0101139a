//! What the dead have left in the state folder: lock files, and records of changes. The dead are domains
//! that are gone, and processes that were killed.
//!
//! Owns the search for such files and their removal. Never touches the record of a living domain, nor a
//! file that it does not know by its name, nor a lock that somebody holds.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::domain::{DomId, Identity};
use crate::error::Cause;
use crate::harmless::harmless_path;
use crate::hypervisor::{Hypervisor, HypervisorError};
use crate::intent::IntentError;
use crate::lock::{self, Holder, Lock, Standing, userdata_path};
use crate::signals::HoldOff;

/// A file in the state folder that belongs to no living domain, to no living process, or to no xmem that
/// understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The domain that it was made for.
    pub identity: Identity,
    /// Where it stands.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Whether its domain still lives.
    pub alive: bool,
}

/// The files that are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// libxl's lock, and who holds it.
    Lock(Option<Holder>),
    /// Something in the place of libxl's lock that can be none: a link, a folder.
    Obstacle,
    /// The record of a change.
    Record,
    /// The same, not yet in its place.
    Draft,
    /// The same, not understood and moved out of the way.
    SetAside,
}

/// First letter, last part, and what it is.
const NAMES: [(char, &str, Kind); 4] = [
    ('l', "domain-userdata-lock", Kind::Lock(None)),
    ('d', "xmem-intent", Kind::Record),
    ('n', "xmem-intent", Kind::Draft),
    ('d', "xmem-intent-foreign", Kind::SetAside),
];

impl Leftover {
    /// Whether `xmem check --repair` removes it.
    pub const fn is_mendable(&self) -> bool {
        match self.kind {
            Kind::Lock(Some(_)) | Kind::Obstacle => false,
            Kind::Lock(None) | Kind::Draft => true,
            Kind::Record | Kind::SetAside => !self.alive,
        }
    }

    /// One word for programs: stable, unlike the sentences.
    pub const fn kind(&self) -> &'static str {
        match (&self.kind, self.alive) {
            (Kind::Lock(Some(_)), _) => "locked",
            (Kind::Lock(None), _) => "stale-lock",
            (Kind::Obstacle, _) => "obstacle",
            (Kind::SetAside, true) => "set-aside",
            (Kind::Record | Kind::Draft | Kind::SetAside, _) => "stale-record",
        }
    }

    /// What it means.
    pub const fn means(&self) -> &'static str {
        match (&self.kind, self.alive) {
            (Kind::Lock(Some(_)), _) => "the domain is being destroyed, or that process hangs",
            (Kind::Lock(None), _) => "nothing: whoever needs it takes it over",
            (Kind::Obstacle, _) => "neither xl nor xmem can lock a domain with this domid and UUID",
            (Kind::Draft, true) => "nothing: it was never in force",
            (_, true) => "an xmem of another version wrote it, or a program that is none",
            (_, false) => {
                "nothing now, but a domain with the same domid and UUID would take it for its own"
            }
        }
    }

    /// What there is to do about it, where `--repair` does not.
    pub fn mend(&self) -> Option<String> {
        match (&self.kind, self.alive) {
            (Kind::Lock(Some(_)), _) => Some("wait, or see what that process is doing".to_owned()),
            (Kind::Obstacle, _) => Some("find out who put it there, then remove it".to_owned()),
            (_, true) => Some("read it, then remove it".to_owned()),
            (_, false) => None,
        }
    }

    /// The file called `name`, if it is one of ours.
    fn named(dir: &Path, name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix("userdata-")?.splitn(4, '.');
        let letter = parts.next()?;
        let domid = DomId::new(parts.next()?.parse().ok()?)?;
        let uuid = parts.next()?.parse().ok()?;
        let last = parts.next()?;
        let is = |kind: &(char, &str, Kind)| letter.chars().eq([kind.0]) && last == kind.1;
        let (letter, last, kind) = NAMES.into_iter().find(is)?;
        let identity = Identity { domid, uuid };
        let path = userdata_path(dir, letter, identity, last);
        // `007` is how nobody writes a domid.
        (path.file_name()? == name).then_some(Self { identity, path, kind, alive: false })
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = harmless_path(&self.path);
        match (&self.kind, self.alive) {
            (Kind::Lock(Some(holder)), _) => write!(f, "gone, but its lock is held by {holder}"),
            (Kind::Lock(None), false) => write!(f, "gone, but it left its lock file: {path}"),
            (Kind::Obstacle, _) => {
                write!(f, "what stands in the place of its lock is no file: {path}")
            }
            (Kind::Lock(None), true) => write!(f, "a lock file that nobody holds: {path}"),
            (Kind::Draft, true) => write!(f, "a record that was never finished: {path}"),
            (Kind::SetAside, true) => write!(f, "a record that xmem did not understand: {path}"),
            (Kind::Record | Kind::Draft | Kind::SetAside, _) => {
                write!(f, "gone, but it left the record of a change: {path}")
            }
        }
    }
}

/// The files of domains that are gone, by domid; of those that are not, what is set aside and what a killed
/// process has left, but for its record, which is settled with the domain.
///
/// # Errors
/// The folder cannot be read, or the hypervisor does not answer.
pub fn leftovers(dir: &Path, hypervisor: &impl Hypervisor) -> Result<Vec<Leftover>, Cause> {
    let os = |source| Cause::Os { what: "cannot read libxl's folder of userdata files", source };
    let mut found = Vec::new();
    // The files first, and only then the domains: a file of a domain that was made in between would
    // otherwise look like one of a domain that is gone.
    match fs::read_dir(dir) {
        Ok(entries) => {
            for entry in entries {
                let name = entry.map_err(os)?.file_name();
                found.extend(name.to_str().and_then(|name| Leftover::named(dir, name)));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(os(error)),
    }
    // Settling the record takes the lock over, and its file goes with that.
    let recorded: Vec<Identity> =
        found.iter().filter(|it| it.kind == Kind::Record).map(|it| it.identity).collect();
    let mut left = Vec::new();
    for mut file in found {
        file.alive = lives(hypervisor, file.identity)?;
        if matches!(file.kind, Kind::Lock(_)) {
            file.kind = match lock::standing(&file.path) {
                // Whoever had it may have released it since the folder was read.
                None => continue,
                Some(Standing::Obstacle) => Kind::Obstacle,
                Some(standing) => Kind::Lock(standing.holder()),
            };
        }
        // A living domain's held lock, and what its holder writes, is somebody's change.
        let is_used = match file.kind {
            Kind::Lock(Some(_)) | Kind::Record => true,
            Kind::Draft => is_locked(dir, file.identity),
            Kind::Lock(None) => recorded.contains(&file.identity),
            Kind::SetAside | Kind::Obstacle => false,
        };
        if !(file.alive && is_used) {
            left.push(file);
        }
    }
    left.sort_by(|one, other| {
        (one.identity.domid, &one.path).cmp(&(other.identity.domid, &other.path))
    });
    Ok(left)
}

/// Removes what was left of a domain or of a killed process, under the lock, if nobody holds that. Of a
/// domain that lives the record stays, and what was set aside.
///
/// # Errors
/// The lock is held, or a file cannot be removed.
pub fn remove(
    dir: &Path,
    hypervisor: &impl Hypervisor,
    identity: Identity,
    signals: &HoldOff,
) -> Result<(), Cause> {
    // The lock's own file goes when it is released, by its own protocol.
    let _lock = Lock::take(dir, identity, Duration::ZERO, signals)?;
    let alive = lives(hypervisor, identity)?;
    let is_left = |kind: &Kind| match kind {
        Kind::Lock(_) | Kind::Obstacle => false,
        Kind::Draft => true,
        Kind::Record | Kind::SetAside => !alive,
    };
    for (letter, last, _) in NAMES.iter().filter(|(.., kind)| is_left(kind)) {
        let path = userdata_path(dir, *letter, identity, last);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(IntentError { action: "remove", path, source }.into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether somebody holds the domain's lock.
fn is_locked(dir: &Path, identity: Identity) -> bool {
    matches!(lock::standing(&lock::path(dir, identity)), Some(Standing::Held { .. }))
}

/// Whether the domain is there: this one, and not another with its domid.
fn lives(hypervisor: &impl Hypervisor, identity: Identity) -> Result<bool, HypervisorError> {
    Ok(hypervisor.domain(identity.domid)?.is_some_and(|info| info.identity == identity))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";

    #[test]
    fn only_the_files_that_are_known_are_touched() {
        let dir = Path::new("/var/lib/xen");
        let is = |name: &str| Leftover::named(dir, &name.replace("UUID", UUID)).map(|it| it.kind);
        for (name, kind) in [
            ("userdata-l.7.UUID.domain-userdata-lock", Some(Kind::Lock(None))),
            ("userdata-d.7.UUID.xmem-intent", Some(Kind::Record)),
            ("userdata-n.7.UUID.xmem-intent", Some(Kind::Draft)),
            ("userdata-d.7.UUID.xmem-intent-foreign", Some(Kind::SetAside)),
            ("userdata-d.0.UUID.xmem-intent", Some(Kind::Record)),
            ("userdata-d.7.UUID.libxl-json", None),
            ("userdata-l.7.UUID.libxl-device-changes-lock", None),
            ("userdata-d.7.UUID.domain-userdata-lock", None),
            ("userdata-l.7.UUID.xmem-intent", None),
            ("userdata-d.7.UUID.xmem-intent-foreign~", None),
            ("userdata-d.7.UUID.xmem-intent.bak", None),
            ("userdata-dd.7.UUID.xmem-intent", None),
            ("userdata-.7.UUID.xmem-intent", None),
            ("userdata-d.007.UUID.xmem-intent", None),
            ("userdata-d.+7.UUID.xmem-intent", None),
            ("userdata-d.32752.UUID.xmem-intent", None),
            ("userdata-d.7.0123.xmem-intent", None),
            ("userdata-d.7.xmem-intent", None),
            ("xmem-intent", None),
        ] {
            assert_eq!(is(name), kind, "{name}");
        }
        let upper = format!("userdata-d.7.{}.xmem-intent", UUID.to_uppercase());
        assert_eq!(Leftover::named(dir, &upper), None);
    }
}
