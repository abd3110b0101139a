//! The sim through its public interface.

mod balloons;
mod directories;
mod faults;
mod hypercalls;
mod observers;
mod processes;
mod transactions;
mod watches;
mod wire;
mod worlds;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;
use tempfile::TempDir;
use xen::hypervisor::HypervisorError;
use xen::xenstore::{Answer, Store, StoreError};
use xen::{DomId, Host as _};

use crate::{Faults, SimHost, StartWorld, World};

const TARGET: &str = "/local/domain/7/memory/target";

fn dom(number: u32) -> DomId {
    DomId::new(number).unwrap()
}

fn host_in(dir: &Path, faults: &str) -> SimHost {
    SimHost::open_with(Some(dir), StartWorld::Start, faults.parse().unwrap()).unwrap()
}

fn host(faults: &str) -> (TempDir, SimHost) {
    let dir = tempfile::tempdir().unwrap();
    let host = host_in(dir.path(), faults);
    (dir, host)
}

fn in_memory(world: World) -> (Arc<Mutex<World>>, SimHost) {
    let world = Arc::new(Mutex::new(world));
    let host = SimHost::in_memory(&world, Path::new("/nonexistent"), Faults::default());
    (world, host)
}

fn connect(host: &SimHost) -> Box<dyn Store> {
    host.connect().unwrap()
}

fn read(host: &SimHost, path: &str) -> Option<String> {
    let value = connect(host).read_each(&[path]).unwrap().remove(0);
    value.map(|value| String::from_utf8(value).unwrap())
}

/// Sets the target of `web` in a transaction.
fn set_target(host: &SimHost, value: &str) -> Result<(), StoreError> {
    let store = host.connect()?;
    let transaction = store.begin()?;
    transaction.read_each(&[TARGET])?;
    transaction.write_each(&[(TARGET, value)])?;
    transaction.commit()
}

fn says(result: Result<impl Sized, StoreError>, answer: &Answer) -> bool {
    result.is_err_and(|error| error.is(answer))
}

fn errno(result: Result<impl Sized, HypervisorError>) -> Option<Errno> {
    result.err().and_then(|error| error.errno())
}

/// The names in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
