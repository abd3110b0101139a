//! The xenbus device, where it differs from a socket.

use rustix::fs::{Mode, OFlags};

use super::endpoint::Transport;
use super::peer::{
    AMPLE, DIRECTORY, END, ERROR, PART, Peer, READ, START, WRITE, with_device_client,
};
use super::{Answer, Client, Store as _, StoreError, Xs as _};

#[test]
fn a_batch_has_one_request_in_flight_at_a_time() {
    let one_by_one = |peer: &mut Peer, kind, tx, payloads: &[&[u8]], replies: &[(u32, &[u8])]| {
        for (payload, (reply, text)) in payloads.iter().zip(replies) {
            let id = peer.expect(kind, tx, payload);
            peer.expect_silence();
            peer.send(if *reply == 0 { kind } else { *reply }, id, tx, text);
        }
    };
    let script = |peer: &mut Peer| {
        peer.serve(START, 0, b"\0", b"5\0");
        let replies: [(u32, &[u8]); 3] = [(0, b"1"), (ERROR, b"ENOENT\0"), (0, b"3")];
        one_by_one(peer, READ, 5, &[b"/a\0", b"/b\0", b"/c\0"], &replies);
        one_by_one(peer, WRITE, 5, &[b"/a\x001", b"/b\x002"], &[(0, b"OK\0"), (0, b"OK\0")]);
        // After an error nothing more is sent.
        one_by_one(peer, WRITE, 5, &[b"/a\x001"], &[(ERROR, b"ENOSPC\0")]);
        peer.serve(END, 5, b"T\0", b"OK\0");
        peer.expect_end();
    };
    with_device_client(script, |client| {
        let span = client.begin().unwrap();
        let values = span.read_each(&["/a", "/b", "/c"]).unwrap();
        assert_eq!(values, [Some("1".into()), None, Some("3".into())]);
        span.write_each(&[("/a", "1"), ("/b", "2")]).unwrap();
        let error = span.write_each(&[("/a", "1"), ("/b", "2")]).unwrap_err();
        assert!(error.is(&Answer::NoSpace));
        span.commit().unwrap();
    });
}

#[test]
fn a_request_that_exceeds_the_kernels_buffer_is_not_sent() {
    let script = |peer: &mut Peer| {
        let id = peer.next().unwrap().id;
        peer.send(WRITE, id, 0, b"OK\0");
        peer.expect_end();
    };
    with_device_client(script, |client| {
        let error = client.write("/a", &"v".repeat(4078)).unwrap_err();
        assert!(matches!(StoreError::of(&error), Some(StoreError::Unsendable { .. })));
        client.write("/a", &"v".repeat(4077)).unwrap();
    });
}

#[test]
fn a_long_listing_comes_in_parts_on_the_device_too() {
    let script = |peer: &mut Peer| {
        peer.refuse(DIRECTORY, 0, b"/d\0", "E2BIG");
        peer.serve(PART, 0, b"/d\x000\0", b"1\x00a\0");
        peer.serve(PART, 0, b"/d\x002\0", b"1\x00b\0\0");
        peer.expect_end();
    };
    with_device_client(script, |client| {
        assert_eq!(client.directory("/d").unwrap(), ["a".into(), "b".into()]);
    });
}

#[test]
fn an_error_of_the_operating_system_ends_the_connection() {
    // One descriptor cannot be written to, the other cannot be read.
    for flags in [OFlags::RDONLY, OFlags::WRONLY] {
        let fd = rustix::fs::open("/dev/null", flags, Mode::empty()).unwrap();
        let client = Client::over(fd, Transport::Device, AMPLE.into());
        let error = client.read("/a").unwrap_err();
        let Some(StoreError::Transport { request, source }) = StoreError::of(&error) else {
            panic!("{error:?}");
        };
        assert_eq!((request.as_str(), source.raw_os_error()), ("READ /a", Some(9)));
        let error = client.read("/a").unwrap_err();
        assert!(matches!(StoreError::of(&error), Some(StoreError::Unusable { .. })));
    }
}
