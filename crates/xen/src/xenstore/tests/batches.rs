//! Several requests in flight on a socket.

use super::peer::{AMPLE, END, ERROR, EVENT, Peer, READ, START, WRITE, with_client};
use super::{Answer, Nodes as _, Store as _, Xs as _};

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
    with_client(AMPLE, script, |client| {
        let span = client.begin().unwrap();
        let values = span.read_each(&["/a", "/b", "/c"]).unwrap();
        assert_eq!(values, [Some("1".into()), None, Some("3".into())]);
        span.write_each(&[("/a", "1"), ("/b", "2")]).unwrap();
        assert!(span.read_each(&[]).unwrap().is_empty());
        span.write_each(&[]).unwrap();
        span.commit().unwrap();
    });
}

#[test]
fn reads_beside_a_transaction_are_sent_with_its_start_and_are_no_part_of_it() {
    let script = |peer: &mut Peer| {
        let start = peer.expect(START, 0, b"\0");
        let ids = [b"/a\0", b"/b\0"].map(|path| peer.expect(READ, 0, path));
        peer.send(START, start, 0, b"9\0");
        peer.send(READ, ids[0], 0, b"1");
        peer.send(ERROR, ids[1], 0, b"ENOENT\0");
        peer.serve(END, 9, b"T\0", b"OK\0");
        // One of whose reads fails is aborted.
        let start = peer.expect(START, 0, b"\0");
        let read = peer.expect(READ, 0, b"/a\0");
        peer.send(START, start, 0, b"10\0");
        peer.send(ERROR, read, 0, b"EIO\0");
        peer.serve(END, 10, b"F\0", b"OK\0");
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        let (span, values) = client.begin_beside(&["/a", "/b"]).unwrap();
        assert_eq!(values, [Some("1".into()), None]);
        span.commit().unwrap();
        let error = client.begin_beside(&["/a"]).map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), "xenstored answered EIO to READ /a");
    });
}

#[test]
fn an_error_within_a_batch_leaves_the_connection_usable() {
    let script = |peer: &mut Peer| {
        let ids = [b"/a\0", b"/b\0", b"/c\0", b"/d\0"].map(|path| peer.expect(READ, 0, path));
        peer.send(ERROR, ids[0], 0, b"ENOENT\0");
        peer.send(ERROR, ids[1], 0, b"EACCES\0");
        peer.send(ERROR, ids[2], 0, b"EIO\0");
        peer.send(READ, ids[3], 0, b"4");
        let ids = [b"/a\x001", b"/b\x002", b"/c\x003"].map(|node| peer.expect(WRITE, 0, node));
        peer.send(WRITE, ids[0], 0, b"OK\0");
        // For a write, ENOENT is an ordinary error.
        peer.send(ERROR, ids[1], 0, b"ENOENT\0");
        peer.send(ERROR, ids[2], 0, b"EQUOTA\0");
        peer.serve(READ, 0, b"/e\0", b"5");
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        let error = client.read_each(&["/a", "/b", "/c", "/d"]).unwrap_err();
        assert!(error.is(&Answer::Denied));
        assert_eq!(error.to_string(), "xenstored answered EACCES to READ /b");
        let error = client.write_each(&[("/a", "1"), ("/b", "2"), ("/c", "3")]).unwrap_err();
        assert_eq!(error.to_string(), "xenstored answered ENOENT to WRITE /b");
        assert!(client.is_usable());
        assert_eq!(&*client.read("/e").unwrap(), "5");
    });
}

#[test]
fn a_long_batch_is_sent_in_windows() {
    let script = |peer: &mut Peer| {
        for window in [64, 64, 22] {
            let ids: Vec<u32> = (0..window).map(|_| peer.next().unwrap().id).collect();
            // No further request comes before the replies.
            peer.expect_silence();
            for id in ids {
                peer.send(READ, id, 0, id.to_string().as_bytes());
            }
        }
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        let values = client.read_each(&["/a"; 150]).unwrap();
        let ids = values.iter().map(|value| {
            String::from_utf8(value.clone().unwrap()).unwrap().parse::<u32>().unwrap()
        });
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
    with_client(AMPLE, script, |client| client.write_each(&[("/a", value.as_str()); 20]).unwrap());
}
