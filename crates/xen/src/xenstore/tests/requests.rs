//! Each request byte for byte, and each regular reply.

use super::peer::Typed as _;
use super::peer::{
    AMPLE, DIRECTORY, END, ERROR, EVENT, GET_PERMS, Message, Peer, READ, RM, START, WRITE,
    with_client,
};
use super::{
    Answer, Nodes as _, Store as _, StoreError, Xs as _, XsTransaction as _, XsTransactionSpan as _,
};
use std::io::{self, Read as _};
use std::time::{Duration, Instant};

use crate::domain::DomId;

#[test]
fn a_read_request_has_the_protocols_bytes() {
    let script = |peer: &mut Peer| {
        let mut bytes = [0; 19];
        peer.0.read_exact(&mut bytes).unwrap();
        let words: Vec<u8> = [2_u32, 1, 0, 3].iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(bytes.split_at(16), (&words[..], &b"/a\0"[..]));
        peer.send(READ, 1, 0, b"524288");
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| assert_eq!(&*client.read("/a").unwrap(), "524288"));
}

#[test]
fn every_request_has_the_protocols_bytes() {
    let script = |peer: &mut Peer| {
        peer.serve(DIRECTORY, 0, b"/local/domain\0", b"0\x0017\0");
        peer.serve(DIRECTORY, 0, b"/empty\0", b"");
        peer.serve(READ, 0, b"/r\0", b"");
        peer.serve(WRITE, 0, b"/w\0value", b"OK\0");
        peer.serve(WRITE, 0, b"/w\0", b"OK\0");
        peer.serve(RM, 0, b"/w\0", b"OK\0");
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        assert_eq!(client.directory("/local/domain").unwrap(), ["0".into(), "17".into()]);
        assert!(client.directory("/empty").unwrap().is_empty());
        assert_eq!(&*client.read("/r").unwrap(), "");
        client.write("/w", "value").unwrap();
        client.write("/w", "").unwrap();
        client.rm("/w").unwrap();
    });
}

#[test]
fn request_ids_count_up_from_one() {
    let script = |peer: &mut Peer| {
        for id in 1..=3 {
            assert_eq!(peer.expect(READ, 0, b"/a\0"), id);
            peer.send(READ, id, 0, b"x");
        }
    };
    with_client(AMPLE, script, |client| {
        let other = client.clone();
        for client in [&client, &other, &client] {
            client.read("/a").unwrap();
        }
    });
}

#[test]
fn a_committed_transaction_is_not_aborted() {
    let script = |peer: &mut Peer| {
        peer.serve(START, 0, b"\0", b"4294967295\0");
        peer.serve(READ, u32::MAX, b"/a\0", b"1");
        peer.serve(WRITE, u32::MAX, b"/a\x002", b"OK\0");
        peer.serve(RM, u32::MAX, b"/b\0", b"OK\0");
        peer.serve(DIRECTORY, u32::MAX, b"/\0", b"a\0");
        peer.serve(END, u32::MAX, b"T\0", b"OK\0");
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        let span = client.transaction().unwrap();
        assert_eq!(&*span.read("/a").unwrap(), "1");
        span.write("/a", "2").unwrap();
        span.rm("/b").unwrap();
        assert_eq!(span.directory("/").unwrap(), ["a".into()]);
        span.commit().unwrap();
    });
}

#[test]
fn a_refused_commit_is_not_followed_by_an_abort() {
    for errno in ["EAGAIN", "ENOSPC", "EINVAL", "ENOENT"] {
        let script = |peer: &mut Peer| {
            peer.serve(START, 0, b"\0", b"7\0");
            peer.refuse(END, 7, b"T\0", errno);
            peer.serve(READ, 0, b"/a\0", b"1");
            peer.expect_end();
        };
        with_client(AMPLE, script, |client| {
            let error = client.transaction().unwrap().commit().unwrap_err();
            assert!(error.typed().is(&Answer::named(errno)));
            client.read("/a").unwrap();
        });
    }
}

#[test]
fn a_dropped_transaction_is_aborted_and_the_connection_stays_usable() {
    let script = |peer: &mut Peer| {
        peer.serve(START, 0, b"\0", b"7\0");
        peer.serve(END, 7, b"F\0", b"OK\0");
        peer.serve(START, 0, b"\0", b"8\0");
        peer.refuse(END, 8, b"F\0", "ENOENT");
        peer.serve(READ, 0, b"/a\0", b"1");
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        drop(client.transaction().unwrap());
        drop(client.transaction().unwrap());
        client.read("/a").unwrap();
    });
}

