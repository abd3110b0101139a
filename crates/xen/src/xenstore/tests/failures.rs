//! Daemons that close the connection, break the protocol, or do not answer.

use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use super::peer::{
    AMPLE, DIRECTORY, END, ERROR, EVENT, Message, PART, Peer, READ, START, Typed, WRITE,
    with_client,
};
use super::{
    Client, Nodes as _, Store as _, StoreError, Xs as _, XsTransaction as _, XsTransactionSpan as _,
};

const SHORT: Duration = Duration::from_millis(150);

/// A deadline of [`SHORT`] has passed by then, on any machine. Far less than [`AMPLE`].
const SOON: Duration = Duration::from_secs(5);

fn is_closed(error: &impl Typed) -> bool {
    matches!(error.typed(), StoreError::Closed { .. })
}

fn is_garbled(error: &impl Typed) -> bool {
    matches!(error.typed(), StoreError::Garbled { .. })
}

fn is_deadline(error: &impl Typed) -> bool {
    matches!(error.typed(), StoreError::Deadline { .. })
}

fn is_unusable(error: &impl Typed) -> bool {
    matches!(error.typed(), StoreError::Unusable { .. })
}

/// Checks that every further request on a broken connection fails at once.
fn assert_spent(client: &Client) {
    assert!(!client.is_usable());
    let begun = Instant::now();
    assert!(is_unusable(&client.read("/z").unwrap_err()));
    assert!(is_unusable(&client.write("/z", "1").unwrap_err()));
    assert!(is_unusable(&client.rm("/z").unwrap_err()));
    assert!(is_unusable(&client.directory("/z").unwrap_err()));
    assert!(is_unusable(&client.transaction().unwrap_err()));
    assert!(is_unusable(&client.read_each(&["/z", "/y"]).unwrap_err()));
    assert!(is_unusable(&client.write_each(&[("/z", "1")]).unwrap_err()));
    assert!(is_unusable(&client.changes(AMPLE).unwrap_err()));
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_close_at_each_byte_of_a_reply_is_an_error() {
    let reply = Message::new(READ, 1, 0, b"value").bytes();
    for cut in 0..reply.len() {
        let script = |peer: &mut Peer| {
            peer.expect(READ, 0, b"/a\0");
            peer.raw(&reply[..cut]);
        };
        with_client(AMPLE, script, |client| {
            let error = client.read("/a").unwrap_err();
            assert!(is_closed(&error), "{cut}: {error:?}");
            assert_eq!(error.to_string(), "xenstored closed the connection during READ /a");
            assert_spent(&client);
        });
    }
}

#[test]
fn a_close_at_each_byte_of_a_commits_reply_leaves_its_outcome_unknown() {
    let reply = Message::new(END, 2, 7, b"OK\0").bytes();
    for cut in 0..reply.len() {
        let script = |peer: &mut Peer| {
            peer.serve(START, 0, b"\0", b"7\0");
            peer.expect(END, 7, b"T\0");
            peer.raw(&reply[..cut]);
        };
        with_client(AMPLE, script, |client| {
            let error = client.transaction().unwrap().commit().unwrap_err();
            assert!(is_closed(&error), "{cut}: {error:?}");
        });
    }
}

#[test]
fn a_close_before_the_commit_was_read_leaves_its_outcome_unknown() {
    let script = |peer: &mut Peer| {
        peer.serve(START, 0, b"\0", b"7\0");
        peer.0.shutdown(Shutdown::Both).unwrap();
    };
    with_client(AMPLE, script, |client| {
        let span = client.transaction().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(is_closed(&span.commit().unwrap_err()));
    });
}

#[test]
fn a_close_within_a_batch_fails_the_whole_batch() {
    let script = |peer: &mut Peer| {
        let id = peer.expect(READ, 0, b"/a\0");
        peer.expect(READ, 0, b"/b\0");
        peer.send(READ, id, 0, b"1");
    };
    with_client(AMPLE, script, |client| {
        let error = client.read_each(&["/a", "/b"]).unwrap_err();
        assert_eq!(error.to_string(), "xenstored closed the connection during READ /b");
        assert_spent(&client);
    });
}

#[test]
fn a_reply_that_breaks_the_protocol_ends_the_connection() {
    let header =
        |kind, id, len: u32| -> Vec<u8> { [kind, id, 0, len].map(u32::to_ne_bytes).concat() };
    // Most of these have no payload, so they must be rejected by their header.
    let replies = [
        header(READ, 1, 4097),
        header(READ, 1, u32::MAX),
        header(ERROR, 1, 4097),
        header(EVENT, 0, 4097),
        header(DIRECTORY, 1, 4097),
        header(READ, 2, 1),
        header(READ, 0, 1),
        header(ERROR, 0, 1),
        header(WRITE, 1, 1),
        header(0, 1, 1),
        header(u32::MAX, 1, 1),
        Message::new(ERROR, 1, 0, b"ENOENT").bytes(),
        Message::new(ERROR, 1, 0, b"\0").bytes(),
        Message::new(ERROR, 1, 0, b"").bytes(),
        Message::new(ERROR, 1, 0, b"\x1b[31m\0").bytes(),
        Message::new(ERROR, 1, 0, b"ENO\0ENT\0").bytes(),
        Message::new(ERROR, 1, 0, &[b'E'; 4096]).bytes(),
        Message::new(EVENT, 0, 0, b"").bytes(),
        Message::new(EVENT, 0, 0, b"/a\0t").bytes(),
        Message::new(EVENT, 0, 0, b"/\xff\0t\0").bytes(),
    ];
    for reply in replies {
        let script = |peer: &mut Peer| {
            peer.expect(READ, 0, b"/a\0");
            peer.raw(&reply);
            peer.expect_end();
        };
        with_client(AMPLE, script, |client| {
            let error = client.read("/a").unwrap_err();
            assert!(is_garbled(&error), "{reply:?}: {error:?}");
            assert_spent(&client);
        });
    }
}

#[test]
fn a_listing_that_claims_too_many_bytes_is_rejected() {
    let script = |peer: &mut Peer| {
        let id = peer.expect(DIRECTORY, 0, b"/a\0");
        let words = [DIRECTORY, id, 0, (1 << 20) | 1];
        peer.raw(&words.map(u32::to_ne_bytes).concat());
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| assert!(is_garbled(&client.directory("/a").unwrap_err())));
}

#[test]
fn a_garbled_listing_ends_the_connection() {
    for listing in [&b"a"[..], b"a\0b", b"\0", b"a\0\0", b"\0a\0"] {
        let script = |peer: &mut Peer| {
            peer.serve(DIRECTORY, 0, b"/a\0", listing);
            peer.expect_end();
        };
        with_client(AMPLE, script, |client| {
            assert!(is_garbled(&client.directory("/a").unwrap_err()), "{listing:?}");
            assert_spent(&client);
        });
    }
}

#[test]
fn a_garbled_part_ends_the_connection() {
    for part in [&b""[..], b"1", b"1\0", b"\0a\0", b"x\0a\0", b"1\0a", b"1\0a\0b", b"1\0a\0\0\0"] {
        let script = |peer: &mut Peer| {
            peer.refuse(DIRECTORY, 0, b"/a\0", "E2BIG");
            peer.serve(PART, 0, b"/a\x000\0", part);
            peer.expect_end();
        };
        with_client(AMPLE, script, |client| {
            assert!(is_garbled(&client.directory("/a").unwrap_err()), "{part:?}");
            assert_spent(&client);
        });
    }
}

#[test]
fn a_listing_in_endless_parts_is_given_up() {
    let script = |peer: &mut Peer| {
        peer.refuse(DIRECTORY, 0, b"/a\0", "E2BIG");
        let part = [b"1\0", &[b'n'; 4000][..], b"\0"].concat();
        let mut sent = 0_usize;
        while let Some(request) = peer.next() {
            peer.send(PART, request.id, 0, &part);
            sent = sent.saturating_add(4001);
        }
        assert!(sent < (1 << 20) + 8000, "{sent}");
    };
    with_client(AMPLE, script, |client| assert!(is_garbled(&client.directory("/a").unwrap_err())));
    let script = |peer: &mut Peer| {
        peer.refuse(DIRECTORY, 0, b"/a\0", "E2BIG");
        while let Some(request) = peer.next() {
            std::thread::sleep(Duration::from_millis(5));
            peer.send(PART, request.id, 0, b"1\0n\0");
        }
    };
    with_client(SHORT, script, |client| assert!(is_deadline(&client.directory("/a").unwrap_err())));
}

/// Each part comes in time, but none is the last: all parts share one deadline.
#[test]
fn a_listing_in_slow_parts_does_not_extend_the_deadline() {
    let limit = Duration::from_secs(2);
    let script = |peer: &mut Peer| {
        let mut generation = 0;
        while let Some(request) = peer.next() {
            std::thread::sleep(limit.mul_f32(0.9));
            if request.kind == DIRECTORY {
                peer.send(ERROR, request.id, 0, b"E2BIG\0");
            } else {
                generation += 1;
                peer.send(PART, request.id, 0, format!("{generation}\0a\0").as_bytes());
            }
        }
    };
    with_client(limit, script, |client| {
        let begun = Instant::now();
        assert!(is_deadline(&client.directory("/a").unwrap_err()));
        assert!(begun.elapsed() < limit.mul_f32(1.5), "{:?}", begun.elapsed());
    });
}

#[test]
fn a_bad_transaction_id_is_not_used() {
    for id in
        [&b""[..], b"\0", b"0\0", b"7", b"+7\0", b"-1\0", b"7x\0", b"4294967296\0", b"7\x008\0"]
    {
        let script = |peer: &mut Peer| {
            peer.serve(START, 0, b"\0", id);
            peer.expect_end();
        };
        with_client(AMPLE, script, |client| {
            assert!(is_garbled(&client.transaction().unwrap_err()), "{id:?}");
            assert_spent(&client);
        });
    }
}

#[test]
fn nothing_is_sent_on_a_broken_connection() {
    let script = |peer: &mut Peer| {
        peer.serve(START, 0, b"\0", b"7\0");
        peer.expect(READ, 7, b"/a\0");
        peer.send(READ, 99, 7, b"1");
        // Not even the abort of the transaction.
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        let span = client.transaction().unwrap();
        assert!(is_garbled(&span.read("/a").unwrap_err()));
        assert!(is_unusable(&span.write("/a", "1").unwrap_err()));
        drop(span);
        assert_spent(&client);
    });
}

