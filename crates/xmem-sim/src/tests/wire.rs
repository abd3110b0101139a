use std::sync::{Arc, Mutex};
use std::time::Duration;

use xen::xenstore::{Answer, Store};
use xen::{Host as _, Kib};

use super::{TARGET, dom, says};
use crate::{Counts, Faults, GuestType, WireHost, World};

const SOON: Duration = Duration::from_secs(10);

fn wire(world: World) -> (Arc<Mutex<World>>, WireHost) {
    let world = Arc::new(Mutex::new(world));
    let host = WireHost::new(&world, "/nonexistent".as_ref(), Faults::default());
    (world, host)
}

fn connect(host: &WireHost) -> Box<dyn Store> {
    host.connect().unwrap()
}

#[test]
fn a_change_takes_four_round_trips() {
    let (world, host) = wire(World::start());
    let store = connect(&host);
    let transaction = store.begin().unwrap();
    transaction.read_each(&[TARGET, "/local/domain/7/memory/static-max", "/nowhere"]).unwrap();
    transaction.write_each(&[(TARGET, "4096"), ("/vm/x/memory", "4")]).unwrap();
    transaction.commit().unwrap();
    let counts = Counts { connections: 1, requests: 7, round_trips: 4, commits: 1 };
    assert_eq!(host.xenstored.take_counts(), counts);
    assert_eq!(host.xenstored.take_counts(), Counts::default());
    assert_eq!(world.lock().unwrap().read(TARGET), Some("4096"));
    assert_eq!(host.hypervisor().domains().unwrap().len(), 4);
}

#[test]
fn transactions_conflict_and_are_aborted() {
    let (world, host) = wire(World::start());
    let (store, other) = (connect(&host), connect(&host));
    let transaction = store.begin().unwrap();
    transaction.read_each(&[TARGET]).unwrap();
    other.write_each(&[(TARGET, "1048576")]).unwrap();
    assert!(says(transaction.commit(), &Answer::Again));
    store.begin().unwrap().write_each(&[(TARGET, "4")]).unwrap();
    assert_eq!(store.read_each(&[TARGET]).unwrap(), [Some(b"1048576".to_vec())]);
    assert_eq!(world.lock().unwrap().read(TARGET), Some("1048576"));
}

#[test]
fn watches_fire_on_the_wire() {
    let (world, host) = wire(World::start());
    let store = connect(&host);
    store.watch(&[TARGET, "@releaseDomain"]).unwrap();
    let mut events = store.changes(SOON).unwrap();
    while events.len() < 2 {
        events.extend(store.changes(SOON).unwrap());
    }
    assert_eq!(events, [TARGET, "@releaseDomain"]);
    connect(&host).write_each(&[(TARGET, "4096")]).unwrap();
    assert_eq!(store.changes(SOON).unwrap(), [TARGET]);
    world.lock().unwrap().destroy(8);
    assert_eq!(store.changes(SOON).unwrap(), ["@releaseDomain"]);
    store.unwatch(&[TARGET, "/never"]).unwrap();
}

#[test]
fn long_listings_come_in_parts() {
    let mut world = World::empty(Kib::from_mib(1 << 20));
    for domid in 1..=3000 {
        world.create(domid, "vm", GuestType::Pvh, Kib(4096), Kib(8192), 0);
    }
    let (_world, host) = wire(world);
    let names = connect(&host).list("/local/domain").unwrap().unwrap();
    assert_eq!(names.len(), 3000);
    assert_eq!(connect(&host).list("/nowhere").unwrap(), None);
}

#[test]
fn only_the_owner_may_write_and_a_bad_path_is_refused() {
    let (world, host) = wire(World::start());
    let store = connect(&host);
    assert!(!store.may_write_any(dom(7), &[TARGET, "/nowhere"]).unwrap());
    world.lock().unwrap().domains.get_mut(&7).unwrap().owns_nodes = true;
    assert!(store.may_write_any(dom(7), &[TARGET]).unwrap());
    assert!(says(store.read_each(&["/sp ace"]), &Answer::Other("EINVAL".to_owned())));
}
