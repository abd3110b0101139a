//! Listings longer than a message.

use super::peer::Typed as _;
use super::peer::{AMPLE, DIRECTORY, END, ERROR, PART, Peer, READ, START, with_client};
use super::{Answer, Nodes as _, Xs as _, XsTransaction as _, XsTransactionSpan as _};

#[test]
fn a_long_listing_from_oxenstored_is_accepted() {
    let names: Vec<String> = (0..32752).map(|id| id.to_string()).collect();
    let payload = names.iter().flat_map(|name| name.bytes().chain([0])).collect::<Vec<u8>>();
    assert_eq!(payload.len(), 185_402);
    let script = |peer: &mut Peer| {
        peer.serve(DIRECTORY, 0, b"/local/domain\0", &payload);
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        let listing = client.directory("/local/domain").unwrap();
        assert!(listing.iter().map(|name| &**name).eq(names.iter()));
    });
}

#[test]
fn a_listing_too_long_for_one_message_comes_in_parts() {
    let script = |peer: &mut Peer| {
        peer.serve(START, 0, b"\0", b"3\0");
        peer.refuse(DIRECTORY, 3, b"/d\0", "E2BIG");
        peer.serve(PART, 3, b"/d\x000\0", b"41\x00a\0bb\0");
        peer.serve(PART, 3, b"/d\x005\0", b"41\x00ccc\0");
        // The node has changed, so the listing starts over.
        peer.serve(PART, 3, b"/d\x009\0", b"42\x00d\0\0");
        peer.serve(PART, 3, b"/d\x000\0", b"43\x00x\0");
        peer.serve(PART, 3, b"/d\x002\0", b"43\x00y\0\0");
        peer.serve(END, 3, b"T\0", b"OK\0");
        // The last part may be empty, and so may the listing by then.
        peer.refuse(DIRECTORY, 0, b"/d\0", "E2BIG");
        peer.serve(PART, 0, b"/d\x000\0", b"1\x00a\0");
        peer.serve(PART, 0, b"/d\x002\0", b"1\0\0");
        peer.refuse(DIRECTORY, 0, b"/d\0", "E2BIG");
        peer.serve(PART, 0, b"/d\x000\0", b"1\0\0");
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        let span = client.transaction().unwrap();
        assert_eq!(span.directory("/d").unwrap(), ["x".into(), "y".into()]);
        span.commit().unwrap();
        assert_eq!(client.directory("/d").unwrap(), ["a".into()]);
        assert!(client.directory("/d").unwrap().is_empty());
    });
}

#[test]
fn a_daemon_without_directory_part_returns_e2big() {
    let script = |peer: &mut Peer| {
        peer.refuse(DIRECTORY, 0, b"/d\0", "E2BIG");
        peer.refuse(PART, 0, b"/d\x000\0", "ENOSYS");
        peer.refuse(DIRECTORY, 0, b"/d\0", "E2BIG");
        peer.refuse(PART, 0, b"/d\x000\0", "ENOENT");
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        let error = client.directory("/d").unwrap_err();
        assert!(error.typed().is(&Answer::TooBig));
        assert_eq!(error.to_string(), "xenstored answered E2BIG to DIRECTORY /d");
        let error = client.directory("/d").unwrap_err();
        assert!(error.typed().is(&Answer::NotFound));
    });
}

#[test]
fn a_listing_that_keeps_changing_is_given_up() {
    let script = |peer: &mut Peer| {
        peer.refuse(DIRECTORY, 0, b"/d\0", "E2BIG");
        for n in 0..17 {
            peer.serve(PART, 0, b"/d\x000\0", format!("1{n}\0a\0").as_bytes());
            peer.serve(PART, 0, b"/d\x002\0", format!("2{n}\0a\0").as_bytes());
        }
        peer.serve(READ, 0, b"/a\0", b"");
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        let error = client.directory("/d").unwrap_err();
        assert!(error.typed().is(&Answer::TooBig));
        client.read("/a").unwrap();
    });
}

#[test]
fn several_listings_are_in_flight_together() {
    let script = |peer: &mut Peer| {
        let ids = [b"/a\0", b"/b\0", b"/c\0", b"/d\0"].map(|path| peer.expect(DIRECTORY, 0, path));
        peer.send(DIRECTORY, ids[0], 0, b"x\0y\0");
        peer.send(ERROR, ids[1], 0, b"ENOENT\0");
        peer.send(ERROR, ids[2], 0, b"E2BIG\0");
        peer.send(DIRECTORY, ids[3], 0, b"");
        // A listing that is too long for a message comes after the others.
        peer.refuse(DIRECTORY, 0, b"/c\0", "E2BIG");
        peer.serve(PART, 0, b"/c\x000\0", b"1\x00z\0\0");
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        let listed = client.list_each(&["/a", "/b", "/c", "/d"]).unwrap();
        assert_eq!(listed, [names(&["x", "y"]), None, names(&["z"]), names(&[])]);
    });
}
