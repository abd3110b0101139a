//! The nodes that are read of many domains: as few as what is shown takes.
//!
//! Name, target, static-max and videoram are read of each domain, and its type if the hypervisor leaves that open. One
//! listing of `memory` tells what else is there: a memory manager's node, a Qubes guest's report. Only the name says that
//! a domain can be a device model's (`<guest>-dm`, `libxl__stub_dm_name`).

use xen::DomId;
use xen::hypervisor::DomainInfo;
use xen::xenstore::{Nodes, StoreError};

use super::Detail;
use crate::memory::{CHUNK, Memory, Paths, domain_path};
use crate::used;

/// What libxl appends to a guest's name for the domain of its device model.
const DEVICE_MODEL: &str = "-dm";

/// Reads what there is about each of `domains`, in two round trips for as many as fit into them, and a third where the
/// second shows that there is more.
///
/// # Errors
/// xenstore does not answer. A value that makes no sense is not an error here.
pub(crate) fn read(
    nodes: &dyn Nodes,
    domains: &[DomainInfo],
    detail: Detail,
) -> Result<Vec<Memory>, StoreError> {
    let mut all = Vec::with_capacity(domains.len());
    for domains in domains.chunks(CHUNK) {
        all.extend(read_chunk(nodes, domains, detail)?);
    }
    Ok(all)
}

fn read_chunk(
    nodes: &dyn Nodes,
    domains: &[DomainInfo],
    detail: Detail,
) -> Result<Vec<Memory>, StoreError> {
    let reads_used =
        |info: &DomainInfo| detail == Detail::Reports && info.identity.domid != DomId::DOM0;
    let mut batch = Batch::default();
    for info in domains {
        let paths = Paths::of(info.identity);
        if detail == Detail::Names {
            batch.add([paths.name()].into_iter());
            continue;
        }
        let total = reads_used(info).then(|| below(info, used::TOTAL));
        let guest_type = info.hvm.then(|| format!("/libxl/{}/type", info.identity.domid));
        let memory = ["target", "static-max", "videoram"].map(|node| paths.memory(node));
        batch.add([paths.name()].into_iter().chain(memory).chain(guest_type).chain(total));
    }
    let first = batch.read(nodes)?;
    if detail == Detail::Names {
        let named = |(info, values): (&DomainInfo, Values)| {
            let mut memory = Memory::of(*info);
            for (path, value) in values {
                if let Some(value) = value {
                    memory.take(&path, &value);
                }
            }
            memory
        };
        return Ok(domains.iter().zip(first).map(named).collect());
    }
    let listed: Vec<String> = domains.iter().map(|info| below(info, "memory")).collect();
    let listed = nodes.list_each(&listed.iter().map(String::as_str).collect::<Vec<_>>())?;

    let mut batch = Batch::default();
    let mut seen: Vec<(Memory, Option<Vec<u8>>)> = Vec::with_capacity(domains.len());
    for ((info, values), names) in domains.iter().zip(first).zip(listed) {
        let (mut memory, mut total) = (Memory::of(*info), None);
        for (path, value) in values {
            match value {
                Some(value) if path.ends_with(used::TOTAL) => total = Some(value),
                Some(value) => memory.take(&path, &value),
                None => {}
            }
        }
        let names = names.unwrap_or_default();
        for name in &names {
            memory.take_name(name);
        }
        let is_device_model =
            memory.name.as_ref().is_some_and(|name| name.0.ends_with(DEVICE_MODEL));
        let reports = reads_used(info) && names.iter().any(|name| name == used::MEMINFO);
        batch.add(
            [
                is_device_model.then(|| below(info, "target")),
                total.is_some().then(|| below(info, used::FREE)),
                reports.then(|| Paths::of(info.identity).memory(used::MEMINFO)),
            ]
            .into_iter()
            .flatten(),
        );
        seen.push((memory, total));
    }
    let rest = batch.read(nodes)?;
    let finish = |((mut memory, total), values): ((Memory, Option<Vec<u8>>), Values)| {
        let (mut free, mut meminfo) = (None, None);
        for (path, value) in values {
            match value {
                value if path.ends_with(used::FREE) => free = value,
                value if path.ends_with(used::MEMINFO) => meminfo = value,
                Some(value) => memory.take(&path, &value),
                None => {}
            }
        }
        memory.used = used::reported(&[total, free, meminfo], memory.info.current);
        memory
    };
    Ok(seen.into_iter().zip(rest).map(finish).collect())
}

/// A node of a domain.
fn below(info: &DomainInfo, node: &str) -> String {
    format!("{}/{node}", domain_path(info.identity.domid))
}

/// The nodes of one domain, with their values.
type Values = Vec<(String, Option<Vec<u8>>)>;

/// Reads for many domains that go together.
#[derive(Debug, Default)]
struct Batch {
    paths: Vec<String>,
    /// How many of them are each domain's.
    counts: Vec<usize>,
}

impl Batch {
    /// Adds the nodes of one domain.
    fn add(&mut self, paths: impl Iterator<Item = String>) {
        let before = self.paths.len();
        self.paths.extend(paths);
        self.counts.push(self.paths.len().saturating_sub(before));
    }

    /// The values of each domain's nodes.
    fn read(self, nodes: &dyn Nodes) -> Result<Vec<Values>, StoreError> {
        let paths: Vec<&str> = self.paths.iter().map(String::as_str).collect();
        let values = if paths.is_empty() { Vec::new() } else { nodes.read_each(&paths)? };
        let mut read = self.paths.into_iter().zip(values);
        Ok(self.counts.into_iter().map(|count| read.by_ref().take(count).collect()).collect())
    }
}
