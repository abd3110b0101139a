use std::thread;
use std::time::{Duration, Instant};

use xen::hypervisor::Shutdown;

use super::{TARGET, connect, host, host_in, in_memory, set_target};
use crate::World;

const NOW: Duration = Duration::ZERO;
const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_watch_fires_once_when_it_is_set() {
    let (_dir, host) = host("");
    let store = connect(&host);
    assert!(store.changes(NOW).unwrap().is_empty());
    store.watch(&[TARGET, "@introduceDomain"]).unwrap();
    assert_eq!(store.changes(SOON).unwrap(), [TARGET, "@introduceDomain"]);
    assert!(store.changes(NOW).unwrap().is_empty());
}

#[test]
fn a_watch_fires_for_changes_at_and_below_its_path() {
    let (_dir, host) = host("");
    let store = connect(&host);
    store.watch(&["/local/domain/7/memory"]).unwrap();
    store.changes(NOW).unwrap();
    store.write_each(&[("/local/domain/7/memory", "")]).unwrap();
    store.write_each(&[("/local/domain/70/memory/target", "1"), (TARGET, "1048576")]).unwrap();
    assert_eq!(store.changes(NOW).unwrap(), ["/local/domain/7/memory", TARGET]);
    store.unwatch(&["/local/domain/7/memory", "/never"]).unwrap();
    store.write_each(&[(TARGET, "4096")]).unwrap();
    assert!(store.changes(NOW).unwrap().is_empty());
}

#[test]
fn a_wait_ends_at_a_change_by_another_connection() {
    let (dir, host) = host("");
    let store = connect(&host);
    store.watch(&[TARGET]).unwrap();
    store.changes(NOW).unwrap();
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(50));
            set_target(&host_in(dir.path(), ""), "524288").unwrap();
        });
        assert_eq!(store.changes(SOON).unwrap(), [TARGET]);
    });
    assert!(start.elapsed() < SOON);
    assert!(store.changes(Duration::from_millis(30)).unwrap().is_empty());
}

#[test]
fn an_edit_of_the_file_fires_a_watch() {
    let (dir, host) = host("");
    let store = connect(&host);
    store.watch(&["/local"]).unwrap();
    store.changes(NOW).unwrap();
    let path = dir.path().join("world.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, "{ \"half").unwrap();
    assert!(store.changes(NOW).unwrap().is_empty());
    std::fs::write(&path, text.replace("\"1048576\"", "\"524288\"")).unwrap();
    assert_eq!(store.changes(SOON).unwrap(), [TARGET]);
}

#[test]
fn special_watches_fire_for_domains_that_appear_stop_or_go() {
    let (world, host) = in_memory(World::start());
    let store = connect(&host);
    store.watch(&["@introduceDomain", "@releaseDomain"]).unwrap();
    store.changes(NOW).unwrap();
    let step = |act: fn(&mut World), expected: &[&str]| {
        act(&mut world.lock().unwrap());
        assert_eq!(store.changes(NOW).unwrap(), expected);
    };
    let mib = xen::Kib::from_mib;
    step(
        |world| {
            world.domains.insert(20, crate::SimDomain::default());
        },
        &["@introduceDomain"],
    );
    step(|world| world.write("/local/domain/20/name", "new"), &[]);
    step(
        |world| world.domains.get_mut(&20).unwrap().shutdown = Some(Shutdown::Crash),
        &["@releaseDomain"],
    );
    step(|world| world.domains.get_mut(&20).unwrap().dying = true, &[]);
    step(|world| world.destroy(7), &["@releaseDomain"]);
    assert_eq!(world.lock().unwrap().free(), mib(10 * 1024));
}
