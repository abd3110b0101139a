//! The change over the real xenstore client, and its cost for xenstored.

use xen::NoInterrupt;
use xmem_core::change::{ChangeSession, ChangeStatus};
use xmem_sim::{Fault, Faults, WireHost};

use crate::scene::{Scene, request, requests, set};

fn host(scene: &Scene) -> WireHost {
    WireHost::new(&scene.world.0, scene.dir(), Faults::from_iter([Fault::GuestIgnores]))
}

#[test]
fn a_change_over_the_real_client_has_the_same_result() {
    for (memory, new) in requests() {
        let scene = Scene::new();
        let host = host(&scene);
        let outcome = ChangeSession::new(&host).change(&request(memory), &NoInterrupt).unwrap();
        assert_eq!(outcome.status, ChangeStatus::Changed);
        assert_eq!(scene.numbers(), new);
        assert_eq!(scene.files().len(), 0);
    }
}

/// What the guest reports is asked for with the start of the transaction, and only if it may come to hold less.
#[test]
fn a_change_is_four_round_trips_over_one_connection() {
    let scene = Scene::new();
    let host = host(&scene);
    let mut session = ChangeSession::new(&host);
    // Start, seven reads, two writes, commit.
    let (usual, reports) = (11, 3);
    for (size, connections, requests) in [
        ("512M", 1, usual + reports),
        ("1G", 0, usual),
        ("-4M", 0, usual + reports),
        ("+8M", 0, usual),
    ] {
        session.change(&request(set(size)), &NoInterrupt).unwrap();
        let counts = host.xenstored.take_counts();
        assert_eq!(
            (counts.connections, counts.requests, counts.round_trips),
            (connections, requests, 4),
            "{size}"
        );
    }
}
