//! A simulated host with a real state directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tempfile::TempDir;
use xen::lock::Lock;
use xen::userdata::{FileName, Letter};
use xen::{DomId, Identity, Kib, NoInterrupt};
use xmem_core::check::{CheckReport, Finding, check};
use xmem_core::domain::DomainRef;
use xmem_core::intent::IntentFile;
use xmem_core::memory::Numbers;
use xmem_core::resolve::Missing;
use xmem_sim::{Call, Faults, Observer, SimDomain, SimHost, Verdict, World};

/// `web` (7), `db` (8) and `win` (9), all in step.
pub(crate) struct Scene {
    pub(crate) world: Arc<Mutex<World>>,
    dir: TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::of(World::start())
    }

    pub(crate) fn of(world: World) -> Self {
        Self { world: Arc::new(Mutex::new(world)), dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(crate) fn edit(&self, domid: u16, by: impl FnOnce(&mut SimDomain)) {
        by(self.world().domains.get_mut(&domid).unwrap());
    }

    pub(crate) fn state_dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn host(&self) -> SimHost {
        SimHost::in_memory(&self.world, self.dir.path(), Faults::default())
    }

    /// The host, with `before` called before each of its calls.
    pub(crate) fn host_that(&self, before: impl Fn(&Call<'_>) + Send + Sync + 'static) -> SimHost {
        let observer = move |call: &Call<'_>| {
            before(call);
            Verdict::Proceed
        };
        self.host().observed_by(Arc::new(observer) as Arc<dyn Observer>)
    }

    /// The host, and a record of its calls.
    pub(crate) fn host_with_calls(&self) -> (SimHost, Calls) {
        let calls = Calls::default();
        let kept = Arc::clone(&calls.0);
        (self.host_that(move |call| kept.lock().unwrap().extend(lines(call))), calls)
    }

    pub(crate) fn identity(&self, domid: u16) -> Identity {
        let uuid = self.world().domains[&domid].uuid;
        Identity { domid: DomId::new(domid.into()).unwrap(), uuid }
    }

    pub(crate) fn lock(&self, domid: u16) -> Lock {
        Lock::take(self.state_dir(), self.identity(domid), Duration::ZERO, &NoInterrupt).unwrap()
    }

    /// The path of a file of `identity`.
    pub(crate) fn file(&self, identity: Identity, letter: Letter, kind: &str) -> PathBuf {
        FileName { letter, identity, kind: kind.to_owned() }.in_dir(self.state_dir())
    }

    /// Leaves the record of a change of the target to `new`, killed before its commit with the new limit set.
    pub(crate) fn kill_a_change(&self, domid: u16, new: Kib) {
        let limit = |target: Kib| Kib(target.0 + 1024);
        let read = |node: &str| {
            let path = format!("/local/domain/{domid}/memory/{node}");
            self.world().read(&path).map(|value| Kib(value.parse().unwrap()))
        };
        let old = Numbers {
            target: read("target"),
            static_max: read("static-max"),
            limit: self.world().domains[&domid].limit_kib,
        };
        let new = Numbers { target: Some(new), limit: limit(new), ..old };
        IntentFile::new(self.state_dir(), self.identity(domid)).write(old, new).unwrap();
        self.edit(domid, |domain| domain.limit_kib = new.limit);
    }

    pub(crate) fn check(&self) -> CheckReport {
        check(&self.host(), &[], &NoInterrupt).unwrap()
    }

    pub(crate) fn check_named(&self, names: &[&str]) -> CheckReport {
        check(&self.host(), &refs(names), &NoInterrupt).unwrap()
    }

    /// Leaves an empty file of `identity`.
    pub(crate) fn leave(&self, identity: Identity, letter: Letter, kind: &str) -> PathBuf {
        let path = self.file(identity, letter, kind);
        fs::write(&path, "").unwrap();
        path
    }
}

/// The calls to a host, one line for each node.
#[derive(Default)]
pub(crate) struct Calls(Arc<Mutex<Vec<String>>>);

impl Calls {
    /// The calls since the last time.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// The requests to xenstored since the last time.
    pub(crate) fn take_requests(&self) -> Vec<String> {
        let mut calls = self.take();
        calls.retain(|call| !call.starts_with("XEN"));
        calls
    }
}

fn lines(call: &Call<'_>) -> Vec<String> {
    let each = |name: &str, paths: &[&str]| paths.iter().map(|it| format!("{name} {it}")).collect();
    match call {
        Call::Read(paths) => each("READ", paths),
        Call::Watch(paths) => each("WATCH", paths),
        Call::Unwatch(paths) => each("UNWATCH", paths),
        call => vec![call.to_string()],
    }
}

pub(crate) fn refs(names: &[&str]) -> Vec<DomainRef> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// The names of `missing`.
pub(crate) fn wanted(missing: &[Missing]) -> Vec<DomainRef> {
    missing.iter().map(|it| it.wanted.clone()).collect()
}

/// `web (7): limit-too-low` for each finding.
pub(crate) fn said(findings: &[Finding]) -> Vec<String> {
    let who = |it: &Finding| match (&it.domain, it.domid) {
        (Some(domain), _) => domain.to_string(),
        (None, Some(domid)) => format!("domid {domid}"),
        (None, None) => "host".to_owned(),
    };
    findings.iter().map(|it| format!("{}: {}", who(it), it.diagnosis.kind.word())).collect()
}
