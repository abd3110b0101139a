//! The sim at its seams: transactions, hypercalls, faults, and several processes at once.

mod faults;
mod hypercalls;
mod kept;
mod processes;
mod transactions;

use std::path::Path;
use std::{fs, io};

use rustix::io::Errno;
use tempfile::TempDir;

use super::SimHost;
use crate::domain::DomId;
use crate::host::Host as _;
use crate::hypervisor::HypervisorError;
use crate::xenstore::{Answer, StoreError, Xs as _, XsTransaction as _, XsTransactionSpan as _};

/// The names of what is in a folder, sorted.
pub(super) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const TARGET: &str = "/local/domain/7/memory/target";

fn dom(number: u32) -> DomId {
    DomId::new(number).unwrap()
}

fn host_in(dir: &TempDir, faults: &str) -> SimHost {
    SimHost::with_faults(Some(dir.path()), faults.parse().unwrap()).unwrap()
}

fn host(faults: &str) -> (TempDir, SimHost) {
    let dir = tempfile::tempdir().unwrap();
    let host = host_in(&dir, faults);
    (dir, host)
}

/// A folder with a world of so many guests in it, called `vm1` and so on, all at rest.
fn many(guests: u32) -> TempDir {
    let mut domains = serde_json::Map::new();
    let mut nodes = serde_json::Map::new();
    for domid in 0..=guests {
        let (kib, limit, most) = match domid {
            0 => (2_097_152, 17_179_869_180_u64, "17179869180"),
            _ => (65_536, 66_560, "131072"),
        };
        let uuid = format!("00000000-0000-4000-8000-{domid:012x}");
        domains.insert(
            domid.to_string(),
            serde_json::json!({ "uuid": uuid, "current_kib": kib, "limit_kib": limit }),
        );
        for (name, value) in [
            ("name", format!("vm{domid}")),
            ("vm", format!("/vm/{uuid}")),
            ("memory/target", kib.to_string()),
            ("memory/static-max", most.to_owned()),
            ("memory/videoram", "0".to_owned()),
        ] {
            nodes.insert(format!("/local/domain/{domid}/{name}"), value.into());
        }
        nodes.insert(format!("/vm/{uuid}/memory"), (kib / 1024).to_string().into());
    }
    let memory = 4_u64 << 30;
    let world = serde_json::json!({
        "version": 1, "memory_kib": memory, "domains": domains, "xenstore": nodes,
    });
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("world.json"), format!("{world:#}")).unwrap();
    dir
}

fn says(result: io::Result<impl Sized>, answer: &Answer) -> bool {
    result.is_err_and(|error| StoreError::is(&error, answer))
}

fn is_closed(result: io::Result<impl Sized>) -> bool {
    result.is_err_and(|error| matches!(StoreError::of(&error), Some(StoreError::Closed { .. })))
}

fn errno(result: Result<impl Sized, HypervisorError>) -> Option<Errno> {
    result.err().and_then(|error| error.errno())
}

/// Sets the target in a transaction.
fn set_target(host: &SimHost, value: &str) -> io::Result<()> {
    let span = host.connect()?.transaction()?;
    span.read(TARGET)?;
    span.write(TARGET, value)?;
    span.commit()
}

fn target(dir: &TempDir) -> String {
    host_in(dir, "").connect().unwrap().read(TARGET).unwrap().into()
}