#[test]
fn a_commit_on_a_broken_connection_is_known_to_be_unsent() {
    let script = |peer: &mut Peer| {
        peer.serve(START, 0, b"\0", b"7\0");
        peer.expect(READ, 7, b"/a\0");
        peer.send(READ, 99, 7, b"1");
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        let span = client.transaction().unwrap();
        assert!(is_garbled(&span.read("/a").unwrap_err()));
        let error = span.commit().unwrap_err();
        assert!(is_unusable(&error));
        assert!(error.to_string().starts_with("TRANSACTION_END T was not sent"), "{error}");
    });
}

#[test]
fn a_reply_without_a_request_ends_the_connection() {
    let script = |peer: &mut Peer| {
        peer.serve(READ, 0, b"/a\0", b"1");
        peer.send(READ, 1, 0, b"1");
        peer.expect(READ, 0, b"/b\0");
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        client.read("/a").unwrap();
        assert!(is_garbled(&client.read("/b").unwrap_err()));
    });
}

#[test]
fn a_silent_daemon_meets_the_deadline() {
    let script = |peer: &mut Peer| {
        peer.expect(READ, 0, b"/a\0");
        peer.expect_end();
    };
    with_client(SHORT, script, |client| {
        let begun = Instant::now();
        let error = client.read("/a").unwrap_err();
        let took = begun.elapsed();
        assert!(is_deadline(&error), "{error:?}");
        assert_eq!(error.to_string(), "xenstored has not answered READ /a within 1 s");
        assert!(took >= SHORT && took < SOON, "{took:?}");
        // The connection is closed now, not when the client is dropped, as the peer sees.
        assert_spent(&client);
    });
}

