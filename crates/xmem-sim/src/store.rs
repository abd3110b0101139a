//! xen's [`Store`] and [`Transaction`] over the world.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use xen::DomId;
use xen::xenstore::{Answer, Nodes, Store, StoreError, Transaction};

use crate::observer::{Call, Failure};
use crate::sim::{Sim, locked};
use crate::world::World;
use crate::xenstore::{Overlay, Watches, is_path};

/// The longest payload of a message (`XENSTORE_PAYLOAD_MAX`, `xs_wire.h`).
const PAYLOAD_MAX: usize = 4096;

/// How often a wait for a change looks at the world.
const POLL: Duration = Duration::from_millis(20);

/// A connection to the sim's xenstore.
#[derive(Debug)]
pub(crate) struct SimStore {
    sim: Arc<Sim>,
    is_broken: AtomicBool,
    watches: Mutex<Watches>,
}

#[derive(Debug)]
struct SimTransaction<'a> {
    store: &'a SimStore,
    overlay: RefCell<Overlay>,
}

impl SimStore {
    pub(crate) fn connect(sim: &Arc<Sim>) -> Result<Self, StoreError> {
        let call = Call::Connect;
        sim.call(&call, || Ok(()), |failure| call.store_error(failure))?;
        let (sim, watches) = (Arc::clone(sim), Mutex::default());
        Ok(Self { sim, is_broken: AtomicBool::new(false), watches })
    }

    /// Makes the request `call`, which does `act`.
    fn request<R>(
        &self,
        call: &Call<'_>,
        act: impl FnOnce(&mut World) -> Result<R, Answer>,
    ) -> Result<R, StoreError> {
        if !self.is_usable() {
            return Err(call.store_error(Failure::Unusable));
        }
        check(call)?;
        let act = || match self.sim.with(act) {
            Ok(result) => result.map_err(|answer| call.store_error(Failure::Answer(answer))),
            Err(error) => {
                let source = io::Error::other(error);
                Err(StoreError::Transport { request: call.to_string(), source })
            }
        };
        self.sim.call(call, act, |failure| {
            if !matches!(failure, Failure::Answer(_)) {
                self.is_broken.store(true, Ordering::Relaxed);
            }
            call.store_error(failure)
        })
    }
}

/// Whether the request can be sent, and xenstored takes its paths.
fn check(call: &Call<'_>) -> Result<(), StoreError> {
    let is_watch = matches!(call, Call::Watch(_) | Call::Unwatch(_));
    for (path, value) in call.nodes() {
        let request = call.to_string();
        let length = path.len().saturating_add(value.len()).saturating_add(1);
        if length > PAYLOAD_MAX {
            let what = "path and value together are longer than 4096 bytes";
            return Err(StoreError::Unsendable { request, what });
        }
        if path.contains('\0') {
            let what = "its path has a NUL in it";
            return Err(StoreError::Unsendable { request, what });
        }
        let is_special = is_watch && path.starts_with('@');
        if !is_path(path) && !is_special {
            let answer = Answer::Other("EINVAL".to_owned());
            return Err(StoreError::Answered { answer, request });
        }
    }
    Ok(())
}

fn bytes(value: impl Into<String>) -> Vec<u8> {
    value.into().into_bytes()
}

impl Nodes for SimStore {
    fn read_each(&self, paths: &[&str]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.request(&Call::Read(paths), |world| {
            Ok(paths.iter().map(|path| world.read(path).map(bytes)).collect())
        })
    }

    fn write_each(&self, nodes: &[(&str, &str)]) -> Result<(), StoreError> {
        self.request(&Call::Write(nodes), |world| {
            for (path, value) in nodes {
                world.write(path, value);
            }
            Ok(())
        })
    }

    fn list(&self, path: &str) -> Result<Option<Vec<String>>, StoreError> {
        self.request(&Call::List(path), |world| Ok(world.list(path)))
    }

    fn may_write_any(&self, domid: DomId, paths: &[&str]) -> Result<bool, StoreError> {
        let call = Call::Permissions(domid, paths);
        self.request(&call, |world| Ok(world.may_write_any(domid, paths)))
    }
}

impl Store for SimStore {
    fn begin(&self) -> Result<Box<dyn Transaction + '_>, StoreError> {
        self.request(&Call::Begin, |_| Ok(()))?;
        Ok(Box::new(SimTransaction { store: self, overlay: RefCell::default() }))
    }

    fn watch(&self, paths: &[&str]) -> Result<(), StoreError> {
        self.request(&Call::Watch(paths), |world| {
            let mut watches = locked(&self.watches);
            for path in paths {
                watches.add(world, path);
            }
            Ok(())
        })
    }

    fn unwatch(&self, paths: &[&str]) -> Result<(), StoreError> {
        self.request(&Call::Unwatch(paths), |_| {
            let mut watches = locked(&self.watches);
            for path in paths {
                watches.remove(path);
            }
            Ok(())
        })
    }

    fn changes(&self, wait: Duration) -> Result<Vec<String>, StoreError> {
        let start = Instant::now();
        loop {
            if !self.is_usable() {
                return Err(Call::Watch(&[]).store_error(Failure::Unusable));
            }
            let mut watches = locked(&self.watches);
            if !watches.is_empty() {
                // A world that somebody is just writing by hand cannot be read: look again later.
                drop(self.sim.look(|world| watches.collect(world)));
            }
            let events = watches.take_events();
            drop(watches);
            let left = wait.saturating_sub(start.elapsed());
            if !events.is_empty() || left.is_zero() {
                return Ok(events);
            }
            thread::sleep(POLL.min(left));
        }
    }

    fn is_usable(&self) -> bool {
        !self.is_broken.load(Ordering::Relaxed)
    }
}

impl Nodes for SimTransaction<'_> {
    fn read_each(&self, paths: &[&str]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.store.request(&Call::Read(paths), |world| {
            let mut overlay = self.overlay.borrow_mut();
            Ok(paths.iter().map(|path| overlay.read(world, path).map(bytes)).collect())
        })
    }

    fn write_each(&self, nodes: &[(&str, &str)]) -> Result<(), StoreError> {
        self.store.request(&Call::Write(nodes), |world| {
            let mut overlay = self.overlay.borrow_mut();
            for (path, value) in nodes {
                overlay.write(world, path, value);
            }
            Ok(())
        })
    }

    fn list(&self, path: &str) -> Result<Option<Vec<String>>, StoreError> {
        self.store
            .request(&Call::List(path), |world| Ok(self.overlay.borrow_mut().list(world, path)))
    }

    fn may_write_any(&self, domid: DomId, paths: &[&str]) -> Result<bool, StoreError> {
        self.store.may_write_any(domid, paths)
    }
}

impl Transaction for SimTransaction<'_> {
    fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.store.request(&Call::Commit, |world| self.overlay.borrow().commit(world))
    }
}
