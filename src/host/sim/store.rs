//! xenstore-rs's traits over the world's tree.
//!
//! Owns transactions: a snapshot at the start, C xenstored's rule at the end. Each node that a
//! transaction has read, or has had to look at in order to write or remove, must still be what it
//! was; a write of the same value by somebody else makes it another. What it changed is then done in
//! one replacement of the world. Transactions live in their process, and die with it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::fault::Fault;
use super::sim::Sim;
use super::tree::{Tree, ancestors, invalid, parent, path_flaw};
use crate::xenstore::{Answer, Batch, StoreError, Watching, Xs, XsTransaction, XsTransactionSpan};

/// The longest payload of a message (`XENSTORE_PAYLOAD_MAX`, `xs_wire.h`).
const LONGEST_PAYLOAD: usize = 4096;

/// A connection to the sim's xenstore.
#[derive(Debug)]
pub struct SimStore {
    connection: Connection,
}

/// A transaction of a [`SimStore`].
#[derive(Debug)]
pub struct SimSpan {
    connection: Connection,
    state: RefCell<State>,
}

/// What a transaction has seen and done.
#[derive(Debug)]
struct State {
    /// The tree at the start.
    start: Tree,
    /// The tree as the transaction sees it.
    view: Tree,
    /// The nodes that must be at the end what they were at the start.
    seen: BTreeSet<String>,
    /// What to do at the end.
    changes: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write(String, String),
    Remove(String),
}

/// What a connection and its transactions share.
#[derive(Clone, Debug)]
struct Connection {
    sim: Arc<Sim>,
    closed: Arc<AtomicBool>,
}

impl SimStore {
    /// Connects.
    pub(super) fn connect(sim: &Arc<Sim>) -> io::Result<Self> {
        if sim.faults.has(Fault::StoreDown) || sim.store_is_lost.load(Ordering::Relaxed) {
            let source = io::Error::from(rustix::io::Errno::CONNREFUSED);
            return Err(StoreError::Unreachable { path: sim.folder.world(), source }.into());
        }
        let closed = Arc::new(AtomicBool::new(false));
        Ok(Self { connection: Connection { sim: Arc::clone(sim), closed } })
    }
}

impl Connection {
    /// Checks that `request` can be made at all.
    fn check(&self, request: &Request<'_>) -> io::Result<()> {
        let Request { kind, path, value } = request;
        if self.closed.load(Ordering::Relaxed) {
            return Err(StoreError::Closed { request: request.text() }.into());
        }
        // The path goes with a NUL behind it.
        if path.len().saturating_add(1).saturating_add(value.len()) > LONGEST_PAYLOAD {
            let what = "it is longer than 4096 bytes";
            return Err(StoreError::Unsendable { request: request.text(), what }.into());
        }
        if path.contains('\0') {
            let what = "there is a NUL in its path";
            return Err(StoreError::Unsendable { request: request.text(), what }.into());
        }
        if path_flaw(path).is_some() {
            return Err(request.answer(invalid()));
        }
        if *kind == "WRITE" && self.sim.faults.has(Fault::StoreFull) {
            return Err(request.answer(Answer::NoSpace));
        }
        Ok(())
    }

    /// Carries out `request` on the world as it is now.
    fn carry_out<R>(
        &self,
        request: &Request<'_>,
        act: impl FnOnce(&mut Tree) -> Result<R, Answer>,
    ) -> io::Result<R> {
        self.check(request)?;
        self.on_world(&request.text(), act)?.map_err(|answer| request.answer(answer))
    }

    fn on_world<R>(&self, request: &str, act: impl FnOnce(&mut Tree) -> R) -> io::Result<R> {
        self.sim.with(|world| act(&mut world.xenstore)).map_err(|error| {
            StoreError::Transport { request: request.to_owned(), source: error.into() }.into()
        })
    }
}

/// A request, as messages name it.
struct Request<'a> {
    kind: &'static str,
    path: &'a str,
    value: &'a str,
}

impl<'a> Request<'a> {
    const fn new(kind: &'static str, path: &'a str) -> Self {
        Self { kind, path, value: "" }
    }

    fn text(&self) -> String {
        format!("{} {}", self.kind, self.path)
    }

    fn answer(&self, answer: Answer) -> io::Error {
        StoreError::Answered { answer, request: self.text() }.into()
    }
}

impl Xs for SimStore {
    fn directory(&self, path: &str) -> io::Result<Vec<Box<str>>> {
        self.connection.carry_out(&Request::new("DIRECTORY", path), |tree| tree.directory(path))
    }

    fn read(&self, path: &str) -> io::Result<Box<str>> {
        self.connection
            .carry_out(&Request::new("READ", path), |tree| tree.read(path).map(Box::from))
    }

    fn write(&self, path: &str, data: &str) -> io::Result<()> {
        let request = Request { value: data, ..Request::new("WRITE", path) };
        self.connection.carry_out(&request, |tree| {
            tree.write(path, data);
            Ok(())
        })
    }

    fn rm(&self, path: &str) -> io::Result<()> {
        self.connection.carry_out(&Request::new("RM", path), |tree| tree.rm(path))
    }
}

/// All at once, as the world is at one moment: to read it from its file takes as long as the host is large.
impl Batch for SimStore {
    fn read_each(&self, paths: &[&str]) -> io::Result<Vec<Option<Box<str>>>> {
        for path in paths {
            self.connection.check(&Request::new("READ", path))?;
        }
        self.connection.on_world("READ", |tree| {
            paths.iter().map(|path| tree.value(path).map(Box::from)).collect()
        })
    }

