//! A host with one domain, `web`, whose balloon does not move. A hook decides on each call.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use xen::xenstore::Answer;
use xen::{Interrupt, Kib, NoInterrupt};
use xmem_core::change::{ChangeRequest, ChangeSession, Outcome};
use xmem_core::failure::{Aftermath, Failure};
use xmem_core::plan::MemoryRequest;
use xmem_sim::{
    Call, Failure as Error, Fault, Faults, GuestType, SimDomain, SimHost, Verdict, World,
};

/// `web`'s UUID.
pub(crate) const WEB: &str = "00000000-0000-4000-8000-000000000007";
/// `web`'s numbers at the start.
pub(crate) const START: Numbers = (1_048_576, 2_097_152, 1_049_600);

/// Target, static-max and limit, in KiB.
pub(crate) type Numbers = (u64, u64, u64);

/// A call, as a test records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Connect,
    Begin,
    Read(Vec<String>),
    Write(Vec<String>),
    List,
    Permissions,
    Commit,
    Domain,
    Domains,
    SetLimit(u64),
    Pod,
    SetPod(u64),
    HostMemory,
}

impl Step {
    fn of(call: &Call<'_>) -> Self {
        match call {
            Call::Connect => Self::Connect,
            Call::Begin => Self::Begin,
            Call::Read(paths) => Self::Read(paths.iter().map(|path| (*path).to_owned()).collect()),
            Call::Write(nodes) => {
                Self::Write(nodes.iter().map(|(path, _)| (*path).to_owned()).collect())
            }
            Call::List(_) => Self::List,
            Call::Permissions(..) => Self::Permissions,
            Call::Commit => Self::Commit,
            Call::Domain(_) => Self::Domain,
            Call::Domains => Self::Domains,
            Call::SetLimit(_, limit) => Self::SetLimit(limit.0),
            Call::Pod(_) => Self::Pod,
            Call::SetPod(_, target) => Self::SetPod(target.0),
            Call::HostMemory => Self::HostMemory,
            other => panic!("no change makes the call {other:?}"),
        }
    }

    pub(crate) const fn is_hypercall(&self) -> bool {
        matches!(
            self,
            Self::Domain
                | Self::Domains
                | Self::SetLimit(_)
                | Self::Pod
                | Self::SetPod(_)
                | Self::HostMemory
        )
    }

    /// Whether it changes something, if it is carried out.
    pub(crate) const fn is_change(&self) -> bool {
        matches!(self, Self::Write(_) | Self::SetLimit(_) | Self::SetPod(_) | Self::Commit)
    }
}

/// A refusal by xenstored with this errno.
pub(crate) fn answers(name: &str) -> Error {
    Error::Answer(Answer::named(name))
}

pub(crate) fn set(size: &str) -> MemoryRequest {
    MemoryRequest::Set { size: size.parse().unwrap(), raise_max: false, force: false }
}

pub(crate) fn raise(size: &str) -> MemoryRequest {
    MemoryRequest::Set { size: size.parse().unwrap(), raise_max: true, force: false }
}

pub(crate) fn max(size: &str) -> MemoryRequest {
    MemoryRequest::Max { size: size.parse().unwrap(), force: false }
}

/// Changes of each type, with the numbers that they lead to.
pub(crate) fn requests() -> [(MemoryRequest, Numbers); 5] {
    [
        (set("512M"), (524_288, 2_097_152, 525_312)),
        (set("1536M"), (1_572_864, 2_097_152, 1_573_888)),
        (raise("3G"), (3_145_728, 3_145_728, 3_146_752)),
        (max("4G"), (1_048_576, 4_194_304, 4_195_328)),
        (max("1G"), (1_048_576, 1_048_576, 1_049_600)),
    ]
}

/// A change that is refused, so that only a recovery changes anything.
pub(crate) fn refused() -> MemoryRequest {
    set("15T")
}

pub(crate) fn request(memory: MemoryRequest) -> ChangeRequest {
    ChangeRequest {
        domain: "7".parse().unwrap(),
        memory,
        keep_free: None,
        dry_run: false,
        lock_timeout: Duration::from_mins(1),
    }
}

/// The world, shared by all hosts of a scene.
#[derive(Clone)]
pub(crate) struct Shared(pub(crate) Arc<Mutex<World>>);

impl Shared {
    pub(crate) fn edit<R>(&self, act: impl FnOnce(&mut World) -> R) -> R {
        act(&mut self.0.lock().unwrap())
    }

    pub(crate) fn web(&self, act: impl FnOnce(&mut SimDomain)) {
        self.edit(|world| act(world.domains.get_mut(&7).unwrap()));
    }

    /// Writes one of `web`'s memory nodes without the lock, as a memory manager does.
    #[expect(clippy::needless_pass_by_value, reason = "the callers have numbers")]
    pub(crate) fn write(&self, node: &str, value: impl ToString) {
        self.edit(|world| {
            world.write(&format!("/local/domain/7/memory/{node}"), &value.to_string());
        });
    }

    pub(crate) fn set_limit(&self, kib: u64) {
        self.web(|web| web.limit_kib = Kib(kib));
    }

    pub(crate) fn numbers(&self) -> Numbers {
        self.edit(|world| {
            let node = |name: &str| {
                world.read(&format!("/local/domain/7/memory/{name}")).unwrap().parse().unwrap()
            };
            (node("target"), node("static-max"), world.domains[&7].limit_kib.0)
        })
    }
}

