use std::thread;

use xen::Host as _;
use xen::xenstore::Answer;

use super::{TARGET, connect, host, host_in, in_memory, read, says, set_target};
use crate::World;

#[test]
fn writes_are_visible_only_after_the_commit() {
    let (dir, host) = host("");
    let store = connect(&host);
    let transaction = store.begin().unwrap();
    transaction.write_each(&[(TARGET, "4096"), ("/new/node", "x")]).unwrap();
    assert_eq!(
        transaction.read_each(&[TARGET, "/new"]).unwrap(),
        [Some(b"4096".to_vec()), Some(vec![])]
    );
    assert_eq!(transaction.list("/new").unwrap().unwrap(), ["node"]);
    let other = host_in(dir.path(), "");
    assert_eq!(read(&other, TARGET).unwrap(), "1048576");
    assert_eq!(read(&other, "/new"), None);
    transaction.commit().unwrap();
    assert_eq!(read(&other, TARGET).unwrap(), "4096");
    assert_eq!(read(&other, "/new").unwrap(), "");
}

#[test]
fn a_dropped_transaction_changes_nothing() {
    let (_dir, host) = host("");
    let store = connect(&host);
    store.begin().unwrap().write_each(&[(TARGET, "4096")]).unwrap();
    assert_eq!(read(&host, TARGET).unwrap(), "1048576");
}

#[test]
fn reads_see_the_live_tree() {
    let (_dir, host) = host("");
    let store = connect(&host);
    let transaction = store.begin().unwrap();
    transaction.read_each(&["/local/domain/7/name"]).unwrap();
    set_target(&host, "4096").unwrap();
    // A node that was not read does not conflict either.
    assert_eq!(transaction.read_each(&[TARGET]).unwrap(), [Some(b"4096".to_vec())]);
    transaction.commit().unwrap();
}

#[test]
fn a_node_changed_since_it_was_used_fails_the_commit() {
    type Use = fn(&dyn xen::xenstore::Nodes);
    let uses: [Use; 3] = [
        |nodes| drop(nodes.read_each(&[TARGET]).unwrap()),
        |nodes| nodes.write_each(&[(TARGET, "8192")]).unwrap(),
        |nodes| drop(nodes.list("/local/domain/7/memory").unwrap()),
    ];
    for (at, used) in uses.iter().enumerate() {
        // With another value, the same value, a new sibling, and another node.
        for (path, value, conflicts) in [
            (TARGET, "4096", [true, true, false]),
            (TARGET, "1048576", [true, true, false]),
            ("/local/domain/7/memory/new", "", [false, false, true]),
            ("/local/domain/8/memory/target", "4096", [false; 3]),
        ] {
            let (_dir, host) = host("");
            let store = connect(&host);
            let transaction = store.begin().unwrap();
            used(&*transaction);
            connect(&host).write_each(&[(path, value)]).unwrap();
            let result = transaction.commit();
            assert_eq!(says(result, &Answer::Again), conflicts[at], "use {at}, {path} = {value:?}");
        }
    }
}

#[test]
fn two_transactions_that_create_the_same_node_conflict() {
    let (_dir, host) = host("");
    let store = connect(&host);
    let transactions = [store.begin().unwrap(), store.begin().unwrap()];
    for (transaction, name) in transactions.iter().zip(["/a/b/c", "/a/d"]) {
        transaction.write_each(&[(name, "")]).unwrap();
    }
    let results = transactions.map(|transaction| transaction.commit().is_ok());
    assert_eq!(results, [true, false]);
    assert_eq!(store.list("/a").unwrap().unwrap(), ["b"]);
}

#[test]
fn a_removed_node_conflicts() {
    let (world, host) = in_memory(World::start());
    let store = connect(&host);
    let transaction = store.begin().unwrap();
    transaction.read_each(&[TARGET]).unwrap();
    world.lock().unwrap().destroy(7);
    assert!(says(transaction.commit(), &Answer::Again));
    assert_eq!(store.list("/local/domain").unwrap().unwrap(), ["0", "8", "9"]);
}

#[test]
fn a_batch_outside_a_transaction_is_written_at_once() {
    let (_dir, host) = host("");
    connect(&host).write_each(&[(TARGET, "4"), ("/x", "y")]).unwrap();
    assert_eq!(
        (read(&host, TARGET).unwrap(), read(&host, "/x").unwrap()),
        ("4".into(), "y".into())
    );
}

#[test]
fn paths_that_xenstored_refuses_are_refused() {
    let (_dir, host) = host("");
    let store = connect(&host);
    for path in ["", "local", "/local/", "/local//domain", "/sp ace", "@what"] {
        let answer = Answer::Other("EINVAL".to_owned());
        assert!(says(store.read_each(&[TARGET, path]), &answer), "{path:?}");
        assert!(says(store.write_each(&[(path, "")]), &answer), "{path:?}");
    }
    assert!(store.list("/").unwrap().unwrap().contains(&"local".to_owned()));
}

#[test]
fn only_the_owner_may_write() {
    let (world, host) = in_memory(World::start());
    let store = connect(&host);
    let web = super::dom(7);
    assert!(!store.may_write_any(web, &[TARGET]).unwrap());
    world.lock().unwrap().domains.get_mut(&7).unwrap().owns_nodes = true;
    assert!(store.may_write_any(web, &["/nowhere", TARGET]).unwrap());
    assert!(!store.may_write_any(web, &["/nowhere", "/local/domain/8/name"]).unwrap());
    assert!(!store.may_write_any(web, &["/local/domain/7/nowhere"]).unwrap());
}

#[test]
fn concurrent_threads_lose_no_change() {
    let (_dir, host) = host("");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| super::processes::count(&host, 50));
        }
    });
    assert_eq!(read(&host, super::processes::COUNTER).unwrap(), "200");
    assert!(host.hypervisor().domains().is_ok());
}
