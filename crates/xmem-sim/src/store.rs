//! xen's [`Store`] and [`Transaction`] over the world.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use xen::DomId;
use xen::xenstore::{Answer, Nodes, Store, StoreError, Transaction, Values};

use crate::observer::{Call, Failure};
use crate::sim::{Sim, locked};
use crate::world::World;
use crate::xenstore::{Overlay, Watches, is_path};

/// The interval at which a wait for a change reads the world.
const POLL: Duration = Duration::from_millis(20);

/// A connection to the sim's xenstore, or a transaction on it.
#[derive(Debug)]
pub(crate) struct SimStore {
    connection: Arc<Connection>,
    /// The transaction's state. A request without one is a transaction of its own.
    overlay: Option<RefCell<Overlay>>,
}

#[derive(Debug)]
struct Connection {
    sim: Arc<Sim>,
    is_broken: AtomicBool,
    watches: Mutex<Watches>,
}

impl SimStore {
    pub(crate) fn connect(sim: &Arc<Sim>) -> Result<Self, StoreError> {
        sim.call(&Call::Connect, || Ok(()), Call::store_error)?;
        let (sim, is_broken) = (Arc::clone(sim), AtomicBool::new(false));
        let connection = Arc::new(Connection { sim, is_broken, watches: Mutex::default() });
        Ok(Self { connection, overlay: None })
    }

    /// Makes the request `call` by `act`.
    fn request<R>(
        &self,
        call: &Call<'_>,
        act: impl FnOnce(&mut World) -> Result<R, Answer>,
    ) -> Result<R, StoreError> {
        let Connection { sim, is_broken, .. } = &*self.connection;
        if !self.is_usable() {
            return Err(call.store_error(Failure::Unusable));
        }
        if !call.paths().into_iter().all(is_path) {
            let answer = Answer::Other("EINVAL".to_owned());
            return Err(call.store_error(Failure::Answer(answer)));
        }
        let act = || match sim.with(act) {
            Ok(result) => result.map_err(|answer| call.store_error(Failure::Answer(answer))),
            Err(error) => {
                is_broken.store(true, Ordering::Relaxed);
                let source = io::Error::other(error);
                Err(StoreError::Transport { request: call.to_string(), source })
            }
        };
        sim.call(call, act, |call, failure| {
            is_broken.store(!matches!(failure, Failure::Answer(_)), Ordering::Relaxed);
            call.store_error(failure)
        })
    }

    /// Reads each of `paths` for the request `call`.
    fn read(&self, call: &Call<'_>, paths: &[&str]) -> Result<Values, StoreError> {
        self.request_in(call, |overlay, world| {
            let values = paths.iter().map(|path| overlay.read(world, path));
            values.map(|value| value.map(String::into_bytes)).collect()
        })
    }

    /// Makes the request `call` in the transaction.
    fn request_in<R>(
        &self,
        call: &Call<'_>,
        act: impl FnOnce(&mut Overlay, &World) -> R,
    ) -> Result<R, StoreError> {
        self.request(call, |world| {
            if let Some(overlay) = &self.overlay {
                return Ok(act(&mut overlay.borrow_mut(), world));
            }
            let mut overlay = Overlay::default();
            let result = act(&mut overlay, world);
            overlay.commit(world).map(|()| result)
        })
    }
}

impl Nodes for SimStore {
    fn read_each(&self, paths: &[&str]) -> Result<Values, StoreError> {
        self.read(&Call::Read(paths), paths)
    }

    fn write_each(&self, nodes: &[(&str, &str)]) -> Result<(), StoreError> {
        self.request_in(&Call::Write(nodes), |overlay, world| {
            for (path, value) in nodes {
                overlay.write(world, path, value);
            }
        })
    }

    fn list(&self, path: &str) -> Result<Option<Vec<String>>, StoreError> {
        self.request_in(&Call::List(path), |overlay, world| overlay.list(world, path))
    }

    fn may_write_any(&self, domid: DomId, paths: &[&str]) -> Result<bool, StoreError> {
        self.request(&Call::Permissions(domid, paths), |world| {
            Ok(paths.iter().any(|path| world.owner(path) == Some(domid.get())))
        })
    }
}

impl Store for SimStore {
    fn begin_beside(
        &self,
        paths: &[&str],
    ) -> Result<(Box<dyn Transaction + '_>, Values), StoreError> {
        let values = self.read(&Call::Begin, paths)?;
        let connection = Arc::clone(&self.connection);
        Ok((Box::new(Self { connection, overlay: Some(RefCell::default()) }), values))
    }

    fn watch(&self, paths: &[&str]) -> Result<(), StoreError> {
        self.request(&Call::Watch(paths), |world| {
            locked(&self.connection.watches).add(world, paths);
            Ok(())
        })
    }

    fn unwatch(&self, paths: &[&str]) -> Result<(), StoreError> {
        self.request(&Call::Unwatch(paths), |_| {
            locked(&self.connection.watches).remove(paths);
            Ok(())
        })
    }

    fn changes(&self, wait: Duration) -> Result<Vec<String>, StoreError> {
        let Connection { sim, watches, .. } = &*self.connection;
        let start = Instant::now();
        loop {
            if !self.is_usable() {
                return Err(Call::Watch(&[]).store_error(Failure::Unusable));
            }
            let mut watches = locked(watches);
            // An editor may be writing the file at this moment: the next read finds the change.
            drop(sim.read(|world| watches.collect(world)));
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
        !self.connection.is_broken.load(Ordering::Relaxed)
    }
}

impl Transaction for SimStore {
    fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.request(&Call::Commit, |world| {
            self.overlay.iter().try_for_each(|overlay| overlay.borrow().commit(world))
        })
    }
}
