//! The host of one run: xmem's two seams to the shared world.
//!
//! Owns nothing but the translation of each request to one call of its process. A connection that has
//! broken stays broken.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;
use std::rc::Rc;

use xmem::domain::DomId;
use xmem::host::Host;
use xmem::hypervisor::{DomainInfo, HostMemory, Hypervisor, HypervisorError, Pod};
use xmem::size::Kib;
use xmem::xenstore::{Batch, Watching, Xs, XsTransaction, XsTransactionSpan};

use crate::mishap::{Call, Trouble};
use crate::process::Process;
use crate::world::{Transaction, World};

pub(crate) struct ProcessHost {
    process: Rc<Process>,
    hypervisor: ProcessHypervisor,
}

impl ProcessHost {
    pub(crate) fn new(process: &Rc<Process>) -> Self {
        let hypervisor = ProcessHypervisor(Rc::clone(process));
        Self { process: Rc::clone(process), hypervisor }
    }
}

impl Host for ProcessHost {
    type Store = Connection;
    type Hypervisor = ProcessHypervisor;

    fn connect(&self) -> io::Result<Connection> {
        self.process.call(Call::Connect, |_| ()).map_err(Trouble::of_store)?;
        Ok(Connection(Line { process: Rc::clone(&self.process), broken: Rc::default() }))
    }

    fn hypervisor(&self) -> &ProcessHypervisor {
        &self.hypervisor
    }

    fn state_dir(&self) -> &Path {
        self.process.state_dir()
    }

    fn simulated(&self) -> bool {
        true
    }
}

/// What a connection and its transactions share.
#[derive(Clone)]
struct Line {
    process: Rc<Process>,
    broken: Rc<Cell<bool>>,
}

impl Line {
    fn send<R>(&self, call: Call, act: impl FnOnce(&mut World) -> R) -> io::Result<R> {
        if self.broken.get() {
            return Err(Trouble::Unusable.of_store());
        }
        self.process.call(call, act).map_err(|trouble| {
            self.broken.set(!matches!(trouble, Trouble::Answer(_)));
            trouble.of_store()
        })
    }
}

fn found(value: Option<Box<str>>) -> io::Result<Box<str>> {
    value.ok_or_else(|| Trouble::Answer("ENOENT").of_store())
}

/// What a change has no business doing.
fn unexpected<R>() -> io::Result<R> {
    panic!("a change reads and writes in a transaction, and lists and removes nothing")
}

pub(crate) struct Connection(Line);

impl Xs for Connection {
    fn directory(&self, _: &str) -> io::Result<Vec<Box<str>>> {
        unexpected()
    }

    fn read(&self, path: &str) -> io::Result<Box<str>> {
        found(self.0.send(Call::Read, |world| world.read(path))?)
    }

    fn write(&self, _: &str, _: &str) -> io::Result<()> {
        unexpected()
    }

    fn rm(&self, _: &str) -> io::Result<()> {
        unexpected()
    }
}

impl Batch for Connection {
    fn read_each(&self, paths: &[&str]) -> io::Result<Vec<Option<Box<str>>>> {
        self.0.send(Call::Read, |world| paths.iter().map(|path| world.read(path)).collect())
    }
}

impl Watching for Connection {}

impl XsTransaction for Connection {
    type Span = Span;

    fn transaction(&self) -> io::Result<Span> {
        let transaction = self.0.send(Call::Start, |world| world.start())?;
        Ok(Span { line: self.0.clone(), transaction: RefCell::new(transaction) })
    }
}

pub(crate) struct Span {
    line: Line,
    transaction: RefCell<Transaction>,
}

impl Xs for Span {
    fn directory(&self, _: &str) -> io::Result<Vec<Box<str>>> {
        unexpected()
    }

    fn read(&self, path: &str) -> io::Result<Box<str>> {
        found(self.line.send(Call::Read, |_| self.transaction.borrow_mut().read(path))?)
    }

    fn write(&self, path: &str, value: &str) -> io::Result<()> {
        self.write_each(&[(path, value)])
    }

    fn rm(&self, _: &str) -> io::Result<()> {
        unexpected()
    }
}

impl Batch for Span {
    fn read_each(&self, paths: &[&str]) -> io::Result<Vec<Option<Box<str>>>> {
        self.line.send(Call::Read, |_| {
            let mut transaction = self.transaction.borrow_mut();
            paths.iter().map(|path| transaction.read(path)).collect()
        })
    }

    fn write_each(&self, nodes: &[(&str, &str)]) -> io::Result<()> {
        self.line.send(Call::Write, |_| {
            let mut transaction = self.transaction.borrow_mut();
            for (path, value) in nodes {
                transaction.write(path, value);
            }
        })
    }
}

impl XsTransactionSpan for Span {
    fn commit(self) -> io::Result<()> {
        let Self { line, transaction } = self;
        let done = line.send(Call::Commit, |world| world.commit(&transaction.borrow()))?;
        if done { Ok(()) } else { Err(Trouble::Answer("EAGAIN").of_store()) }
    }
}

pub(crate) struct ProcessHypervisor(Rc<Process>);

impl Hypervisor for ProcessHypervisor {
    fn domain(&self, _: DomId) -> Result<Option<DomainInfo>, HypervisorError> {
        self.0.call(Call::Look, |world| Some(world.info())).map_err(Trouble::of_xen)
    }

    fn domains(&self) -> Result<Vec<DomainInfo>, HypervisorError> {
        panic!("the domain was named by its domid")
    }

    fn set_limit(&self, _: DomId, limit: Kib) -> Result<(), HypervisorError> {
        self.0.call(Call::SetLimit, |world| world.set_limit(limit)).map_err(Trouble::of_xen)
    }

    fn pod(&self, _: DomId) -> Result<Pod, HypervisorError> {
        panic!("no device is passed through")
    }

    fn set_pod_target(&self, _: DomId, _: Kib) -> Result<(), HypervisorError> {
        self.0.call(Call::SetPod, |_| ()).map_err(Trouble::of_xen)
    }

    fn host_memory(&self) -> Result<HostMemory, HypervisorError> {
        let much = Kib(64 << 20);
        let memory = HostMemory { total: much, free: much, scrub: Kib(0), claimed: Kib(0) };
        self.0.call(Call::HostMemory, |_| memory).map_err(Trouble::of_xen)
    }
}