/// A long batch is read by fewer system calls, which have their own time limit.
#[test]
fn a_batch_whose_replies_stop_meets_the_deadline() {
    let script = |peer: &mut Peer| {
        let ids: Vec<u32> = (0..64).map(|_| peer.next().unwrap().id).collect();
        for id in ids.iter().take(20) {
            peer.send(READ, *id, 0, b"1");
        }
        peer.expect_end();
    };
    with_client(SHORT, script, |client| {
        let begun = Instant::now();
        let error = client.read_each(&["/a"; 64]).unwrap_err();
        let took = begun.elapsed();
        assert!(is_deadline(&error), "{error:?}");
        assert!(took >= SHORT && took < SOON, "{took:?}");
    });
}

#[test]
fn silence_after_a_commit_closes_the_connection_without_an_abort() {
    let script = |peer: &mut Peer| {
        peer.serve(START, 0, b"\0", b"7\0");
        peer.expect(END, 7, b"T\0");
        peer.expect_end();
    };
    with_client(SHORT, script, |client| {
        let error = client.transaction().unwrap().commit().unwrap_err();
        assert!(is_deadline(&error));
        assert_spent(&client);
    });
}

#[test]
fn a_reply_byte_by_byte_does_not_extend_the_deadline() {
    let script = |peer: &mut Peer| {
        let id = peer.expect(READ, 0, b"/a\0");
        for byte in Message::new(READ, id, 0, &[b'v'; 4096]).bytes() {
            peer.raw(&[byte]);
            std::thread::sleep(Duration::from_millis(2));
            if peer.0.take_error().is_err() || is_gone(&peer.0) {
                return;
            }
        }
    };
    with_client(SHORT, script, |client| {
        let begun = Instant::now();
        assert!(is_deadline(&client.read("/a").unwrap_err()));
        assert!(begun.elapsed() < SOON);
    });
}

