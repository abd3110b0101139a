//! A sim whose every call is told to the test before it is made.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use serde_json::Value;
use tempfile::TempDir;
use xmem::change::{Outcome, Request, change};
use xmem::domain::DomId;
use xmem::error::Failure;
use xmem::host::Host;
use xmem::host::sim::{Fault, Faults, SimHost, SimHypervisor, SimSpan, SimStore};
use xmem::hypervisor::{DomainInfo, HostMemory, Hypervisor, HypervisorError, Pod};
use xmem::plan::Wish;
use xmem::signals::Signals;
use xmem::size::Kib;
use xmem::xenstore::{Batch, StoreError, Watching, Xs, XsTransaction, XsTransactionSpan};

/// The UUID of `web`, which all these tests are about.
pub(crate) const WEB: &str = "00000000-0000-4000-8000-000000000007";
/// `web`'s numbers in the start world.
pub(crate) const START: Numbers = (1_048_576, 2_097_152, 1_049_600);

/// Target, static-max and limit, in KiB.
pub(crate) type Numbers = (u64, u64, u64);

/// A call that is about to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Connect,
    /// getdomaininfo.
    Look,
    Start,
    Read(String),
    Write(String),
    /// Who may write.
    Permissions,
    SetLimit(u64),
    SetPod,
    Commit,
    /// physinfo.
    HostMemory,
    /// getdomaininfolist.
    LookAround,
}

/// What becomes of it.
#[derive(Debug)]
pub(crate) enum Then {
    /// It is made.
    Go,
    /// It fails, without an effect.
    Fail(Error),
    /// It is made, and fails all the same.
    DoAndFail(Error),
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// By the hypervisor's word.
    Xen(Errno),
    /// By xenstored's word.
    Answer(&'static str),
    /// The connection is gone.
    Closed,
    /// The connection was gone before: it was not sent.
    Unusable,
    /// No answer in time.
    Deadline,
}

impl Error {
    fn of_store(self) -> io::Error {
        use xmem::xenstore::Answer;
        let request = "REQUEST".to_owned();
        match self {
            Self::Answer(name) => {
                StoreError::Answered { answer: Answer::named(name), request }.into()
            }
            Self::Closed | Self::Xen(_) => StoreError::Closed { request }.into(),
            Self::Unusable => StoreError::Unusable { request, earlier: "closed".to_owned() }.into(),
            Self::Deadline => StoreError::Deadline { request, seconds: 5 }.into(),
        }
    }

    fn of_xen(self) -> HypervisorError {
        let errno = if let Self::Xen(errno) = self { errno } else { Errno::IO };
        HypervisorError::Refused { call: "CALL", source: errno.into() }
    }
}

type Hook = Box<dyn FnMut(&Step) -> Then>;

/// What every part of one watched host tells.
struct Watch {
    steps: RefCell<Vec<Step>>,
    hook: RefCell<Hook>,
    /// Whether the guest may write its own memory nodes.
    guest_writes: Cell<bool>,
}

impl Watch {
    fn at(&self, step: Step) -> Then {
        let then = (self.hook.borrow_mut())(&step);
        self.steps.borrow_mut().push(step);
        then
    }

    fn xen<R>(
        &self,
        step: Step,
        call: impl FnOnce() -> Result<R, HypervisorError>,
    ) -> Result<R, HypervisorError> {
        match self.at(step) {
            Then::Go => call(),
            Then::Fail(error) => Err(error.of_xen()),
            Then::DoAndFail(error) => call().and(Err(error.of_xen())),
        }
    }
}

/// `web` alone, as it is in the sim's start world.
const WORLD: &str = r#"{
    "version": 1, "memory_kib": 16777216,
    "domains": {
        "7": {
            "uuid": "00000000-0000-4000-8000-000000000007", "kind": "pvh",
            "current_kib": 1048576, "limit_kib": 1049600
        }
    },
    "xenstore": {
        "/local/domain/7/name": "web",
        "/local/domain/7/memory/target": "1048576",
        "/local/domain/7/memory/static-max": "2097152",
        "/local/domain/7/memory/videoram": "0",
        "/vm/00000000-0000-4000-8000-000000000007/memory": "1024"
    }
}"#;

/// A sim in a folder of its own, which is seen from outside, where no balloon moves.
pub(crate) struct Scene(TempDir);

