//! The cost of a wait for the host.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::io::Errno;
use xen::Kib;
use xmem_core::wait::WaitEnd;
use xmem_sim::{Call, Failure, Observer, Verdict};

use crate::scene::{POLICY, Scene};

type Calls = Arc<Mutex<Vec<String>>>;

fn calls_for(scene: &Scene, sizes: &[(u16, &str)], expected: &[&str]) -> Vec<String> {
    let outcomes: Vec<_> = sizes.iter().map(|(domid, size)| scene.set(*domid, size)).collect();
    let calls = Calls::default();
    let host = scene.host_with_calls(&calls);
    let outcomes: Vec<_> = outcomes.iter().collect();
    let waited = scene.wait_for_all(&host, &outcomes, POLICY, |_| false);
    let ends: Vec<_> = waited.iter().map(|it| it.report.end.word()).collect();
    assert_eq!(ends, expected);
    std::mem::take(&mut calls.lock().unwrap())
}

#[test]
fn a_guest_that_is_at_its_target_costs_one_hypercall() {
    let scene = Scene::new();
    assert_eq!(calls_for(&scene, &[(7, "1G")], &["reached"]), ["XEN_DOMCTL_getdomaininfo"]);
}

#[test]
fn a_wait_polls_the_hypervisor_alone_once_it_watches_the_target() {
    let scene = Scene::new();
    scene.edit(7, |web| web.rate_kib_per_second = Kib::from_mib(8));
    let calls = calls_for(&scene, &[(7, "512M")], &["reached"]);
    assert!(calls.len() > 60, "{}", calls.len());
    let expected = ["XEN_DOMCTL_getdomaininfo", "CONNECT", "WATCH", "READ"];
    for (call, expected) in calls.iter().zip(expected) {
        assert!(call.starts_with(expected), "{call}");
    }
    assert!(calls[4..].iter().all(|call| call == "XEN_DOMCTL_getdomaininfo"), "{calls:?}");
}

#[test]
fn one_hypercall_polls_several_guests() {
    let scene = Scene::new();
    for domid in [7, 8, 9] {
        scene.edit(domid, |it| it.rate_kib_per_second = Kib::from_mib(8));
    }
    let sizes = [(7, "512M"), (8, "1536M"), (9, "1536M")];
    let calls = calls_for(&scene, &sizes, &["reached"; 3]);
    let of = |name: &str| calls.iter().filter(|call| call.starts_with(name)).count();
    assert_eq!([of("CONNECT"), of("WATCH"), of("READ")], [1, 1, 1], "one batch each");
    assert!(of("XEN_SYSCTL_getdomaininfolist") > 60);
    // A single remaining guest is polled by itself.
    assert!(of("XEN_DOMCTL_getdomaininfo") < 5, "{}", of("XEN_DOMCTL_getdomaininfo"));
}

/// xenstored may limit a client's watches, or run in a stub domain that refuses them.
#[test]
fn without_watches_the_target_is_read_at_each_poll() {
    let scene = Scene::new();
    scene.edit(7, |web| web.rate_kib_per_second = Kib::from_mib(8));
    let outcome = scene.set(7, "512M");
    let reads = Calls::default();
    let counted = Arc::clone(&reads);
    let observer = move |call: &Call<'_>| match call {
        Call::Watch(_) => Verdict::Fail(Failure::Answer(xen::xenstore::Answer::Quota)),
        Call::Read(_) => {
            counted.lock().unwrap().push(call.to_string());
            Verdict::Proceed
        }
        _ => Verdict::Proceed,
    };
    let host = scene.host().observed_by(Arc::new(observer) as Arc<dyn Observer>);
    let mut sleeps = 0;
    let mut waited = scene.wait_for_all(&host, &[&outcome], POLICY, |_| {
        sleeps += 1;
        if sleeps == 3 {
            scene.world().write("/local/domain/7/memory/target", "716800");
        }
        false
    });
    let end = waited.pop().unwrap().report.end;
    assert!(matches!(end, WaitEnd::TargetChanged { now: Some(Kib(716_800)) }), "{end:?}");
    assert_eq!(reads.lock().unwrap().len(), 5, "four polls, and one look at what the target is");
}

#[test]
fn an_unreachable_host_ends_the_wait_with_an_explanation() {
    for (at, failure) in [
        ("CONNECT", Failure::Unreachable),
        ("WATCH", Failure::Closed),
        ("READ", Failure::Deadline),
        ("XEN_DOMCTL_getdomaininfo", Failure::Errno(Errno::PERM)),
    ] {
        let scene = Scene::new();
        let outcome = scene.set(7, "512M");
        let observer = move |call: &Call<'_>| {
            if call.to_string().starts_with(at) {
                Verdict::Fail(failure.clone())
            } else {
                Verdict::Proceed
            }
        };
        let host = scene.host().observed_by(Arc::new(observer) as Arc<dyn Observer>);
        let waited = scene.wait_for_all(&host, &[&outcome], POLICY, |_| false).pop().unwrap();
        assert!(matches!(waited.report.end, WaitEnd::Unreachable(_)), "{at}: {:?}", waited.report);
        assert_eq!(waited.report.reasons, []);
        let text = waited.report.to_string();
        assert!(
            text.starts_with("the target is set, but the guest can no longer be observed: "),
            "{text}"
        );
        assert!(text.ends_with("; it had 1024 MiB instead of 512 MiB"), "{text}");
    }
}

#[test]
fn the_end_of_a_wait_is_bounded_however_many_guests_have_stalled() {
    let scene = Scene::new();
    {
        let mut world = scene.world();
        for domid in 20..40 {
            let size = Kib::from_mib(128);
            let name = format!("vm{domid}");
            let domain = world.create(domid, &name, xmem_sim::GuestType::Pvh, size, size, 0);
            (domain.balloon, domain.current_kib) = (false, Kib::from_mib(64));
        }
    }
    let outcomes: Vec<_> = (20..40).map(|domid| scene.set(domid, "128M")).collect();
    let outcomes: Vec<_> = outcomes.iter().collect();
    for seconds in [1, 3] {
        let bound =
            xmem_core::wait::WaitPolicy { at_most: Some(Duration::from_secs(seconds)), ..POLICY };
        let waited = scene.wait_for_all(&scene.host(), &outcomes, bound, |_| false);
        for it in waited {
            assert!(matches!(it.report.end, WaitEnd::TimedOut), "{:?}", it.report);
            assert!(it.report.took <= Duration::from_secs(seconds), "{:?}", it.report);
            assert_eq!(it.report.nudged, seconds == 3);
        }
    }
}

#[test]
fn the_sim_fires_watches_as_xenstored_does() {
    let scene = Scene::new();
    scene.edit(7, |web| web.balloon = false);
    let outcome = scene.set(7, "512M");
    let host = scene.host();
    let waited = scene.wait_for_all(&host, &[&outcome], POLICY, |now| {
        if now == Duration::from_millis(100) {
            scene.world().write("/local/domain/7/memory/target", "716800");
        }
        false
    });
    assert!(matches!(waited[0].report.end, WaitEnd::TargetChanged { .. }));
    assert_eq!(waited[0].report.took, Duration::from_millis(100));
}