/// The world and libxl's state directory.
pub(crate) struct Scene {
    pub(crate) world: Shared,
    dir: TempDir,
}

impl Scene {
    /// `web`, which is PVH and holds 1 of at most 2 GiB, on a host of 16 GiB.
    pub(crate) fn new() -> Self {
        let gib = |gib: u64| Kib::from_mib(gib * 1024);
        let mut world = World::empty(gib(16));
        world.create(7, "web", GuestType::Pvh, gib(1), gib(2), 0);
        let dir = tempfile::tempdir().unwrap();
        Self { world: Shared(Arc::new(Mutex::new(world))), dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The files in the state directory.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        fs::read_dir(self.dir()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.dir().join(format!("userdata-l.7.{WEB}.domain-userdata-lock"))
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.dir().join(format!("userdata-d.7.{WEB}.xmem-intent"))
    }

    pub(crate) fn draft(&self) -> PathBuf {
        self.dir().join(format!("userdata-n.7.{WEB}.xmem-intent"))
    }

    pub(crate) fn numbers(&self) -> Numbers {
        self.world.numbers()
    }

    /// A host whose calls `hook` decides on.
    pub(crate) fn host(&self, hook: impl FnMut(&Step) -> Verdict + Send + 'static) -> Watched {
        let steps = Arc::new(Mutex::new(Vec::new()));
        let hook = Mutex::new(hook);
        let seen = Arc::clone(&steps);
        let observer = move |call: &Call<'_>| {
            let step = Step::of(call);
            let verdict = (hook.lock().unwrap_or_else(std::sync::PoisonError::into_inner))(&step);
            seen.lock().unwrap().push(step);
            verdict
        };
        let faults = Faults::from_iter([Fault::GuestIgnores]);
        let host = SimHost::in_memory(&self.world.0, self.dir(), faults);
        Watched { host: host.observed_by(Arc::new(observer)), steps }
    }

    /// A host on which no call fails.
    pub(crate) fn calm(&self) -> Watched {
        self.host(|_| Verdict::Proceed)
    }

    /// A change of `web`, with `hook` deciding on each call.
    pub(crate) fn change(
        &self,
        memory: MemoryRequest,
        hook: impl FnMut(&Step) -> Verdict + Send + 'static,
    ) -> Result<Outcome, Failure> {
        self.host(hook).change(&request(memory))
    }

    /// A change of `web` without failures.
    pub(crate) fn plain(&self, memory: MemoryRequest) -> Result<Outcome, Failure> {
        self.calm().change(&request(memory))
    }

    /// A change that fails after its limit is set, and whose rollback fails too, so that the record stays.
    pub(crate) fn stuck(&self, memory: MemoryRequest) -> Failure {
        let mut limits = 0;
        let hook = move |step: &Step| match step {
            Step::Commit => Verdict::Fail(answers("EQUOTA")),
            Step::SetLimit(_) => {
                limits += 1;
                if limits == 2 {
                    Verdict::Fail(Error::Errno(rustix::io::Errno::INVAL))
                } else {
                    Verdict::Proceed
                }
            }
            _ => Verdict::Proceed,
        };
        let failure = self.change(memory, hook).unwrap_err();
        assert!(matches!(failure.aftermath, Aftermath::OutOfStep { .. }), "{failure}");
        failure
    }
}

/// The calls of a change without failures.
pub(crate) fn rehearsal(memory: MemoryRequest) -> Vec<Step> {
    let scene = Scene::new();
    let host = scene.calm();
    host.change(&request(memory)).unwrap();
    host.steps()
}

/// A host of a scene.
pub(crate) struct Watched {
    pub(crate) host: SimHost,
    steps: Arc<Mutex<Vec<Step>>>,
}

impl Watched {
    pub(crate) fn change(&self, request: &ChangeRequest) -> Result<Outcome, Failure> {
        self.change_with(request, &NoInterrupt)
    }

    pub(crate) fn change_with(
        &self,
        request: &ChangeRequest,
        interrupt: &dyn Interrupt,
    ) -> Result<Outcome, Failure> {
        ChangeSession::new(&self.host).change(request, interrupt)
    }

    /// All calls so far.
    pub(crate) fn steps(&self) -> Vec<Step> {
        self.steps.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, is: impl Fn(&Step) -> bool) -> usize {
        self.steps().iter().filter(|step| is(step)).count()
    }
}

/// A hook that acts once, at the first step that `is` accepts.
pub(crate) fn at(
    is: impl Fn(&Step) -> bool + Send + 'static,
    act: impl FnOnce() -> Verdict + Send + 'static,
) -> impl FnMut(&Step) -> Verdict + Send + 'static {
    let mut act = Some(act);
    move |step| match act.take_if(|_| is(step)) {
        Some(act) => act(),
        None => Verdict::Proceed,
    }
}

/// A hook that does `act` right before the first commit.
pub(crate) fn before_commit(
    act: impl FnOnce() + Send + 'static,
) -> impl FnMut(&Step) -> Verdict + Send + 'static {
    at(
        |step| *step == Step::Commit,
        move || {
            act();
            Verdict::Proceed
        },
    )
}

/// A hook that acts at the step with this index.
pub(crate) fn nth(index: usize, verdict: Verdict) -> impl FnMut(&Step) -> Verdict + Send + 'static {
    let mut count = 0..;
    let mut verdict = Some(verdict);
    move |_| verdict.take_if(|_| count.next() == Some(index)).unwrap_or(Verdict::Proceed)
}