impl Scene {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("world.json"), WORLD).unwrap();
        fs::create_dir(dir.path().join("lib")).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn state(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path().join("lib")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.path().join(format!("lib/userdata-l.7.{WEB}.domain-userdata-lock"))
    }

    pub(crate) fn intent(&self) -> PathBuf {
        self.path().join(format!("lib/userdata-d.7.{WEB}.xmem-intent"))
    }

    pub(crate) fn world(&self) -> Value {
        world(self.path())
    }

    pub(crate) fn edit(&self, by: impl FnOnce(&mut Value)) {
        edit(self.path(), by);
    }

    /// `web`'s.
    pub(crate) fn numbers(&self) -> Numbers {
        numbers(self.path())
    }

    pub(crate) fn host(&self, hook: impl FnMut(&Step) -> Then + 'static) -> Watched {
        Watched::new(self.path(), hook)
    }

    /// A change of `web` that `hook` is told of.
    pub(crate) fn change(
        &self,
        wish: &Wish,
        hook: impl FnMut(&Step) -> Then + 'static,
    ) -> Result<Outcome, Failure> {
        self.host(hook).change(&request(wish))
    }

    /// One that fails once its limit is set, and that limit cannot be put back: the record stays.
    pub(crate) fn stuck(&self, wish: &Wish) -> Failure {
        let mut limits = 0;
        let hook = move |step: &Step| match step {
            Step::SetPod => Then::Fail(Error::Xen(Errno::NOMEM)),
            Step::SetLimit(_) => {
                limits += 1;
                if limits == 2 { Then::Fail(Error::Xen(Errno::INVAL)) } else { Then::Go }
            }
            _ => Then::Go,
        };
        self.change(wish, hook).unwrap_err()
    }

    /// A change of `web` in peace.
    pub(crate) fn plain(&self, wish: &Wish) -> Result<Outcome, Failure> {
        self.change(wish, |_| Then::Go)
    }
}

pub(crate) fn sim(dir: &Path) -> SimHost {
    SimHost::with_faults(Some(dir), Faults::from_iter([Fault::GuestIgnores])).unwrap()
}

pub(crate) fn world(dir: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(dir.join("world.json")).unwrap()).unwrap()
}

pub(crate) fn edit(dir: &Path, by: impl FnOnce(&mut Value)) {
    let mut world = world(dir);
    by(&mut world);
    fs::write(dir.join("world.json"), world.to_string()).unwrap();
}

pub(crate) fn numbers(dir: &Path) -> Numbers {
    let world = world(dir);
    let node = |name: &str| {
        let path = format!("/local/domain/7/memory/{name}");
        world["xenstore"][path].as_str().unwrap().parse().unwrap()
    };
    (node("target"), node("static-max"), world["domains"]["7"]["limit_kib"].as_u64().unwrap())
}

pub(crate) fn set(size: &str) -> Wish {
    Wish::Set { size: size.parse().unwrap(), raise_max: false, force: false }
}

pub(crate) fn raise(size: &str) -> Wish {
    Wish::Set { size: size.parse().unwrap(), raise_max: true, force: false }
}

pub(crate) fn max(size: &str) -> Wish {
    Wish::Max { size: size.parse().unwrap() }
}

pub(crate) fn request(wish: &Wish) -> Request {
    Request {
        domain: "web".parse().unwrap(),
        wish: *wish,
        dry_run: false,
        lock_timeout: Duration::from_secs(60),
    }
}

/// A hook that goes off once, at the first step that `is` it, and says what becomes of that step.
pub(crate) fn at(
    is: impl Fn(&Step) -> bool,
    act: impl FnOnce() -> Then,
) -> impl FnMut(&Step) -> Then {
    let mut act = Some(act);
    move |step| match act.take_if(|_| is(step)) {
        Some(act) => act(),
        None => Then::Go,
    }
}

/// A watched host.
pub(crate) struct Watched {
    sim: Rc<SimHost>,
    watch: Rc<Watch>,
    hypervisor: WatchedHypervisor,
}

impl Watched {
    pub(crate) fn new(dir: &Path, hook: impl FnMut(&Step) -> Then + 'static) -> Self {
        let hook = RefCell::new(Box::new(hook) as Hook);
        let watch =
            Rc::new(Watch { steps: RefCell::default(), hook, guest_writes: Cell::default() });
        let sim = Rc::new(sim(dir));
        let hypervisor = WatchedHypervisor { sim: Rc::clone(&sim), watch: Rc::clone(&watch) };
        Self { sim, watch, hypervisor }
    }

    pub(crate) fn change(&self, request: &Request) -> Result<Outcome, Failure> {
        change(self, request, &mut Signals::default())
    }

    /// The guest may write its own memory nodes.
    pub(crate) fn guest_writes(self) -> Self {
        self.watch.guest_writes.set(true);
        self
    }

    /// All calls so far.
    pub(crate) fn steps(&self) -> Vec<Step> {
        self.watch.steps.borrow().clone()
    }
}

impl Host for Watched {
    type Store = WatchedStore;
    type Hypervisor = WatchedHypervisor;

    fn connect(&self) -> io::Result<WatchedStore> {
        match self.watch.at(Step::Connect) {
            Then::Go => {}
            Then::Fail(error) | Then::DoAndFail(error) => return Err(error.of_store()),
        }
        let line = Line { watch: Rc::clone(&self.watch), broken: Rc::default() };
        Ok(WatchedStore { store: self.sim.connect()?, line })
    }

