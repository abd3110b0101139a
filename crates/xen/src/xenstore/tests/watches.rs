//! Watches: their requests and events.

use std::time::{Duration, Instant};

use super::peer::{AMPLE, END, ERROR, EVENT, Message, Peer, START, UNWATCH, WATCH, with_client};
use super::{Answer, Store as _, StoreError};

#[test]
fn watch_requests_have_path_and_token_and_go_in_one_batch() {
    let script = |peer: &mut Peer| {
        let paths = [&b"/a\0xen\0"[..], b"@introduceDomain\0xen\0", b"/b\0xen\0"];
        for kind in [WATCH, UNWATCH] {
            // All of them are sent before the first reply.
            let ids = paths.map(|path| peer.expect(kind, 0, path));
            for id in ids {
                peer.send(kind, id, 0, b"OK\0");
            }
        }
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        let paths = ["/a", "@introduceDomain", "/b"];
        client.watch(&paths).unwrap();
        client.unwatch(&paths).unwrap();
        client.watch(&[]).unwrap();
        client.unwatch(&[]).unwrap();
    });
}

#[test]
fn thousands_of_watches_go_in_windows_of_64() {
    let script = |peer: &mut Peer| {
        for window in [64, 64, 22] {
            let ids: Vec<u32> = (0..window).map(|_| peer.next().unwrap().id).collect();
            peer.expect_silence();
            for id in ids {
                // C xenstored fires each watch right after its reply.
                peer.send(WATCH, id, 0, b"OK\0");
                peer.send(EVENT, 0, 0, b"/a\0xen\0");
            }
        }
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        client.watch(&["/a"; 150]).unwrap();
        let mut events = Vec::new();
        while events.len() < 150 {
            events.extend(client.changes(AMPLE).unwrap());
        }
        assert_eq!(events, ["/a"; 150]);
    });
}

#[test]
fn a_refused_watch_is_an_error() {
    let script = |peer: &mut Peer| {
        let ids = [b"/a\0xen\0", b"/b\0xen\0"].map(|path| peer.expect(WATCH, 0, path));
        peer.send(WATCH, ids[0], 0, b"OK\0");
        peer.send(ERROR, ids[1], 0, b"EEXIST\0");
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        let error = client.watch(&["/a", "/b"]).unwrap_err();
        assert!(error.is(&Answer::Other("EEXIST".to_owned())), "{error}");
        assert_eq!(error.to_string(), "xenstored answered EEXIST to WATCH /b");
    });
}

#[test]
fn removing_a_watch_that_does_not_exist_succeeds() {
    let script = |peer: &mut Peer| {
        for errno in ["ENOENT", "EIO"] {
            let ids = [b"/a\0xen\0", b"/b\0xen\0"].map(|path| peer.expect(UNWATCH, 0, path));
            peer.send(ERROR, ids[0], 0, format!("{errno}\0").as_bytes());
            peer.send(UNWATCH, ids[1], 0, b"OK\0");
        }
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        client.unwatch(&["/a", "/b"]).unwrap();
        let error = client.unwatch(&["/a", "/b"]).unwrap_err();
        assert_eq!(error.to_string(), "xenstored answered EIO to UNWATCH /a");
        assert!(client.is_usable());
    });
}

#[test]
fn waiting_for_changes_sends_nothing_and_ends_in_time() {
    let script = |peer: &mut Peer| peer.expect_end();
    with_client(AMPLE, script, |client| {
        let wait = Duration::from_millis(100);
        let begun = Instant::now();
        assert!(client.changes(wait).unwrap().is_empty());
        assert!(client.changes(Duration::ZERO).unwrap().is_empty());
        let took = begun.elapsed();
        assert!(took >= wait && took < Duration::from_secs(10), "{took:?}");
        assert!(client.is_usable());
    });
}

#[test]
fn a_change_ends_the_wait_at_once() {
    let script = |peer: &mut Peer| {
        std::thread::sleep(Duration::from_millis(50));
        peer.send(EVENT, 0, 0, b"/a\0xen\0");
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        let begun = Instant::now();
        assert_eq!(client.changes(AMPLE).unwrap(), ["/a"]);
        assert!(begun.elapsed() < AMPLE / 2);
    });
}

/// The rest arrives later, and the connection stays usable.
#[test]
fn part_of_an_event_does_not_end_the_wait() {
    let event = Message::new(EVENT, 0, 0, b"/a\0xen\0").bytes();
    let (first, rest) = event.split_at(20);
    let script = |peer: &mut Peer| {
        peer.raw(first);
        let id = peer.expect(UNWATCH, 0, b"/b\0xen\0");
        peer.raw(rest);
        peer.send(UNWATCH, id, 0, b"OK\0");
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        assert!(client.changes(AMPLE).unwrap().is_empty());
        client.unwatch(&["/b"]).unwrap();
        assert_eq!(client.changes(AMPLE).unwrap(), ["/a"]);
    });
}

#[test]
fn a_reply_while_waiting_for_changes_ends_the_connection() {
    for message in [
        Message::new(WATCH, 1, 0, b"OK\0"),
        Message::new(ERROR, 1, 0, b"EIO\0"),
        Message::new(EVENT, 0, 0, &[b'a'; 4097]),
        Message::new(EVENT, 0, 0, b"/a"),
    ] {
        let script = |peer: &mut Peer| {
            peer.raw(&message.bytes());
            peer.expect_end();
        };
        with_client(AMPLE, script, |client| {
            let error = client.changes(AMPLE).unwrap_err();
            assert!(matches!(error, StoreError::Garbled { .. }), "{error:?}");
            assert!(!client.is_usable());
        });
    }
}

#[test]
fn a_close_while_waiting_for_changes_is_an_error() {
    with_client(
        AMPLE,
        |_: &mut Peer| {},
        |client| {
            let error = client.changes(AMPLE).unwrap_err();
            assert!(matches!(error, StoreError::Closed { .. }), "{error:?}");
        },
    );
}

#[test]
fn watches_stay_outside_an_open_transaction() {
    let script = |peer: &mut Peer| {
        peer.serve(START, 0, b"\0", b"9\0");
        peer.serve(WATCH, 0, b"/a\0xen\0", b"OK\0");
        peer.serve(END, 9, b"T\0", b"OK\0");
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        let transaction = client.begin().unwrap();
        client.watch(&["/a"]).unwrap();
        transaction.commit().unwrap();
    });
}
