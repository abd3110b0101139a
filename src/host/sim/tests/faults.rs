use std::{fs, io};

use fs2::FileExt as _;
use rustix::io::Errno;

use super::{TARGET, dom, errno, host, host_in, is_closed, says, set_target, target};
use crate::domain::DomId;
use crate::host::Host as _;
use crate::hypervisor::{Hypervisor as _, HypervisorError};
use crate::size::Kib;
use crate::xenstore::{Answer, StoreError, Xs as _, XsTransaction as _, XsTransactionSpan as _};

#[test]
fn fault_lock_busy() {
    let (dir, busy) = host("lock-busy");
    let path = |number: u32| {
        let uuid = busy.hypervisor().domain(dom(number)).unwrap().unwrap().identity.uuid;
        busy.state_dir().join(format!("userdata-l.{number}.{uuid}.domain-userdata-lock"))
    };
    let paths = [0, 7, 8, 9].map(path);
    for path in &paths {
        let error = fs::File::open(path).unwrap().try_lock_exclusive().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{}", path.display());
    }
    let second = host_in(&dir, "lock-busy");
    drop(second);
    assert!(paths[1].exists(), "only who holds a lock removes its file");
    drop(busy);
    assert!(!paths[1].exists());
}

#[test]
fn faults_of_the_device() {
    let device = |word| host(word).1.hypervisor().domain(dom(7)).unwrap_err();
    assert!(matches!(device("no-xen"), HypervisorError::NoXen { .. }));
    let denied = device("no-permission");
    assert!(matches!(denied, HypervisorError::Device { .. }));
    assert_eq!(denied.errno(), Some(Errno::ACCESS));
    let refused = device("not-control");
    assert!(matches!(refused, HypervisorError::Refused { .. }));
    assert_eq!(refused.errno(), Some(Errno::PERM));
}

#[test]
fn fault_gone() {
    let (_dir, host) = host("gone");
    let hypervisor = host.hypervisor();
    assert!(hypervisor.domain(dom(7)).unwrap().is_some());
    hypervisor.set_limit(dom(7), Kib(1_049_600)).unwrap();
    assert_eq!(hypervisor.domain(dom(7)).unwrap(), None);
    assert_eq!(errno(hypervisor.set_limit(dom(7), Kib(4))), Some(Errno::SRCH));
    assert_eq!(errno(hypervisor.set_pod_target(dom(7), Kib(4))), Some(Errno::SRCH));
    assert_eq!(hypervisor.domain(dom(7)).unwrap(), None);
    assert!(hypervisor.domain(dom(8)).unwrap().is_some(), "each domain has its first look");
    for _ in 0..2 {
        assert!(hypervisor.domain(DomId::DOM0).unwrap().is_some());
    }
}

#[test]
fn faults_of_hypercalls() {
    let (_dir, refusing) = host("limit-refused");
    assert_eq!(errno(refusing.hypervisor().set_limit(dom(7), Kib(4))), Some(Errno::PERM));
    assert_eq!(errno(refusing.hypervisor().set_limit(dom(6), Kib(4))), Some(Errno::SRCH));
    let (_dir, refusing) = host("pod-refused");
    assert_eq!(errno(refusing.hypervisor().set_pod_target(dom(7), Kib(4))), Some(Errno::NOMEM));
    let (_dir, full) = host("host-full");
    assert_eq!(full.hypervisor().host_memory().unwrap().free, Kib(0));
}

#[test]
fn fault_store_down() {
    let (_dir, host) = host("store-down");
    let error = host.connect().unwrap_err();
    assert!(matches!(StoreError::of(&error), Some(StoreError::Unreachable { .. })), "{error}");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn fault_store_full() {
    let (dir, host) = host("store-full");
    assert!(says(set_target(&host, "4"), &Answer::NoSpace));
    assert!(says(host.connect().unwrap().write(TARGET, "4"), &Answer::NoSpace));
    assert_eq!(target(&dir), "1048576");
}

#[test]
fn faults_of_conflict() {
    let (dir, always) = host("conflict");
    for _ in 0..5 {
        assert!(says(set_target(&always, "4"), &Answer::Again));
    }
    assert_eq!(target(&dir), "1048576");
    let once = host_in(&dir, "conflict-once");
    assert!(says(set_target(&once, "4"), &Answer::Again));
    set_target(&once, "4").unwrap();
    assert_eq!(target(&dir), "4");
}

#[test]
fn faults_of_a_lost_commit() {
    for (word, expected) in [("commit-lost-done", "4"), ("commit-lost-undone", "1048576")] {
        let (_dir, host) = host(word);
        let store = host.connect().unwrap();
        let span = store.transaction().unwrap();
        let other = store.transaction().unwrap();
        span.write(TARGET, "4").unwrap();
        assert!(is_closed(span.commit()), "{word}");
        assert!(is_closed(store.read(TARGET)) && is_closed(store.transaction()), "{word}");
        assert!(is_closed(other.read(TARGET)) && is_closed(other.commit()), "{word}");
        assert_eq!(&*host.connect().unwrap().read(TARGET).unwrap(), expected, "{word}");
        set_target(&host, "8").unwrap();
    }
    let (dir, host) = host("commit-unknown");
    assert!(is_closed(set_target(&host, "4")));
    assert!(host.connect().is_err());
    assert_eq!(target(&dir), "1048576");
}
