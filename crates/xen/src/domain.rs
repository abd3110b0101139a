//! Which domain: its number on the host and its UUID.

use std::fmt;

use uuid::Uuid;

/// The first domid that Xen keeps for itself (`DOMID_FIRST_RESERVED`, `xen/include/public/xen.h`).
const FIRST_RESERVED: u32 = 0x7FF0;

/// A domain's number on its host: 0 to 32751.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomId(u16);

impl DomId {
    /// The control domain.
    pub const DOM0: Self = Self(0);

    /// `number` as a domid, or `None` if Xen has no such domid.
    pub fn new(number: u32) -> Option<Self> {
        if number >= FIRST_RESERVED {
            return None;
        }
        u16::try_from(number).ok().map(Self)
    }

    /// The bare number, for the wire.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for DomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One life of one domain. Xen reuses a domid, but never the same domid with the same UUID while anything of the first
/// is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The number on this host.
    pub domid: DomId,
    /// The hypervisor's handle of the domain. Shown as libxl does: lower-case hex, in memory order.
    pub uuid: Uuid,
}
