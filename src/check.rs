//! Everything that is off on a host: in its domains, in libxl's folder, in xenstore.
//!
//! Owns the search for it, and the mending of what can only be meant in one way. Never judges a single
//! domain's numbers (that is [`remark`](crate::remark)), and without [`repair()`] never takes a lock.

mod repair;

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

pub use self::repair::{Deed, Fate, Repaired, foresee, repair};
use crate::change::believed;
use crate::domain::{DomId, Domain, DomainRef, Identity, Wanted};
use crate::error::Cause;
use crate::host::Host;
use crate::hypervisor::Hypervisor as _;
use crate::leftover::{Leftover, leftovers};
use crate::nodes::Nodes;
use crate::overview::{Overview, Row, look};
use crate::plan::{Refusal, Wish};
use crate::remark::Remark;
use crate::resolve::domids;
use crate::xenstore::{Answer, Batch, StoreError};

/// A change without a lock, or one that began and ended between two reads, can look like a domain out
/// of step. What is really so, is so at the next look as well.
const LOOKS: u32 = 4;
/// How long to wait between two of them.
const PAUSE: Duration = Duration::from_millis(100);

/// Something off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// About a domain.
    Domain {
        /// Which.
        domain: Domain,
        /// What.
        remark: Remark,
        /// Who mends it.
        mender: Mender,
    },
    /// A file that belongs to no living domain.
    Leftover(Leftover),
    /// Nodes in xenstore of a domain that is not there.
    Ghost(DomId),
    /// xenstored cannot tell which domains it has nodes of, so that ghosts were not looked for.
    Unlisted,
}

/// Who can mend what is off about a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mender {
    /// `--repair`: only one thing can be meant.
    Repair,
    /// Whoever knows what the size should be: the guest may have made up what stands there.
    Size,
    /// Somebody, as the remark says.
    Admin,
}

impl Finding {
    /// The domain that it is about, as far as it is known.
    pub fn domain(&self) -> Option<Domain> {
        match self {
            Self::Domain { domain, .. } => Some(domain.clone()),
            Self::Leftover(file) => Some(Domain { identity: file.identity, name: None }),
            Self::Ghost(_) | Self::Unlisted => None,
        }
    }

    /// Its domid; dom0's where it is about the host as a whole.
    pub const fn domid(&self) -> DomId {
        match self {
            Self::Domain { domain, .. } => domain.identity.domid,
            Self::Leftover(file) => file.identity.domid,
            Self::Ghost(domid) => *domid,
            Self::Unlisted => DomId::DOM0,
        }
    }

    /// Whether it is out of step, and not only worth knowing.
    pub const fn is_out_of_step(&self) -> bool {
        match self {
            Self::Domain { remark, .. } => remark.is_out_of_step(),
            Self::Leftover(_) | Self::Ghost(_) | Self::Unlisted => false,
        }
    }

    /// Whether [`repair()`] mends it.
    pub const fn is_mendable(&self) -> bool {
        match self {
            Self::Domain { mender, .. } => matches!(mender, Mender::Repair),
            Self::Leftover(file) => file.is_mendable(),
            Self::Ghost(_) | Self::Unlisted => false,
        }
    }

    /// One word for programs: stable, unlike the sentences.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Domain { remark, .. } => remark.kind(),
            Self::Leftover(file) => file.kind(),
            Self::Ghost(_) => "ghost",
            Self::Unlisted => "unlisted",
        }
    }

    /// What it means.
    pub const fn means(&self) -> &'static str {
        match self {
            Self::Domain { remark, .. } => remark.means(),
            Self::Leftover(file) => file.means(),
            Self::Ghost(_) => {
                "somebody wrote there after the domain was destroyed; it takes up xenstore's room"
            }
            Self::Unlisted => "nodes of domains that are gone were not looked for",
        }
    }

    /// What mends it, where anything does.
    pub fn mend(&self) -> Option<String> {
        match self {
            Self::Domain { mender, remark, domain } => {
                let domid = domain.identity.domid;
                match mender {
                    Mender::Repair => Some(format!("xmem check --repair {domid}")),
                    Mender::Size => Some(format!(
                        "xmem set {domid} SIZE, with the size that it should have: the guest itself may write there \
                         (xenstore-ls -p)"
                    )),
                    Mender::Admin => remark.mend(domid),
                }
            }
            Self::Leftover(file) if file.is_mendable() => Some("xmem check --repair".to_owned()),
            Self::Leftover(file) => file.mend(),
            Self::Ghost(domid) => {
                Some(format!("if no such domain is being built: xenstore-rm /local/domain/{domid}"))
            }
            Self::Unlisted => Some(
                "over xenstored's socket, if there is one here: unset XENSTORED_PATH".to_owned(),
            ),
        }
    }

    /// What is equal in the same one, seen at another time.
    fn key(&self) -> Key<'_> {
        let (who, file) = match self {
            Self::Domain { domain, .. } => (Some(domain.identity), None),
            Self::Leftover(file) => (Some(file.identity), Some(&*file.path)),
            Self::Ghost(_) | Self::Unlisted => (None, None),
        };
        (self.kind(), self.domid(), who, file)
    }
}

/// See [`Finding::key`].
type Key<'a> = (&'static str, DomId, Option<Identity>, Option<&'a Path>);

/// What it is, without the domain's name.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain { remark, .. } => remark.fmt(f),
            Self::Leftover(file) => file.fmt(f),
            Self::Ghost(domid) => {
                write!(f, "no such domain, but xenstore has /local/domain/{domid}")
            }
            Self::Unlisted => f.write_str("too many domains to be listed over this connection"),
        }
    }
}