#[test]
fn a_transaction_outlives_its_client() {
    let script = |peer: &mut Peer| {
        peer.serve(START, 0, b"\0", b"7\0");
        peer.serve(END, 7, b"T\0", b"OK\0");
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        let span = client.transaction().unwrap();
        drop(client);
        span.commit().unwrap();
    });
}

#[test]
fn refusals_are_typed_and_leave_the_connection_usable() {
    let table = [
        ("EAGAIN", Answer::Again),
        ("ENOENT", Answer::NotFound),
        ("EACCES", Answer::Denied),
        ("EPERM", Answer::Denied),
        ("ENOSPC", Answer::NoSpace),
        ("EQUOTA", Answer::Quota),
        ("E2BIG", Answer::TooBig),
        ("ENOSYS", Answer::Unknown),
        ("EIO", Answer::Other("EIO".to_owned())),
        ("EFROB", Answer::Other("EFROB".to_owned())),
    ];
    let script = |peer: &mut Peer| {
        for (errno, _) in &table {
            peer.refuse(WRITE, 0, b"/a\0v", errno);
        }
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        for (_, answer) in &table {
            let error = client.write("/a", "v").unwrap_err();
            let StoreError::Answered { answer: said, request } = error.typed() else {
                panic!("{error:?}");
            };
            assert_eq!((said, request.as_str()), (answer, "WRITE /a"));
        }
    });
}

/// The owner may do everything; another domain what its own entry says, or else the first entry.
#[test]
fn permissions_decide_who_may_write() {
    let table: [(&[u8], bool); 12] = [
        // As libxl sets them: dom0 owns the node, the guest may read it.
        (b"n0\0r7\0", false),
        (b"r0\0", false),
        (b"n7\0", true),
        (b"r7\0r0\0", true),
        (b"n0\0w7\0", true),
        (b"n0\0b7\0", true),
        (b"n0\0n7\0", false),
        (b"n0\0b77\0", false),
        (b"n0\0r9\0b8\0b7\0", true),
        // Every domain may.
        (b"w0\0", true),
        (b"b0\0", true),
        (b"b0\0n7\0", false),
    ];
    let script = |peer: &mut Peer| {
        peer.serve(START, 0, b"\0", b"9\0");
        for (permissions, _) in &table {
            peer.serve(GET_PERMS, 9, b"/a\0", permissions);
        }
        // One writable node of several is enough; a node that does not exist is not writable.
        let ids = [b"/a\0", b"/b\0", b"/c\0"].map(|path| peer.expect(GET_PERMS, 9, path));
        peer.send(ERROR, ids[0], 9, b"ENOENT\0");
        peer.send(GET_PERMS, ids[1], 9, b"n7\0");
        peer.send(GET_PERMS, ids[2], 9, b"n0\0");
        peer.refuse(GET_PERMS, 9, b"/a\0", "ENOENT");
        peer.refuse(GET_PERMS, 9, b"/a\0", "EIO");
        peer.serve(END, 9, b"F\0", b"OK\0");
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        let span = client.transaction().unwrap();
        let web = DomId::new(7).unwrap();
        for (permissions, may) in &table {
            let text = String::from_utf8_lossy(permissions);
            assert_eq!(span.may_write_any(web, &["/a"]).unwrap(), *may, "{text:?}");
        }
        assert!(span.may_write_any(web, &["/a", "/b", "/c"]).unwrap());
        assert!(!span.may_write_any(web, &["/a"]).unwrap());
        let error = span.may_write_any(web, &["/a"]).unwrap_err();
        assert_eq!(error.to_string(), "xenstored answered EIO to GET_PERMS /a");
    });
}

/// They do not count as "may not write".
#[test]
fn malformed_permissions_are_an_error() {
    for bad in [
        &b""[..],
        b"\0",
        b"n0",
        b"x0\0",
        b"n\0",
        b"n+7\0",
        b"n-7\0",
        b"n0\0\0",
        b"n0\0r\0",
        b"n4294967296\0",
        b"\xff0\0",
    ] {
        let script = |peer: &mut Peer| {
            peer.serve(GET_PERMS, 0, b"/a\0", bad);
            peer.expect_end();
        };
        with_client(AMPLE, script, |client| {
            let error = client.may_write_any(DomId::new(7).unwrap(), &["/a"]).unwrap_err();
            assert!(matches!(error, StoreError::Garbled { .. }), "{bad:?}: {error}");
        });
    }
}

