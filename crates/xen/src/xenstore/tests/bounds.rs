//! A xenstored that sends without end: the client's memory stays bounded.

use std::fs;
use std::time::Duration;

use super::peer::Typed as _;
use super::peer::{AMPLE, DIRECTORY, ERROR, EVENT, Message, PART, Peer, READ, with_client};
use super::{Store as _, StoreError, Xs as _};

/// The number of times that a [`flood`] of 128 KiB is sent: far more than a client may keep, or other tests
/// allocate meanwhile.
const TIMES: usize = 1024;
/// The most that memory may grow, in bytes: far less than what is sent.
const BOUND: usize = 48 << 20;

/// The peak memory of this process since [`reset`], in bytes.
fn most() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
}

/// Resets the peak and returns it.
fn reset() -> usize {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    most()
}

/// A single test, since the memory of the whole process is measured.
#[test]
fn an_endless_flood_is_not_kept() {
    let before = reset();
    events_before_a_reply();
    events_while_listening();
    a_listing_in_parts();
    a_listing_of_many_names();
    let grown = most().saturating_sub(before);
    assert!(grown < BOUND, "{} MiB", grown >> 20);
}

fn flood() -> Vec<u8> {
    Message::new(EVENT, 0, 0, &[&[b'w'; 4000][..], b"\0token\0"].concat()).bytes().repeat(32)
}

fn events_before_a_reply() {
    let script = |peer: &mut Peer| {
        let id = peer.expect(READ, 0, b"/a\0");
        let flood = flood();
        for _ in 0..TIMES {
            peer.raw(&flood);
        }
        peer.send(READ, id, 0, b"1");
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| {
        assert_eq!(&*client.read("/a").unwrap(), "1");
        assert_eq!(client.changes(Duration::ZERO).unwrap().len(), 1024);
    });
}

/// A client with a watch takes the events as they arrive.
fn events_while_listening() {
    let script = |peer: &mut Peer| {
        let flood = flood();
        for _ in 0..TIMES / 4 {
            peer.raw(&flood);
        }
    };
    with_client(AMPLE, script, |client| {
        let mut calls = 0_usize;
        while let Ok(paths) = client.changes(AMPLE) {
            assert!(paths.len() <= 1024);
            calls = calls.saturating_add(1);
        }
        assert!(calls > 100, "{calls}");
    });
}

/// Endless parts, each of the largest size; a listing that starts over discards the earlier ones.
fn a_listing_in_parts() {
    let script = |peer: &mut Peer| {
        let mut sent = 0_usize;
        while let Some(request) = peer.next() {
            if request.kind == DIRECTORY {
                peer.send(ERROR, request.id, 0, b"E2BIG\0");
                continue;
            }
            // A new generation after each MB.
            let part =
                [format!("{}\0", sent / 1_000_000).as_bytes(), &[b'n'; 4000], b"\0"].concat();
            peer.send(PART, request.id, 0, &part);
            sent = sent.saturating_add(part.len());
        }
        assert!(sent > 16_000_000, "{sent}");
    };
    with_client(AMPLE, script, |client| {
        let error = client.directory("/a").unwrap_err();
        assert!(matches!(error.typed(), StoreError::Answered { .. }), "{error}");
    });
}

/// The longest listing accepted, with the shortest names.
fn a_listing_of_many_names() {
    let script = |peer: &mut Peer| {
        peer.serve(DIRECTORY, 0, b"/a\0", &b"n\0".repeat(1 << 19));
        peer.expect_end();
    };
    with_client(AMPLE, script, |client| assert_eq!(client.directory("/a").unwrap().len(), 1 << 19));
}