/// What was found.
#[derive(Debug)]
pub struct Checked {
    /// The domains that were looked at.
    pub rows: Vec<Row>,
    /// All that is off: first the domains, by domid and gravity, then what is left of others.
    pub findings: Vec<Finding>,
    /// Those that were asked for and are not there.
    pub missing: Vec<DomainRef>,
}

/// Looks at the domains that `words` mean, or at the whole host if none is named. Changes nothing.
///
/// # Errors
/// xenstore, the hypervisor or the state folder do not tell.
pub fn check<H: Host>(host: &H, words: &[DomainRef]) -> Result<Checked, Cause> {
    let store = host.connect()?;
    look_into(host.state_dir(), words.is_empty())?;
    let mut seen = look(host, &store)?;
    let wanted = Wanted::by(words);
    let missing = wanted.missing(seen.rows.iter().map(|row| &row.domain));
    let missing: Vec<DomainRef> = missing.into_iter().cloned().collect();
    let is_wanted = |row: &Row| wanted.has(&row.domain);
    seen.rows.retain(is_wanted);
    for _ in 1..LOOKS {
        if seen.rows.iter().all(|row| row.out_of_step().next().is_none()) {
            break;
        }
        thread::sleep(PAUSE);
        let mut again = look(host, &store)?;
        again.rows.retain(is_wanted);
        let same = steady(&seen, &again);
        seen = again;
        if same {
            break;
        }
    }
    let mut findings = Vec::new();
    for row in &seen.rows {
        findings.extend(of(row, &store)?);
    }
    if words.is_empty() {
        findings.extend(
            leftovers(host.state_dir(), host.hypervisor())?.into_iter().map(Finding::Leftover),
        );
        findings.extend(ghosts(host, &store)?);
    }
    Ok(Checked { rows: seen.rows, findings, missing })
}

/// Whether the files that tell of changes can be seen: by their names, and `all` of them if need be. To
/// whom they cannot, all would look well. A folder that is not there has none.
fn look_into(dir: &Path, all: bool) -> Result<(), Cause> {
    let seen = fs::metadata(dir.join("."))
        .and_then(|_| if all { fs::read_dir(dir).map(drop) } else { Ok(()) });
    match seen {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Cause::Folder { path: dir.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Whether the same domains are out of step in the same way.
fn steady(before: &Overview, after: &Overview) -> bool {
    let off = |seen: &Overview| -> Vec<(Identity, Remark)> {
        let rows = seen.rows.iter();
        rows.flat_map(|row| row.out_of_step().map(|it| (row.domain.identity, it.clone()))).collect()
    };
    off(before) == off(after)
}

/// What is off about one domain.
fn of(row: &Row, store: &impl Batch) -> Result<Vec<Finding>, Cause> {
    let readable = !row.remarks.iter().any(|remark| matches!(remark, Remark::BadNode(_)));
    let is_mendable = |remark: &Remark| readable && remark.is_mendable(&row.reading());
    let of_numbers =
        if row.remarks.iter().any(is_mendable) { mender(row, store)? } else { Mender::Admin };
    let finding = |remark: &Remark| Finding::Domain {
        domain: row.domain.clone(),
        remark: remark.clone(),
        mender: match remark {
            remark if !is_mendable(remark) => Mender::Admin,
            Remark::Unsettled { .. } => Mender::Repair,
            _ => of_numbers,
        },
    };
    let grave = row.out_of_step();
    let rest = row.remarks.iter().filter(|remark| !remark.is_out_of_step());
    Ok(grave.chain(rest).map(finding).collect())
}

/// Who mends the numbers of a domain, if anybody: a guest's own word is no reason to raise its limit.
fn mender(row: &Row, store: &impl Batch) -> Result<Mender, Cause> {
    match believed(&Nodes::of(row.domain.identity), store, &row.reading(), &Wish::Mend) {
        Ok(_) => Ok(Mender::Repair),
        Err(Cause::Refused(Refusal::GuestsWord { .. })) => Ok(Mender::Size),
        Err(Cause::Refused(_)) => Ok(Mender::Admin),
        Err(cause) => Err(cause),
    }
}

/// The domids in xenstore that no domain has.
fn ghosts<H: Host>(host: &H, store: &H::Store) -> Result<Vec<Finding>, Cause> {
    let mut ghosts = match domids(store) {
        Ok(domids) => domids,
        // oxenstored cannot tell it in pieces, and the device carries no more than a page.
        Err(error) if StoreError::is(&error, &Answer::TooBig) => {
            return Ok(vec![Finding::Unlisted]);
        }
        Err(error) => return Err(error.into()),
    };
    let there: HashSet<DomId> =
        host.hypervisor().domains()?.iter().map(|info| info.identity.domid).collect();
    // dom0 is listed whether or not xenstore has it.
    ghosts.retain(|domid| *domid != DomId::DOM0 && !there.contains(domid));
    if !ghosts.is_empty() {
        // One that was destroyed between the two questions is gone from xenstore, too.
        let still: HashSet<DomId> = domids(store)?.into_iter().collect();
        ghosts.retain(|ghost| still.contains(ghost));
    }
    Ok(ghosts.into_iter().map(Finding::Ghost).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_seen_is_not_taken_for_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let no_folder = dir.path().join("file");
        fs::write(&no_folder, "").unwrap();
        for all in [false, true] {
            look_into(dir.path(), all).unwrap();
            look_into(&dir.path().join("missing"), all).unwrap();
            let error = look_into(&no_folder, all).unwrap_err();
            assert!(matches!(error, Cause::Folder { .. }), "{error}");
        }
    }
}
