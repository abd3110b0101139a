//! A domain's identity: domid and UUID.

use std::fmt;

use uuid::Uuid;

/// The first domid that Xen keeps for itself (`DOMID_FIRST_RESERVED`, `xen/include/public/xen.h`).
const FIRST_RESERVED: u32 = 0x7FF0;

/// A domain's number on its host, the domid: 0 to 32751.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomId(u16);

impl DomId {
    /// The control domain.
    pub const DOM0: Self = Self(0);

    /// The domid `number`, or `None` if it is above 32751.
    pub fn new(number: u32) -> Option<Self> {
        if number >= FIRST_RESERVED {
            return None;
        }
        u16::try_from(number).ok().map(Self)
    }

    /// The bare number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for DomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A domid with the UUID of its domain. A domid alone is reused for another domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The domid.
    pub domid: DomId,
    /// The domain's handle in the hypervisor, its bytes in memory order. dom0's is usually nil.
    pub uuid: Uuid,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domids_reserved_for_xen_are_rejected() {
        assert_eq!(DomId::new(32_751).map(DomId::get), Some(32_751));
        // xl truncates these to 16 or 32 bits: domains 7 and 0.
        for number in [32_752, 0x7FF0, 65_543, 0x1_0000, u32::MAX] {
            assert_eq!(DomId::new(number), None, "{number}");
        }
    }

    #[test]
    fn a_uuid_is_displayed_as_libxl_does() {
        let uuid =
            Uuid::from_bytes(*b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef");
        assert_eq!(uuid.to_string(), "01234567-89ab-cdef-0123-456789abcdef");
        assert_eq!(Uuid::nil().to_string(), "00000000-0000-0000-0000-000000000000");
    }
}
