//! The sim at its seams: transactions, hypercalls, faults, and several processes at once.

mod faults;
mod hypercalls;
mod processes;
mod transactions;

use std::io;

use rustix::io::Errno;
use tempfile::TempDir;

use super::SimHost;
use crate::domain::DomId;
use crate::host::Host as _;
use crate::hypervisor::HypervisorError;
use crate::xenstore::{Answer, StoreError, Xs as _, XsTransaction as _, XsTransactionSpan as _};

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