#[test]
fn a_flood_of_events_does_not_extend_the_deadline() {
    let script = |peer: &mut Peer| {
        peer.expect(READ, 0, b"/a\0");
        let flood = Message::new(EVENT, 0, 0, b"/w\0t\0").bytes().repeat(500);
        while peer.0.write_all(&flood).is_ok() {}
    };
    with_client(SHORT, script, |client| {
        let begun = Instant::now();
        assert!(is_deadline(&client.read("/a").unwrap_err()));
        assert!(begun.elapsed() < SOON);
    });
}

#[test]
fn a_peer_that_stops_reading_meets_the_deadline() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    sockopt::set_socket_send_buffer_size(&ours, 4096).unwrap();
    let client = Client::from_socket(ours, SHORT);
    let value = "v".repeat(4000);
    let begun = Instant::now();
    let error = client.write_each(&[("/a", value.as_str()); 16]).unwrap_err();
    assert!(is_deadline(&error), "{error:?}");
    let took = begun.elapsed();
    assert!(took >= SHORT && took < SOON, "{took:?}");
    assert_spent(&client);
    drop(theirs);
}

#[test]
fn a_peer_that_reads_slowly_gets_every_request() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    sockopt::set_socket_send_buffer_size(&ours, 4096).unwrap();
    theirs.set_read_timeout(Some(AMPLE)).unwrap();
    let value = "v".repeat(4000);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut peer = Peer(theirs);
            let mut ids = 1..=32;
            for _window in 0..2 {
                // The client gets no reply, so nothing wakes it up before all is written.
                for _ in 0..16 {
                    std::thread::sleep(Duration::from_millis(2));
                    assert_eq!(peer.next().unwrap().payload.len(), 4003);
                }
                for id in ids.by_ref().take(16) {
                    peer.send(WRITE, id, 0, b"OK\0");
                }
            }
        });
        let client = Client::from_socket(ours, AMPLE);
        client.write_each(&[("/a", value.as_str()); 32]).unwrap();
    });
}

#[test]
fn a_reply_that_has_arrived_counts_after_the_deadline() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    // The request id is known, so the reply can be sent before the request.
    Peer(theirs.try_clone().unwrap()).send(READ, 1, 0, b"late");
    let client = Client::from_socket(ours, Duration::ZERO);
    assert_eq!(&*client.read("/a").unwrap(), "late");
    assert!(is_deadline(&client.read("/a").unwrap_err()));
    drop(theirs);
}

#[test]
fn a_reply_before_its_request_ends_the_connection() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    sockopt::set_socket_send_buffer_size(&ours, 4096).unwrap();
    let mut peer = Peer(theirs);
    for id in 1..=16 {
        peer.send(WRITE, id, 0, b"OK\0");
    }
    let client = Client::from_socket(ours, AMPLE);
    let value = "v".repeat(4000);
    let error = client.write_each(&[("/a", value.as_str()); 16]).unwrap_err();
    assert!(is_garbled(&error), "{error:?}");
}

/// Whether the client has closed the connection.
fn is_gone(stream: &UnixStream) -> bool {
    let mut fds = [rustix::event::PollFd::new(stream, rustix::event::PollFlags::empty())];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut fds, Some(&now)).unwrap() > 0
}
