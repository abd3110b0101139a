use std::fs;

use super::{TARGET, dom, host, host_in, says, target};
use crate::host::Host as _;
use crate::hypervisor::{Hypervisor as _, HypervisorError};
use crate::xenstore::{Answer, StoreError, Xs, XsTransaction as _, XsTransactionSpan as _};

const STATIC_MAX: &str = "/local/domain/7/memory/static-max";

#[test]
fn a_change_is_seen_by_others_when_it_is_committed() {
    let (dir, host) = host("");
    let span = host.connect().unwrap().transaction().unwrap();
    span.write(TARGET, "524288").unwrap();
    assert_eq!(&*span.read(TARGET).unwrap(), "524288");
    assert_eq!(target(&dir), "1048576");
    span.commit().unwrap();
    assert_eq!(target(&dir), "524288");
}

#[test]
fn a_dropped_transaction_never_was() {
    let (dir, host) = host("");
    let span = host.connect().unwrap().transaction().unwrap();
    span.write(TARGET, "524288").unwrap();
    drop(span);
    assert_eq!(target(&dir), "1048576");
}

#[test]
fn what_conflicts_and_what_does_not() {
    type Act = fn(&dyn Xs);
    let cases: [(&str, Act, Act, bool); 10] = [
        (
            "read, same value written",
            |xs| drop(xs.read(TARGET)),
            |xs| xs.write(TARGET, "1048576").unwrap(),
            true,
        ),
        (
            "read, other node written",
            |xs| drop(xs.read(TARGET)),
            |xs| xs.write(STATIC_MAX, "4").unwrap(),
            false,
        ),
        (
            "written, written",
            |xs| xs.write(TARGET, "8").unwrap(),
            |xs| xs.write(TARGET, "4").unwrap(),
            true,
        ),
        (
            "read, directory removed",
            |xs| drop(xs.read(TARGET)),
            |xs| xs.rm("/local/domain/7").unwrap(),
            true,
        ),
        (
            "written, directory removed",
            |xs| xs.write(TARGET, "8").unwrap(),
            |xs| xs.rm("/local/domain/7").unwrap(),
            true,
        ),
        (
            "removed and made again",
            |xs| drop(xs.read(TARGET)),
            |xs| {
                xs.rm(TARGET).unwrap();
                xs.write(TARGET, "1048576").unwrap();
            },
            true,
        ),
        ("missed, made", |xs| drop(xs.read("/a")), |xs| xs.write("/a", "").unwrap(), true),
        (
            "two children made",
            |xs| xs.write("/a", "").unwrap(),
            |xs| xs.write("/b", "").unwrap(),
            true,
        ),
        (
            "listed, child made",
            |xs| drop(xs.directory("/local/domain")),
            |xs| xs.write("/local/domain/11", "").unwrap(),
            true,
        ),
        (
            "removed, changed below",
            |xs| xs.rm("/local/domain/7").unwrap(),
            |xs| xs.write(TARGET, "4").unwrap(),
            true,
        ),
    ];
    for (name, ours, theirs, conflict) in cases {
        // Balloons that move would change the world as well.
        let (dir, host) = host("guest-ignores");
        let span = host.connect().unwrap().transaction().unwrap();
        ours(&span);
        theirs(&host_in(&dir, "guest-ignores").connect().unwrap());
        let before = fs::read(dir.path().join("world.json")).unwrap();
        assert_eq!(says(span.commit(), &Answer::Again), conflict, "{name}");
        let untouched = fs::read(dir.path().join("world.json")).unwrap() == before;
        assert!(untouched || !conflict, "{name}: a refused commit changed something");
    }
}

#[test]
fn an_edit_by_hand_conflicts_as_well() {
    let (dir, host) = host("");
    let span = host.connect().unwrap().transaction().unwrap();
    span.read(TARGET).unwrap();
    let path = dir.path().join("world.json");
    let edited = fs::read_to_string(&path).unwrap().replace("\"1048576\"", "\"4096\"");
    fs::write(&path, edited).unwrap();
    assert!(says(span.commit(), &Answer::Again));
}

#[test]
fn writes_into_a_dead_domain_make_a_ghost() {
    let (_dir, host) = host("");
    let store = host.connect().unwrap();
    store.rm("/local/domain/7").unwrap();
    assert!(says(store.read(TARGET), &Answer::NotFound));
    assert!(says(store.rm(TARGET), &Answer::NotFound));
    store.write(TARGET, "4").unwrap();
    assert_eq!(&*store.directory("/local/domain/7").unwrap(), ["memory".into()]);
}

#[test]
fn impossible_requests() {
    let (_dir, host) = host("");
    let store = host.connect().unwrap();
    let span = store.transaction().unwrap();
    for xs in [&store as &dyn Xs, &span] {
        for path in ["", "/a/", "memory/target", "//", "/ä"] {
            assert!(says(xs.read(path), &Answer::named("EINVAL")), "{path}");
            assert!(says(xs.write(path, ""), &Answer::named("EINVAL")), "{path}");
        }
        assert!(says(xs.rm("/"), &Answer::named("EINVAL")));
        let room = 4096 - "/a".len() - 1;
        xs.write("/a", &"x".repeat(room)).unwrap();
        for (path, value) in [("/a", "x".repeat(room + 1)), ("/a\0", String::new())] {
            let error = xs.write(path, &value).unwrap_err();
            assert!(matches!(StoreError::of(&error), Some(StoreError::Unsendable { .. })));
        }
    }
}

#[test]
fn a_world_that_breaks_under_way_is_an_error_and_not_a_panic() {
    let (dir, host) = host("");
    let store = host.connect().unwrap();
    fs::write(dir.path().join("world.json"), "{").unwrap();
    let error = store.read(TARGET).unwrap_err();
    assert!(matches!(StoreError::of(&error), Some(StoreError::Transport { .. })), "{error}");
    let error = host.hypervisor().domain(dom(7)).unwrap_err();
    assert!(matches!(error, HypervisorError::Device { .. }), "{error}");
}
