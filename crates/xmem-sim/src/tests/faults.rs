use std::time::Duration;

use rustix::io::Errno;
use xen::hypervisor::HypervisorError;
use xen::lock::{Lock, LockError, LockState};
use xen::xenstore::{Answer, StoreError};
use xen::{Host as _, Identity, Kib, NoInterrupt};

use super::{TARGET, connect, dom, errno, host, host_in, read, says, set_target};
use crate::{Fault, Faults};

#[test]
fn words_are_parsed_leniently_and_unknown_ones_are_named() {
    assert_eq!("".parse::<Faults>().unwrap(), Faults::default());
    let two = Faults::from_iter([Fault::Gone, Fault::Conflict]);
    assert_eq!(" gone, conflict,".parse::<Faults>().unwrap(), two);
    let error = "gone,confict".parse::<Faults>().unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("XMEM_SIM_FAULT: unknown word `confict`, expected one of"), "{text}");
    assert!(text.contains("`lock-busy`") && text.contains("`commit-unknown-done`"), "{text}");
    assert!(error.is_usage());
}

#[test]
fn lock_busy_holds_the_lock_of_every_domain() {
    let (dir, busy) = host("lock-busy");
    let host = host_in(dir.path(), "");
    let domains = host.hypervisor().domains().unwrap();
    assert_eq!(domains.len(), 4);
    let take =
        |identity: Identity| Lock::take(host.state_dir(), identity, Duration::ZERO, &NoInterrupt);
    for domain in &domains {
        assert!(matches!(take(domain.identity), Err(LockError::Busy { .. })));
    }
    drop(busy);
    for domain in &domains {
        assert_eq!(LockState::of(host.state_dir(), domain.identity).unwrap(), LockState::Unlocked);
        take(domain.identity).unwrap();
    }
}

#[test]
fn a_hypervisor_fault_fails_every_hypercall() {
    let every = |word: &str, fits: fn(&HypervisorError) -> bool| {
        let (_dir, host) = host(word);
        let xen = host.hypervisor();
        let web = dom(7);
        let failed = [
            xen.domain(web).err(),
            xen.domains().err(),
            xen.set_limit(web, Kib(4)).err(),
            xen.pod(web).err(),
            xen.set_pod_target(web, Kib(4)).err(),
            xen.host_memory().err(),
        ];
        assert!(failed.iter().all(|error| error.as_ref().is_some_and(fits)), "{word}: {failed:?}");
        assert_eq!(read(&host, TARGET).unwrap(), "1048576");
    };
    every("no-xen", |error| matches!(error, HypervisorError::NoXen { .. }));
    every("no-permission", |error| {
        matches!(error, HypervisorError::Device { .. }) && error.errno() == Some(Errno::ACCESS)
    });
    every("not-control", |error| {
        matches!(error, HypervisorError::Refused { .. }) && error.errno() == Some(Errno::PERM)
    });
}

#[test]
fn a_refused_call_fails_alone() {
    let (_dir, limited) = host("limit-refused");
    assert_eq!(errno(limited.hypervisor().set_limit(dom(7), Kib(4))), Some(Errno::PERM));
    let (_dir, no_pod) = host("pod-refused");
    assert_eq!(errno(no_pod.hypervisor().set_pod_target(dom(7), Kib(4))), Some(Errno::NOMEM));
    assert!(no_pod.hypervisor().set_limit(dom(7), Kib(4)).is_ok());
}

#[test]
fn gone_hides_a_domain_from_the_second_query_on() {
    let (dir, host) = host("gone");
    let xen = host.hypervisor();
    assert!(xen.domain(dom(7)).unwrap().is_some());
    assert!(xen.domain(dom(7)).unwrap().is_none());
    assert_eq!(errno(xen.set_limit(dom(7), Kib(4))), Some(Errno::SRCH));
    assert_eq!(xen.domains().unwrap().len(), 3);
    assert_eq!(xen.domains().unwrap().len(), 1, "dom0 stays");
    assert_eq!(host_in(dir.path(), "").hypervisor().domains().unwrap().len(), 4);
}

#[test]
fn a_store_fault_fails_connections_or_writes() {
    let (_dir, down) = host("store-down");
    assert!(matches!(down.connect().err(), Some(StoreError::Unreachable { .. })));
    let (_dir, full) = host("store-full");
    assert!(says(set_target(&full, "4"), &Answer::NoSpace));
    assert_eq!(read(&full, TARGET).unwrap(), "1048576");
}

#[test]
fn conflict_fails_every_commit_and_conflict_once_the_first() {
    let (_dir, host) = host("conflict-once");
    assert!(says(set_target(&host, "4096"), &Answer::Again));
    set_target(&host, "4096").unwrap();
    let (_dir, host) = super::host("conflict");
    for _ in 0..5 {
        assert!(says(set_target(&host, "4096"), &Answer::Again));
    }
}

#[test]
fn a_lost_commit_takes_effect_as_its_fault_says() {
    for (word, done, stays_down) in [
        ("commit-lost-done", true, false),
        ("commit-lost-undone", false, false),
        ("commit-unknown", false, true),
        ("commit-unknown-done", true, true),
    ] {
        let (dir, host) = host(word);
        let store = connect(&host);
        let transaction = store.begin().unwrap();
        transaction.write_each(&[(TARGET, "4096")]).unwrap();
        assert!(matches!(transaction.commit(), Err(StoreError::Closed { .. })), "{word}");
        assert!(!store.is_usable());
        assert!(matches!(store.read_each(&[TARGET]), Err(StoreError::Unusable { .. })), "{word}");
        assert_eq!(host.connect().is_err(), stays_down, "{word}");
        let target = read(&host_in(dir.path(), ""), TARGET).unwrap();
        assert_eq!(target == "4096", done, "{word}");
        if !stays_down {
            set_target(&host, "8192").unwrap();
        }
    }
}

#[test]
fn host_full_leaves_no_memory_free() {
    let (_dir, host) = host("host-full");
    let memory = host.hypervisor().host_memory().unwrap();
    assert_eq!((memory.free, memory.available()), (Kib(0), Kib(0)));
    assert_eq!(memory.total, Kib::from_mib(16 * 1024));
}

#[test]
fn the_crate_page_lists_every_fault() {
    let page = include_str!("../../README.md");
    let (_, faults) = page.split_once("## Faults").unwrap();
    let (faults, _) = faults.split_once("## What differs").unwrap();
    let rows = faults.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let listed: Vec<&str> = rows.collect();
    listed.join(",").parse::<Faults>().unwrap();
    let known = "x".parse::<Faults>().unwrap_err().to_string();
    assert_eq!(known.matches('`').count() / 2, listed.len() + 1, "{known}");
}