    fn is_usable(&self) -> bool {
        !self.connection.closed.load(Ordering::Relaxed)
    }
}

/// The sim tells nobody: whoever watches it looks again from time to time.
impl Watching for SimStore {}

impl XsTransaction for SimStore {
    type Span = SimSpan;

    fn transaction(&self) -> io::Result<SimSpan> {
        const REQUEST: &str = "TRANSACTION_START";
        if self.connection.closed.load(Ordering::Relaxed) {
            return Err(StoreError::Closed { request: REQUEST.to_owned() }.into());
        }
        let start = self.connection.on_world(REQUEST, |tree| tree.clone())?;
        let view = start.clone();
        let state = State { start, view, seen: BTreeSet::new(), changes: Vec::new() };
        Ok(SimSpan { connection: self.connection.clone(), state: RefCell::new(state) })
    }
}

impl State {
    fn see(&mut self, path: &str) {
        self.seen.insert(path.to_owned());
    }

    /// Sees what xenstored reads in order to write `path`: it, or, where it is missing, every missing
    /// parent and the one that is there.
    fn see_for_write(&mut self, path: &str) {
        self.see(path);
        if self.view.get(path).is_none() {
            for parent in ancestors(path) {
                self.see(parent);
                if self.view.get(parent).is_some() {
                    break;
                }
            }
        }
    }

    /// Sees what xenstored reads in order to remove `path`: it, everything below, and its parent.
    fn see_for_rm(&mut self, path: &str) {
        let below: Vec<String> = self.view.below(path).map(str::to_owned).collect();
        self.seen.extend(below);
        self.see(path);
        if let Some(parent) = parent(path) {
            self.see(parent);
        }
    }

    /// Does all changes to `tree`, or none.
    fn commit(&self, tree: &mut Tree) -> Result<(), Answer> {
        if self.seen.iter().any(|path| self.start.get(path) != tree.get(path)) {
            return Err(Answer::Again);
        }
        for change in &self.changes {
            match change {
                Change::Write(path, value) => tree.write(path, value),
                // It was there, or its parent was, when the transaction did this.
                Change::Remove(path) => tree.rm(path)?,
            }
        }
        Ok(())
    }
}

impl Xs for SimSpan {
    fn directory(&self, path: &str) -> io::Result<Vec<Box<str>>> {
        let request = Request::new("DIRECTORY", path);
        self.connection.check(&request)?;
        let mut state = self.state.borrow_mut();
        state.see(path);
        state.view.directory(path).map_err(|answer| request.answer(answer))
    }

    fn read(&self, path: &str) -> io::Result<Box<str>> {
        let request = Request::new("READ", path);
        self.connection.check(&request)?;
        let mut state = self.state.borrow_mut();
        state.see(path);
        state.view.read(path).map(Box::from).map_err(|answer| request.answer(answer))
    }

    fn write(&self, path: &str, data: &str) -> io::Result<()> {
        self.connection.check(&Request { value: data, ..Request::new("WRITE", path) })?;
        let mut state = self.state.borrow_mut();
        state.see_for_write(path);
        state.view.write(path, data);
        state.changes.push(Change::Write(path.to_owned(), data.to_owned()));
        Ok(())
    }

    fn rm(&self, path: &str) -> io::Result<()> {
        let request = Request::new("RM", path);
        self.connection.check(&request)?;
        let mut state = self.state.borrow_mut();
        state.see_for_rm(path);
        state.view.rm(path).map_err(|answer| request.answer(answer))?;
        state.changes.push(Change::Remove(path.to_owned()));
        Ok(())
    }
}

impl Batch for SimSpan {}

/// Ends the process as `kill -9` does: nothing is cleaned up.
fn kill() {
    let killed =
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    tracing::error!(?killed, "still alive");
}

impl XsTransactionSpan for SimSpan {
    fn commit(self) -> io::Result<()> {
        const REQUEST: &str = "TRANSACTION_END";
        let Self { connection, state } = self;
        let closed = || io::Error::from(StoreError::Closed { request: REQUEST.to_owned() });
        if connection.closed.load(Ordering::Relaxed) {
            return Err(closed());
        }
        let answered = |answer| StoreError::Answered { answer, request: REQUEST.to_owned() };
        let sim = &connection.sim;
        if sim.has_turn(Fault::KillBeforeCommit) {
            kill();
        }
        if sim.faults.has(Fault::Conflict) || sim.has_turn(Fault::ConflictOnce) {
            return Err(answered(Answer::Again).into());
        }
        let lost_for_good = sim.has_turn(Fault::CommitUnknown);
        let lost_undone = lost_for_good || sim.has_turn(Fault::CommitLostUndone);
        let result = if lost_undone {
            Ok(())
        } else {
            let state = state.into_inner();
            connection.on_world(REQUEST, |tree| state.commit(tree))?
        };
        if sim.has_turn(Fault::KillAfterCommit) {
            kill();
        }
        if lost_undone || sim.has_turn(Fault::CommitLostDone) {
            connection.closed.store(true, Ordering::Relaxed);
            sim.store_is_lost.store(lost_for_good, Ordering::Relaxed);
            return Err(closed());
        }
        result.map_err(|answer| answered(answer).into())
    }
}
