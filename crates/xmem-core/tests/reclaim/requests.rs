//! A full host, and requests for memory.

use std::time::Duration;

use xen::Kib;
use xmem_core::domain::DomainRef;
use xmem_core::reclaim::{DonorSelection, Priority, ReclaimRequest};
use xmem_core::size::{Amount, Size};
use xmem_sim::{GuestType, World};

use crate::testbed::{Bed, mib};

/// A full host: dom0 has 2 GiB, a, b and c (domains 1 to 3) 1, 2 and 4 GiB.
pub(crate) fn full() -> Bed {
    let mut world = World::empty(mib(9 * 1024));
    world.create(0, "Domain-0", GuestType::Pv, mib(2048), xen::hypervisor::UNLIMITED, 0);
    for (domid, name, size) in [(1, "a", 1024), (2, "b", 2048), (3, "c", 4096)] {
        world.create(domid, name, GuestType::Pv, mib(size), mib(8192), 0);
    }
    Bed::new(world)
}

pub(crate) fn named(names: &[&str]) -> DonorSelection {
    DonorSelection::Named(names.iter().map(|name| name.parse().unwrap()).collect())
}

pub(crate) fn to(size: Kib) -> Size {
    Size { amount: Amount::To(size), cut: 0 }
}

/// `size` from `names`, with floors of 512 MiB.
pub(crate) fn request(size: u64, names: &[&str]) -> ReclaimRequest {
    ReclaimRequest {
        size: mib(size),
        keep_free: None,
        from: named(names),
        floor: vec![to(mib(512))],
        floors: Vec::new(),
        priority: Priority::Even,
        patience: Duration::from_millis(150),
        lock_timeout: Duration::from_secs(5),
        or_restore: false,
    }
}

pub(crate) fn by_name(name: &str) -> DomainRef {
    name.parse().unwrap()
}