#[test]
fn a_value_is_returned_unchanged() {
    let script = |peer: &mut Peer| {
        peer.serve(READ, 0, b"/a\0", b"1\0\0");
        peer.serve(READ, 0, b"/a\0", b"\xff");
        peer.serve(READ, 0, b"/a\0", b"\xff");
        peer.serve(READ, 0, b"/a\0", &[b'x'; 4096]);
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        assert_eq!(&*client.read("/a").unwrap(), "1\0\0");
        assert_eq!(client.read_each(&["/a"]).unwrap(), [Some(b"\xff".to_vec())]);
        // xenstore-rs has text values only.
        assert_eq!(client.read("/a").unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(client.read("/a").unwrap().len(), 4096);
    });
}

#[test]
fn an_unsendable_request_fails_without_being_sent() {
    let script = |peer: &mut Peer| {
        let longest = format!("/{}\0", "p".repeat(3071));
        peer.serve(READ, 0, longest.as_bytes(), b"1");
        let value = format!("/a\0{}", "v".repeat(4093));
        peer.serve(WRITE, 0, value.as_bytes(), b"OK\0");
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        let long = format!("/{}", "p".repeat(3072));
        let unsendable: [io::Error; 8] = [
            client.read("/a\0b").unwrap_err(),
            client.write("\0", "").unwrap_err(),
            client.read(&long).unwrap_err(),
            client.rm(&long).unwrap_err(),
            client.directory(&long).unwrap_err(),
            client.write("/a", &"v".repeat(4094)).unwrap_err(),
            client.read_each(&["/a", &long]).unwrap_err().into(),
            client.write_each(&[("/a", "1"), ("/b\0", "1")]).unwrap_err().into(),
        ];
        for error in unsendable {
            assert!(matches!(error.typed(), StoreError::Unsendable { .. }));
        }
        client.read(&long[..3072]).unwrap();
        client.write("/a", &"v".repeat(4093)).unwrap();
    });
}

#[test]
fn a_reply_may_arrive_byte_by_byte_after_watch_events() {
    let script = |peer: &mut Peer| {
        let id = peer.expect(READ, 0, b"/a\0");
        // The kernel leaves the ids of an event unset, and adds fields to some.
        let mut bytes = Message::new(EVENT, 0, 0, b"@releaseDomain\0tok\0").bytes();
        bytes.extend(Message::new(EVENT, 0xdead_beef, 77, b"/w\0t2\0more\0").bytes());
        bytes.extend(Message::new(READ, id, 0, b"value").bytes());
        for byte in bytes {
            peer.raw(&[byte]);
            std::thread::sleep(Duration::from_micros(200));
        }
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        assert_eq!(&*client.read("/a").unwrap(), "value");
        assert_eq!(client.changes(Duration::ZERO).unwrap(), ["@releaseDomain", "/w"]);
        assert!(client.changes(Duration::ZERO).unwrap().is_empty());
    });
}

#[test]
fn the_oldest_of_too_many_watch_events_are_dropped() {
    let script = |peer: &mut Peer| {
        let id = peer.expect(READ, 0, b"/a\0");
        for n in 0..1030 {
            peer.send(EVENT, 0, 0, format!("/{n}\0t\0").as_bytes());
        }
        peer.send(READ, id, 0, b"");
    };
    with_client(AMPLE, script, |client| {
        client.read("/a").unwrap();
        let events = client.changes(Duration::ZERO).unwrap();
        assert_eq!((events.len(), &*events[0], &*events[1023]), (1024, "/6", "/1029"));
    });
}

/// It was read together with the reply: no further byte would end the wait.
#[test]
fn an_event_right_after_a_reply_is_not_waited_for() {
    let script = |peer: &mut Peer| {
        let id = peer.expect(READ, 0, b"/a\0");
        let mut bytes = Message::new(READ, id, 0, b"1").bytes();
        bytes.extend(Message::new(EVENT, 0, 0, b"/w\0xmem\0").bytes());
        peer.raw(&bytes);
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        client.read("/a").unwrap();
        let begun = Instant::now();
        assert_eq!(client.changes(AMPLE).unwrap(), ["/w"]);
        assert!(begun.elapsed() < AMPLE / 2);
    });
}
