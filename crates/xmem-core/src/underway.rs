//! Guests on their way to their targets, and the memory that they still take from the host or give back to it.

use xen::hypervisor::DomainInfo;
use xen::xenstore::Nodes;
use xen::{Host, Identity, Kib};

use crate::failure::Cause;
use crate::memory::Memory;
use crate::plan::TOLERANCE;
use crate::state::{Follows, State};

/// A running guest that does not hold its size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Underway {
    size: Kib,
    held: Kib,
}

impl Underway {
    /// Memory that it still gives back.
    pub(crate) fn gives(&self) -> Kib {
        self.held.minus(self.size).unwrap_or_default()
    }
}

/// The guests on their way, except those that `is_excluded` names: one list of domains and one batch of reads.
///
/// # Errors
/// The host does not answer.
pub(crate) fn underway(
    host: &dyn Host,
    nodes: &dyn Nodes,
    is_excluded: impl Fn(Identity) -> bool,
) -> Result<Vec<Underway>, Cause> {
    let infos = host.hypervisor().domains()?;
    let others: Vec<DomainInfo> =
        infos.into_iter().filter(|info| !is_excluded(info.identity)).collect();
    let memories = Memory::read_each(nodes, &others)?;
    let underway = memories.iter().filter_map(|memory| {
        let held = memory.info.current;
        let size = memory.size().filter(|size| size.0.abs_diff(held.0) > TOLERANCE.0)?;
        (State::of(memory).follows() == Follows::Now).then_some(Underway { size, held })
    });
    Ok(underway.collect())
}

/// The sum of what `of` says of each.
pub(crate) fn sum(guests: &[Underway], of: impl Fn(&Underway) -> Kib) -> Kib {
    Kib(guests.iter().fold(0, |sum, guest| sum.saturating_add(of(guest).0)))
}
