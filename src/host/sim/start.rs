//! The world that a new sim starts with: one domain of each kind, with everything in step.

use std::collections::BTreeMap;

use super::tree::Tree;
use super::world::{Kind, Number, SimDomain, World};
use crate::domain::{DomId, Uuid};
use crate::hypervisor::UNLIMITED;
use crate::size::Kib;

/// What libxl adds to the limit (`LIBXL_MAXMEM_CONSTANT`).
const SLACK: Kib = Kib(1024);

/// A guest of the start world. It holds all that it was given: target and video memory.
struct Guest {
    domid: u16,
    name: &'static str,
    kind: Kind,
    memory_mib: u64,
    static_max_mib: u64,
    videoram_kib: u64,
}

const GUESTS: [Guest; 3] = [
    Guest {
        domid: 7,
        name: "web",
        kind: Kind::Pvh,
        memory_mib: 1024,
        static_max_mib: 2048,
        videoram_kib: 0,
    },
    Guest {
        domid: 8,
        name: "db",
        kind: Kind::Pv,
        memory_mib: 2048,
        static_max_mib: 4096,
        videoram_kib: 0,
    },
    Guest {
        domid: 9,
        name: "win",
        kind: Kind::Hvm,
        memory_mib: 2048,
        static_max_mib: 2048,
        videoram_kib: 16384,
    },
];

/// A host of 16 GiB with dom0, `web`, `db` and `win`.
pub(super) fn world() -> World {
    let mut domains = BTreeMap::new();
    let mut nodes = Vec::new();
    // dom0 as it is without dom0_mem: no limit, the nil UUID, and no node under /vm.
    let dom0_memory = Kib::from_mib(2048);
    let dom0 = SimDomain { kind: Kind::Pv, ..domain(Uuid::default(), dom0_memory) };
    domains.insert(Number(DomId::DOM0), dom0);
    nodes.extend([
        ("/local/domain/0/domid".to_owned(), "0".to_owned()),
        ("/local/domain/0/name".to_owned(), "Domain-0".to_owned()),
        ("/local/domain/0/memory/target".to_owned(), dom0_memory.0.to_string()),
        ("/local/domain/0/memory/static-max".to_owned(), UNLIMITED.0.to_string()),
    ]);
    for guest in GUESTS {
        let Some(domid) = DomId::new(guest.domid.into()) else { continue };
        let memory = Kib::from_mib(guest.memory_mib);
        let uuid = uuid(guest.domid);
        let limit_kib = Kib(memory.0.saturating_add(SLACK.0));
        let built = SimDomain { kind: guest.kind, limit_kib, ..domain(uuid, memory) };
        domains.insert(Number(domid), built);
        nodes.extend(nodes_of(&guest, uuid));
    }
    let xenstore = Tree::new(nodes, &BTreeMap::new(), 0);
    World::new(Kib::from_mib(16 * 1024), domains, xenstore)
}

/// A domain at rest, without a limit.
const fn domain(uuid: Uuid, memory: Kib) -> SimDomain {
    SimDomain {
        uuid,
        kind: Kind::Pvh,
        current_kib: memory,
        limit_kib: UNLIMITED,
        outstanding_kib: Kib(0),
        pod_cache_kib: Kib(0),
        pod_entries_kib: Kib(0),
        passthrough: false,
        paused: false,
        dying: false,
        balloon: true,
        rate_kib_per_second: Kib::from_mib(256),
        moving_since_ms: None,
    }
}

/// `00000000-0000-4000-8000-000000000007` for domain 7: easy to tell and to type.
fn uuid(domid: u16) -> Uuid {
    const PATTERN: u128 = 0x0000_0000_0000_4000_8000_0000_0000_0000;
    Uuid((PATTERN | u128::from(domid)).to_be_bytes())
}

/// The nodes that libxl writes when it makes a domain, as far as memory and names go, and the one
/// under `/vm` that a later mem-set adds.
fn nodes_of(guest: &Guest, uuid: Uuid) -> Vec<(String, String)> {
    let dom = format!("/local/domain/{}", guest.domid);
    let vm = format!("/vm/{uuid}");
    let target = Kib(Kib::from_mib(guest.memory_mib).0.saturating_sub(guest.videoram_kib));
    vec![
        (format!("{dom}/name"), guest.name.to_owned()),
        (format!("{dom}/domid"), guest.domid.to_string()),
        (format!("{dom}/vm"), vm.clone()),
        (format!("{dom}/memory/target"), target.0.to_string()),
        (format!("{dom}/memory/static-max"), Kib::from_mib(guest.static_max_mib).0.to_string()),
        (format!("{dom}/memory/videoram"), guest.videoram_kib.to_string()),
        (format!("/libxl/{}/type", guest.domid), guest.kind.name().to_owned()),
        (format!("{vm}/name"), guest.name.to_owned()),
        (format!("{vm}/uuid"), uuid.to_string()),
        (format!("{vm}/memory"), target.mib().to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_in_step() {
        let world = world();
        assert_eq!(world.free(), Kib::from_mib(9 * 1024));
        assert_eq!(world.domains.len(), 4);
        for (Number(domid), domain) in &*world.domains {
            let node = |name: &str| -> Option<u64> {
                world.xenstore.value(&format!("/local/domain/{domid}/{name}"))?.parse().ok()
            };
            let target = node("memory/target").unwrap();
            let videoram = node("memory/videoram").unwrap_or(0);
            assert_eq!(node("domid"), Some(domid.get().into()));
            assert_eq!(domain.current_kib, Kib(target + videoram), "{domid}");
            assert!(Kib(target) <= Kib(node("memory/static-max").unwrap()), "{domid}");
            if *domid != DomId::DOM0 {
                assert_eq!(domain.limit_kib, Kib(target + videoram + 1024), "{domid}");
            }
        }
    }
}