    fn hypervisor(&self) -> &WatchedHypervisor {
        &self.hypervisor
    }

    fn state_dir(&self) -> &Path {
        self.sim.state_dir()
    }

    fn simulated(&self) -> bool {
        true
    }
}

/// A connection that can break.
#[derive(Clone)]
struct Line {
    watch: Rc<Watch>,
    broken: Rc<Cell<bool>>,
}

impl Line {
    fn send<R>(&self, step: Step, send: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        if self.broken.get() {
            return Err(Error::Unusable.of_store());
        }
        let (error, result) = match self.watch.at(step) {
            Then::Go => return send(),
            Then::Fail(error) => (error, Ok(())),
            Then::DoAndFail(error) => (error, send().map(drop)),
        };
        self.broken.set(!matches!(error, Error::Answer(_)));
        result.and(Err(error.of_store()))
    }

    fn guest_writes(&self) -> io::Result<bool> {
        self.send(Step::Permissions, || Ok(self.watch.guest_writes.get()))
    }
}

pub(crate) struct WatchedStore {
    store: SimStore,
    line: Line,
}

impl Xs for WatchedStore {
    fn directory(&self, path: &str) -> io::Result<Vec<Box<str>>> {
        self.line.send(Step::Read(path.to_owned()), || self.store.directory(path))
    }

    fn read(&self, path: &str) -> io::Result<Box<str>> {
        self.line.send(Step::Read(path.to_owned()), || self.store.read(path))
    }

    fn write(&self, path: &str, data: &str) -> io::Result<()> {
        self.line.send(Step::Write(path.to_owned()), || self.store.write(path, data))
    }

    fn rm(&self, path: &str) -> io::Result<()> {
        self.line.send(Step::Write(path.to_owned()), || self.store.rm(path))
    }
}

impl Batch for WatchedStore {
    fn may_write_any(&self, _: DomId, _: &[&str]) -> io::Result<bool> {
        self.line.guest_writes()
    }
}

impl Watching for WatchedStore {}

impl XsTransaction for WatchedStore {
    type Span = WatchedSpan;

    fn transaction(&self) -> io::Result<WatchedSpan> {
        let span = self.line.send(Step::Start, || self.store.transaction())?;
        Ok(WatchedSpan { span, line: self.line.clone() })
    }
}

pub(crate) struct WatchedSpan {
    span: SimSpan,
    line: Line,
}

impl Xs for WatchedSpan {
    fn directory(&self, path: &str) -> io::Result<Vec<Box<str>>> {
        self.line.send(Step::Read(path.to_owned()), || self.span.directory(path))
    }

    fn read(&self, path: &str) -> io::Result<Box<str>> {
        self.line.send(Step::Read(path.to_owned()), || self.span.read(path))
    }

    fn write(&self, path: &str, data: &str) -> io::Result<()> {
        self.line.send(Step::Write(path.to_owned()), || self.span.write(path, data))
    }

    fn rm(&self, path: &str) -> io::Result<()> {
        self.line.send(Step::Write(path.to_owned()), || self.span.rm(path))
    }
}

impl Batch for WatchedSpan {
    fn may_write_any(&self, _: DomId, _: &[&str]) -> io::Result<bool> {
        self.line.guest_writes()
    }
}

impl XsTransactionSpan for WatchedSpan {
    fn commit(self) -> io::Result<()> {
        let Self { span, line } = self;
        line.send(Step::Commit, || span.commit())
    }
}

pub(crate) struct WatchedHypervisor {
    sim: Rc<SimHost>,
    watch: Rc<Watch>,
}

impl WatchedHypervisor {
    fn real(&self) -> &SimHypervisor {
        self.sim.hypervisor()
    }
}

impl Hypervisor for WatchedHypervisor {
    fn domain(&self, domid: DomId) -> Result<Option<DomainInfo>, HypervisorError> {
        self.watch.xen(Step::Look, || self.real().domain(domid))
    }

    fn domains(&self) -> Result<Vec<DomainInfo>, HypervisorError> {
        self.watch.xen(Step::LookAround, || self.real().domains())
    }

    fn set_limit(&self, domid: DomId, limit: Kib) -> Result<(), HypervisorError> {
        self.watch.xen(Step::SetLimit(limit.0), || self.real().set_limit(domid, limit))
    }

    fn pod(&self, domid: DomId) -> Result<Pod, HypervisorError> {
        self.real().pod(domid)
    }

    fn set_pod_target(&self, domid: DomId, target: Kib) -> Result<(), HypervisorError> {
        self.watch.xen(Step::SetPod, || self.real().set_pod_target(domid, target))
    }

    fn host_memory(&self) -> Result<HostMemory, HypervisorError> {
        self.watch.xen(Step::HostMemory, || self.real().host_memory())
    }
}
