//! Reads the nodes of many domains, and no more of them than are shown.

use std::panic;
use std::thread;

use xen::Host;
use xen::hypervisor::{DomainInfo, GuestType};
use xen::xenstore::{Nodes, Store, StoreError};

use super::Detail;
use crate::memory::{Key, Manager, Memory, memory_path};

/// The suffix of the domain of a device model, after its guest's name (`libxl__stub_dm_name`). No other domain can be
/// one.
const DEVICE_MODEL: &str = "-dm";

/// The most connections over which domains are read.
const CONNECTIONS: usize = 4;
/// The fewest domains for which another connection is worth its cost.
const SHARE: usize = 8;

/// Reads the nodes that `detail` asks for, of each of `domains`, over `store` and, if they are many, over more connections.
///
/// xenstored answers one message of each connection in a round, and looks at every connection and every domain in a
/// round. With more connections it takes fewer rounds (docs/performance.md).
///
/// # Errors
/// xenstore does not answer.
pub(super) fn read_shared(
    host: &dyn Host,
    store: &dyn Store,
    domains: &[DomainInfo],
    detail: Detail,
) -> Result<Vec<Memory>, StoreError> {
    let share = domains.len().div_ceil(CONNECTIONS).max(SHARE);
    let (own, others) = domains.split_at(share.min(domains.len()));
    thread::scope(|threads| {
        let read = |domains| threads.spawn(move || read(&*host.connect()?, domains, detail));
        let others: Vec<_> = others.chunks(share).map(read).collect();
        let mut all = self::read(store, own, detail)?;
        for other in others {
            all.extend(other.join().unwrap_or_else(|cause| panic::resume_unwind(cause))?);
        }
        Ok(all)
    })
}

/// Reads what `detail` says about each of `domains`: first the nodes that each has, then those that some have.
///
/// # Errors
/// xenstore does not answer. A value that makes no sense is not an error here.
pub(super) fn read(
    nodes: &dyn Nodes,
    domains: &[DomainInfo],
    detail: Detail,
) -> Result<Vec<Memory>, StoreError> {
    let mut all: Vec<Memory> = domains.iter().map(|info| Memory::of(*info)).collect();
    let keys: Vec<_> = all.iter().map(|domain| usual_keys(domain, detail)).collect();
    Memory::read_keys(nodes, &mut all, &keys)?;
    let listed = match detail {
        Detail::Names => return Ok(all),
        Detail::Numbers => vec![Vec::new(); all.len()],
        Detail::Findings | Detail::Reports => list_memory(nodes, &all)?,
    };
    for (domain, names) in all.iter_mut().zip(&listed) {
        domain.manager = names.iter().find_map(|name| Manager::with_node(name));
    }
    let keys: Vec<_> =
        all.iter().zip(&listed).map(|(domain, names)| rare_keys(domain, names, detail)).collect();
    Memory::read_keys(nodes, &mut all, &keys)?;
    Ok(all)
}

fn usual_keys(domain: &Memory, detail: Detail) -> Vec<Key> {
    match detail {
        Detail::Names => vec![Key::Name],
        // A PV or PVH guest hardly ever has video memory.
        Detail::Numbers if domain.info.guest_type != GuestType::Hvm => {
            vec![Key::Name, Key::Target, Key::StaticMax]
        }
        Detail::Reports if !domain.is_dom0() => [&Key::NUMBERS[..], &[Key::ReportedTotal]].concat(),
        _ => Key::NUMBERS.to_vec(),
    }
}

/// The nodes that exist or matter, by what has been read of `domain` and by the `names` below its `memory`.
fn rare_keys(domain: &Memory, names: &[String], detail: Detail) -> Vec<Key> {
    let is_stub = domain.name.as_ref().is_some_and(|name| name.0.ends_with(DEVICE_MODEL));
    let reports = detail == Detail::Reports && !domain.is_dom0();
    [
        (detail == Detail::Numbers && may_have_video(domain)).then_some(Key::Video),
        is_stub.then_some(Key::DeviceModelOf),
        // Once more: the agent may have written both since.
        domain.report.total.map(|_| Key::ReportedTotal),
        domain.report.total.map(|_| Key::ReportedFree),
        (reports && names.iter().any(|name| name == "meminfo")).then_some(Key::Meminfo),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whether the numbers of a domain whose video memory was not read are not what libxl sets without any. A PV or PVH guest
/// with video memory has such numbers only after `xl mem-max` to its target, which leaves out the video memory.
fn may_have_video(domain: &Memory) -> bool {
    let has_limit = domain.info.limit == domain.required_limit();
    !(domain.is_dom0() || has_limit && !domain.is_above_maximum())
}

/// The names below the `memory` of each of `domains`.
fn list_memory(nodes: &dyn Nodes, domains: &[Memory]) -> Result<Vec<Vec<String>>, StoreError> {
    let paths: Vec<String> = domains.iter().map(|it| memory_path(it.domid())).collect();
    let listed = nodes.list_each(&paths.iter().map(String::as_str).collect::<Vec<_>>())?;
    Ok(listed.into_iter().map(Option::unwrap_or_default).collect())
}
