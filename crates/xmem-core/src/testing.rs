//! A domain for the unit tests.

use std::time::Duration;

use xen::hypervisor::{DomainInfo, GuestType};
use xen::{DomId, Identity, Kib, Uuid};

/// A running PVH domain that has one page, with the nil UUID.
pub(crate) fn info(domid: u32) -> DomainInfo {
    DomainInfo {
        identity: Identity { domid: DomId::new(domid).unwrap(), uuid: Uuid::nil() },
        dying: false,
        shutdown: None,
        paused: false,
        guest_type: GuestType::Pvh,
        current: Kib(4),
        limit: Kib(4),
        outstanding: Kib(0),
        cpu_time: Duration::from_secs(1),
        online_vcpus: 1,
    }
}
