//! Each request byte for byte, and each orderly answer to it.

use super::peer::{
    AMPLE, DIRECTORY, END, ERROR, EVENT, Message, PART, Peer, READ, RM, START, WRITE, play,
};
use super::{Answer, Batch as _, StoreError, Xs as _, XsTransaction as _, XsTransactionSpan as _};
use std::io::Read as _;
use std::time::Duration;

#[test]
fn a_read_is_these_bytes() {
    let script = |peer: &mut Peer| {
        let mut bytes = [0; 19];
        peer.0.read_exact(&mut bytes).unwrap();
        let words: Vec<u8> = [2_u32, 1, 0, 3].iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(bytes.split_at(16), (&words[..], &b"/a\0"[..]));
        peer.send(READ, 1, 0, b"524288");
        peer.expect_end();
    };
    play(AMPLE, script, |client| assert_eq!(&*client.read("/a").unwrap(), "524288"));
}

#[test]
fn every_request_outside_a_transaction() {
    let script = |peer: &mut Peer| {
        peer.serve(DIRECTORY, 0, b"/local/domain\0", b"0\x0017\0");
        peer.serve(DIRECTORY, 0, b"/empty\0", b"");
        peer.serve(READ, 0, b"/r\0", b"");
        peer.serve(WRITE, 0, b"/w\0value", b"OK\0");
        peer.serve(WRITE, 0, b"/w\0", b"OK\0");
        peer.serve(RM, 0, b"/w\0", b"OK\0");
        peer.expect_end();
    };
    play(AMPLE, script, |client| {
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
    play(AMPLE, script, |client| {
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
    play(AMPLE, script, |client| {
        let span = client.transaction().unwrap();
        assert_eq!(&*span.read("/a").unwrap(), "1");
        span.write("/a", "2").unwrap();
        span.rm("/b").unwrap();
        assert_eq!(span.directory("/").unwrap(), ["a".into()]);
        span.commit().unwrap();
    });
}

#[test]
fn a_commit_that_is_refused_is_not_followed_by_an_abort() {
    for errno in ["EAGAIN", "ENOSPC", "EINVAL", "ENOENT"] {
        let script = |peer: &mut Peer| {
            peer.serve(START, 0, b"\0", b"7\0");
            peer.refuse(END, 7, b"T\0", errno);
            peer.serve(READ, 0, b"/a\0", b"1");
            peer.expect_end();
        };
        play(AMPLE, script, |client| {
            let error = client.transaction().unwrap().commit().unwrap_err();
            assert!(StoreError::is(&error, &Answer::named(errno)));
            client.read("/a").unwrap();
        });
    }
}

#[test]
fn a_dropped_transaction_is_aborted_and_the_connection_stays_in_step() {
    let script = |peer: &mut Peer| {
        peer.serve(START, 0, b"\0", b"7\0");
        peer.serve(END, 7, b"F\0", b"OK\0");
        peer.serve(START, 0, b"\0", b"8\0");
        peer.refuse(END, 8, b"F\0", "ENOENT");
        peer.serve(READ, 0, b"/a\0", b"1");
        peer.expect_end();
    };
    play(AMPLE, script, |client| {
        drop(client.transaction().unwrap());
        drop(client.transaction().unwrap());
        client.read("/a").unwrap();
    });
}

#[test]
fn a_transaction_outlives_the_client_it_came_from() {
    let script = |peer: &mut Peer| {
        peer.serve(START, 0, b"\0", b"7\0");
        peer.serve(END, 7, b"T\0", b"OK\0");
        peer.expect_end();
    };
    play(AMPLE, script, |client| {
        let span = client.transaction().unwrap();
        drop(client);
        span.commit().unwrap();
    });
}

#[test]
fn errors_are_told_apart_and_leave_the_connection_usable() {
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
    play(AMPLE, script, |client| {
        for (_, answer) in &table {
            let error = client.write("/a", "v").unwrap_err();
            let Some(StoreError::Answered { answer: said, request }) = StoreError::of(&error)
            else {
                panic!("{error:?}");
            };
            assert_eq!((said, request.as_str()), (answer, "WRITE /a"));
        }
    });
}

#[test]
fn a_value_is_kept_as_it_is() {
    let script = |peer: &mut Peer| {
        peer.serve(READ, 0, b"/a\0", b"1\0\0");
        peer.serve(READ, 0, b"/a\0", b"\xff");
        peer.serve(DIRECTORY, 0, b"/a\0", b"\xff\0");
        peer.serve(READ, 0, b"/a\0", &[b'x'; 4096]);
        peer.expect_end();
    };
    play(AMPLE, script, |client| {
        assert_eq!(&*client.read("/a").unwrap(), "1\0\0");
        for error in [client.read("/a").unwrap_err(), client.directory("/a").unwrap_err()] {
            let error = StoreError::of(&error);
            assert!(matches!(error, Some(StoreError::NotText { path }) if path == "/a"));
        }
        assert_eq!(client.read("/a").unwrap().len(), 4096);
    });
}

#[test]
fn what_cannot_be_sent_is_not_sent() {
    let script = |peer: &mut Peer| {
        let longest = format!("/{}\0", "p".repeat(3071));
        peer.serve(READ, 0, longest.as_bytes(), b"1");
        let value = format!("/a\0{}", "v".repeat(4093));
        peer.serve(WRITE, 0, value.as_bytes(), b"OK\0");
        peer.expect_end();
    };
    play(AMPLE, script, |client| {
        let long = format!("/{}", "p".repeat(3072));
        let unsendable = [
            client.read("/a\0b").unwrap_err(),
            client.write("\0", "").unwrap_err(),
            client.read(&long).unwrap_err(),
            client.rm(&long).unwrap_err(),
            client.directory(&long).unwrap_err(),
            client.write("/a", &"v".repeat(4094)).unwrap_err(),
            client.read_each(&["/a", &long]).unwrap_err(),
            client.write_each(&[("/a", "1"), ("/b\0", "1")]).unwrap_err(),
        ];
        for error in unsendable {
            assert!(matches!(StoreError::of(&error), Some(StoreError::Unsendable { .. })));
        }
        client.read(&long[..3072]).unwrap();
        client.write("/a", &"v".repeat(4093)).unwrap();
    });
}

#[test]
fn a_reply_may_come_byte_by_byte_with_watch_events_before_it() {
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
    play(AMPLE, script, |client| {
        assert_eq!(&*client.read("/a").unwrap(), "value");
        let events = client.take_events();
        let events: Vec<_> = events.iter().map(|event| (&*event.path, &*event.token)).collect();
        assert_eq!(events, [("@releaseDomain", "tok"), ("/w", "t2")]);
        assert!(client.take_events().is_empty());
    });
}

#[test]
fn of_too_many_watch_events_the_oldest_go() {
    let script = |peer: &mut Peer| {
        let id = peer.expect(READ, 0, b"/a\0");
        for n in 0..1030 {
            peer.send(EVENT, 0, 0, format!("/{n}\0t\0").as_bytes());
        }
        peer.send(READ, id, 0, b"");
    };
    play(AMPLE, script, |client| {
        client.read("/a").unwrap();
        let events = client.take_events();
        assert_eq!((events.len(), &*events[0].path), (1024, "/6"));
        assert_eq!(&*events[1023].path, "/1029");
    });
}

#[test]
fn a_long_listing_of_oxenstored_is_taken_whole() {
    let names: Vec<String> = (0..32752).map(|id| id.to_string()).collect();
    let payload = names.iter().flat_map(|name| name.bytes().chain([0])).collect::<Vec<u8>>();
    assert_eq!(payload.len(), 185_402);
    let script = |peer: &mut Peer| {
        peer.serve(DIRECTORY, 0, b"/local/domain\0", &payload);
        peer.expect_end();
    };
    play(AMPLE, script, |client| {
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
        // It has changed: all over again.
        peer.serve(PART, 3, b"/d\x009\0", b"42\x00d\0\0");
        peer.serve(PART, 3, b"/d\x000\0", b"43\x00x\0");
        peer.serve(PART, 3, b"/d\x002\0", b"43\x00y\0\0");
        peer.serve(END, 3, b"T\0", b"OK\0");
        // The last part may bring nothing, and a listing may have become empty.
        peer.refuse(DIRECTORY, 0, b"/d\0", "E2BIG");
        peer.serve(PART, 0, b"/d\x000\0", b"1\x00a\0");
        peer.serve(PART, 0, b"/d\x002\0", b"1\0\0");
        peer.refuse(DIRECTORY, 0, b"/d\0", "E2BIG");
        peer.serve(PART, 0, b"/d\x000\0", b"1\0\0");
        peer.expect_end();
    };
    play(AMPLE, script, |client| {
        let span = client.transaction().unwrap();
        assert_eq!(span.directory("/d").unwrap(), ["x".into(), "y".into()]);
        span.commit().unwrap();
        assert_eq!(client.directory("/d").unwrap(), ["a".into()]);
        assert!(client.directory("/d").unwrap().is_empty());
    });
}

#[test]
fn a_daemon_without_parts_leaves_e2big() {
    let script = |peer: &mut Peer| {
        peer.refuse(DIRECTORY, 0, b"/d\0", "E2BIG");
        peer.refuse(PART, 0, b"/d\x000\0", "ENOSYS");
        peer.refuse(DIRECTORY, 0, b"/d\0", "E2BIG");
        peer.refuse(PART, 0, b"/d\x000\0", "ENOENT");
        peer.expect_end();
    };
    play(AMPLE, script, |client| {
        let error = client.directory("/d").unwrap_err();
        assert!(StoreError::is(&error, &Answer::TooBig));
        assert_eq!(error.to_string(), "xenstored answered E2BIG to DIRECTORY /d");
        let error = client.directory("/d").unwrap_err();
        assert!(StoreError::is(&error, &Answer::NotFound));
    });
}

#[test]
fn a_listing_that_never_stands_still_is_given_up() {
    let script = |peer: &mut Peer| {
        peer.refuse(DIRECTORY, 0, b"/d\0", "E2BIG");
        for n in 0..17 {
            peer.serve(PART, 0, b"/d\x000\0", format!("1{n}\0a\0").as_bytes());
            peer.serve(PART, 0, b"/d\x002\0", format!("2{n}\0a\0").as_bytes());
        }
        peer.serve(READ, 0, b"/a\0", b"");
        peer.expect_end();
    };
    play(AMPLE, script, |client| {
        let error = client.directory("/d").unwrap_err();
        assert!(StoreError::is(&error, &Answer::TooBig));
        client.read("/a").unwrap();
    });
}

#[test]
fn a_batch_is_written_whole_before_its_first_reply() {
    let script = |peer: &mut Peer| {
        peer.serve(START, 0, b"\0", b"9\0");
        let ids = [b"/a\0", b"/b\0", b"/c\0"].map(|path| peer.expect(READ, 9, path));
        assert_eq!(ids, [2, 3, 4]);
        peer.send(READ, 2, 9, b"1");
        peer.send(EVENT, 0, 0, b"/w\0t\0");
        peer.send(ERROR, 3, 9, b"ENOENT\0");
        peer.send(READ, 4, 9, b"3");
        let ids = [b"/a\x001", b"/b\x002"].map(|node| peer.expect(WRITE, 9, node));
        for id in ids {
            peer.send(WRITE, id, 9, b"OK\0");
        }
        peer.serve(END, 9, b"T\0", b"OK\0");
        peer.expect_end();
    };
    play(AMPLE, script, |client| {
        let span = client.transaction().unwrap();
        let values = span.read_each(&["/a", "/b", "/c"]).unwrap();
        assert_eq!(values, [Some("1".into()), None, Some("3".into())]);
        span.write_each(&[("/a", "1"), ("/b", "2")]).unwrap();
        assert!(span.read_each(&[]).unwrap().is_empty());
        span.write_each(&[]).unwrap();
        span.commit().unwrap();
    });
}

#[test]
fn an_error_within_a_batch_leaves_the_connection_in_step() {
    let script = |peer: &mut Peer| {
        let ids = [b"/a\0", b"/b\0", b"/c\0", b"/d\0"].map(|path| peer.expect(READ, 0, path));
        peer.send(ERROR, ids[0], 0, b"ENOENT\0");
        peer.send(ERROR, ids[1], 0, b"EACCES\0");
        peer.send(ERROR, ids[2], 0, b"EIO\0");
        peer.send(READ, ids[3], 0, b"4");
        let ids = [b"/a\x001", b"/b\x002", b"/c\x003"].map(|node| peer.expect(WRITE, 0, node));
        peer.send(WRITE, ids[0], 0, b"OK\0");
        // For a write it is an error as any other.
        peer.send(ERROR, ids[1], 0, b"ENOENT\0");
        peer.send(ERROR, ids[2], 0, b"EQUOTA\0");
        peer.serve(READ, 0, b"/e\0", b"5");
        peer.expect_end();
    };
    play(AMPLE, script, |client| {
        let error = client.read_each(&["/a", "/b", "/c", "/d"]).unwrap_err();
        assert!(StoreError::is(&error, &Answer::Denied));
        assert_eq!(error.to_string(), "xenstored answered EACCES to READ /b");
        let error = client.write_each(&[("/a", "1"), ("/b", "2"), ("/c", "3")]).unwrap_err();
        assert_eq!(error.to_string(), "xenstored answered ENOENT to WRITE /b");
        assert_eq!(&*client.read("/e").unwrap(), "5");
    });
}

#[test]
fn a_long_batch_goes_in_windows() {
    let script = |peer: &mut Peer| {
        for window in [64, 64, 22] {
            let ids: Vec<u32> = (0..window).map(|_| peer.next().unwrap().id).collect();
            // Nothing more may come before the answers.
            peer.expect_silence();
            for id in ids {
                peer.send(READ, id, 0, id.to_string().as_bytes());
            }
        }
        peer.expect_end();
    };
    play(AMPLE, script, |client| {
        let values = client.read_each(&["/a"; 150]).unwrap();
        let ids = values.iter().map(|value| value.as_deref().unwrap().parse::<u32>().unwrap());
        assert!(ids.eq(1..=150));
    });
}

#[test]
fn a_window_of_long_writes_is_bounded_in_bytes() {
    let value = "v".repeat(4000);
    let script = |peer: &mut Peer| {
        for window in [16, 4] {
            let ids: Vec<u32> = (0..window).map(|_| peer.next().unwrap().id).collect();
            peer.expect_silence();
            for id in ids {
                peer.send(WRITE, id, 0, b"OK\0");
            }
        }
        peer.expect_end();
    };
    play(AMPLE, script, |client| client.write_each(&[("/a", value.as_str()); 20]).unwrap());
}
