//! Guests on their way to their targets, and the memory that they are still taking or giving back.

use xen::xenstore::Nodes;
use xen::{Host, Identity, Kib};

use crate::failure::Cause;
use crate::memory::{Key, Memory};
use crate::plan::TOLERANCE;
use crate::state::{Follows, State};

/// A running guest that does not hold its size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Underway {
    pub(crate) identity: Identity,
    pub(crate) size: Kib,
    held: Kib,
}

impl Underway {
    /// Memory that it is still taking.
    pub(crate) fn takes(&self) -> Kib {
        self.size.minus(self.held).unwrap_or_default()
    }

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
    let others = infos.into_iter().filter(|info| !is_excluded(info.identity));
    let mut memories: Vec<Memory> = others.map(Memory::of).collect();
    let keys = vec![vec![Key::Target, Key::Video]; memories.len()];
    Memory::read_keys(nodes, &mut memories, &keys)?;
    let underway = memories.iter().filter_map(|memory| {
        let (identity, held) = (memory.info.identity, memory.info.current);
        let size = memory.size().filter(|size| size.0.abs_diff(held.0) > TOLERANCE.0)?;
        (State::of(memory).follows() == Follows::Now).then_some(Underway { identity, size, held })
    });
    Ok(underway.collect())
}

/// The sum of `of` over `guests`.
pub(crate) fn sum(guests: &[Underway], of: impl Fn(&Underway) -> Kib) -> Kib {
    Kib(guests.iter().fold(0, |sum, guest| sum.saturating_add(of(guest).0)))
}
