use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::io::Errno;
use xen::xenstore::{Answer, StoreError};
use xen::{Host as _, Kib};

use super::{TARGET, dom, errno, in_memory, read, says, set_target};
use crate::{Call, Failure, Observer, Verdict, World};

#[test]
fn every_call_is_observed_before_it_is_made() {
    let (_world, host) = in_memory(World::start());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let host = host.observed_by(Arc::new({
        let seen = Arc::clone(&seen);
        move |call: &Call<'_>| {
            seen.lock().unwrap().push(call.to_string());
            Verdict::Proceed
        }
    }));
    let (xen, web) = (host.hypervisor(), dom(7));
    set_target(&host, "4096").unwrap();
    let store = host.connect().unwrap();
    store.list("/local").unwrap();
    store.may_write_any(web, &[TARGET]).unwrap();
    store.watch(&["/a", "/b"]).unwrap();
    store.unwatch(&["/a"]).unwrap();
    store.changes(Duration::ZERO).unwrap();
    xen.domain(web).unwrap();
    xen.domains().unwrap();
    xen.set_limit(web, Kib(4)).unwrap();
    xen.pod(web).unwrap();
    xen.set_pod_target(web, Kib(4)).unwrap();
    xen.host_memory().unwrap();
    assert_eq!(
        *seen.lock().unwrap(),
        [
            "CONNECT",
            "TRANSACTION_START",
            "READ /local/domain/7/memory/target",
            "WRITE /local/domain/7/memory/target",
            "TRANSACTION_END",
            "CONNECT",
            "DIRECTORY /local",
            "GET_PERMS /local/domain/7/memory/target",
            "WATCH /a",
            "UNWATCH /a",
            "XEN_DOMCTL_getdomaininfo",
            "XEN_SYSCTL_getdomaininfolist",
            "XEN_DOMCTL_max_mem",
            "XENMEM_get_pod_target",
            "XENMEM_set_pod_target",
            "XEN_SYSCTL_physinfo",
        ]
    );
}

#[test]
fn a_call_can_fail_before_or_after_its_effect() {
    for (done, verdict) in [(false, Verdict::Fail as fn(_) -> _), (true, Verdict::ProceedAndFail)] {
        let (world, host) = in_memory(World::start());
        let host = host.observed_by(Arc::new(move |call: &Call<'_>| match call {
            Call::SetLimit(..) => verdict(Failure::Errno(Errno::NOMEM)),
            Call::Commit => verdict(Failure::Deadline),
            _ => Verdict::Proceed,
        }));
        assert_eq!(errno(host.hypervisor().set_limit(dom(7), Kib(4096))), Some(Errno::NOMEM));
        assert_eq!(world.lock().unwrap().domains[&7].limit_kib == Kib(4096), done);
        assert!(matches!(set_target(&host, "4096"), Err(StoreError::Deadline { .. })));
        assert_eq!(world.lock().unwrap().read(TARGET) == Some("4096"), done);
    }
}

#[test]
fn only_a_refusal_leaves_the_connection_usable() {
    for (failure, usable) in [
        (Failure::Answer(Answer::Other("EIO".to_owned())), true),
        (Failure::Closed, false),
        (Failure::Unusable, false),
        (Failure::Deadline, false),
    ] {
        let (_world, host) = in_memory(World::start());
        let host = host.observed_by(Arc::new(move |call: &Call<'_>| match call {
            Call::Read(_) => Verdict::Fail(failure.clone()),
            _ => Verdict::Proceed,
        }));
        let store = host.connect().unwrap();
        store.watch(&[TARGET]).unwrap();
        assert!(store.read_each(&[TARGET]).is_err());
        assert_eq!(store.is_usable(), usable);
        assert_eq!(store.changes(Duration::ZERO).is_ok(), usable);
        assert_eq!(store.list("/local").is_ok(), usable);
    }
}

/// A simulated process that is killed and makes no further call.
struct Dies {
    done: bool,
    dead: std::sync::atomic::AtomicBool,
}

impl Dies {
    fn die(&self) -> ! {
        self.dead.store(true, std::sync::atomic::Ordering::Relaxed);
        resume_unwind(Box::new("killed"))
    }
}

impl Observer for Dies {
    fn before(&self, call: &Call<'_>) -> Verdict {
        if self.dead.load(std::sync::atomic::Ordering::Relaxed) {
            return Verdict::Fail(Failure::Closed);
        }
        if *call == Call::Commit && !self.done {
            self.die();
        }
        Verdict::Proceed
    }

    fn after(&self, call: &Call<'_>) {
        if *call == Call::Commit {
            self.die();
        }
    }
}

#[test]
fn an_observer_can_unwind_before_and_after_a_commit() {
    for done in [false, true] {
        let (world, host) = in_memory(World::start());
        let host = host.observed_by(Arc::new(Dies { done, dead: false.into() }));
        let died = catch_unwind(AssertUnwindSafe(|| set_target(&host, "4096")));
        assert_eq!(died.unwrap_err().downcast_ref(), Some(&"killed"));
        assert_eq!(world.lock().unwrap().read(TARGET) == Some("4096"), done);
        assert!(host.connect().is_err());
        let other = super::SimHost::in_memory(&world, host.state_dir(), crate::Faults::default());
        assert_eq!(read(&other, "/local/domain/7/name").unwrap(), "web");
    }
}

#[test]
fn an_observer_can_change_the_world_under_a_transaction() {
    let (world, host) = in_memory(World::start());
    let host = host.observed_by(Arc::new({
        let world = Arc::clone(&world);
        move |call: &Call<'_>| {
            if *call == Call::Commit {
                world.lock().unwrap().write(TARGET, "1048576");
            }
            Verdict::Proceed
        }
    }));
    assert!(says(set_target(&host, "4096"), &Answer::Again));
}
