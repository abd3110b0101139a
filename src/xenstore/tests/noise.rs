//! Noise in place of replies: no panic, no endless wait, no belief in it.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::peer::{AMPLE, DIRECTORY, END, ERROR, EVENT, Message, PART, READ, START, WRITE};
use super::{Batch as _, Client, Xs as _, XsTransaction as _, XsTransactionSpan as _};

/// Lets a client do a bit of everything while `bytes` and then the end lie ready for it.
fn withstand(bytes: &[u8]) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(bytes).unwrap();
    theirs.shutdown(Shutdown::Write).unwrap();
    let begun = Instant::now();
    let client = Client::from_socket(ours, AMPLE).unwrap();
    drop(client.directory("/a"));
    drop(client.read_each(&["/a", "/b"]));
    if let Ok(span) = client.transaction() {
        drop(span.read("/a"));
        drop(span.write_each(&[("/a", "1"), ("/b", "2")]));
        drop(span.commit());
    }
    drop(client.directory("/a"));
    assert!(client.take_events().len() <= 1024);
    assert!(client.read("/a").is_err(), "it must have met the end by now");
    drop(client);
    assert!(begun.elapsed() < Duration::from_secs(5));
    // What it sent was in whole requests.
    let mut sent = Vec::new();
    theirs.read_to_end(&mut sent).unwrap();
    let mut rest = &sent[..];
    while let Some((head, after)) = rest.split_first_chunk::<16>() {
        let len = u32::from_ne_bytes(head[12..].try_into().unwrap());
        rest = &after[usize::try_from(len).unwrap()..];
    }
    assert!(rest.is_empty());
}

/// What replies bring when all is well.
const PAYLOADS: &[&[u8]] = &[b"", b"OK\0", b"7\0", b"E2BIG\0", b"ENOENT\0", b"1\0a\0\0"];

/// A message that is nearly right: its header may be believable, and its length a lie.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![
        4 => prop::sample::select(&[DIRECTORY, READ, START, END, WRITE, EVENT, ERROR, PART][..]),
        1 => any::<u32>(),
    ];
    let payload = prop_oneof![
        prop::sample::select(PAYLOADS).prop_map(<[u8]>::to_vec),
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(prop::sample::select(&b"\0a/1"[..]), 0..40),
    ];
    let lie = prop_oneof![9 => Just(None), 1 => any::<u32>().prop_map(Some)];
    (kind, 0..8_u32, any::<u32>(), payload, lie).prop_map(|(kind, id, tx, payload, lie)| {
        let mut bytes = Message::new(kind, id, tx, &payload).bytes();
        if let Some(len) = lie {
            bytes[12..16].copy_from_slice(&len.to_ne_bytes());
        }
        bytes
    })
}

/// The replies to what [`withstand`] asks, from the first on, with noise after some of them.
fn conversation() -> impl Strategy<Value = Vec<u8>> {
    let right = [
        Message::new(DIRECTORY, 1, 0, b"a\0b\0"),
        Message::new(READ, 2, 0, b"1"),
        Message::new(ERROR, 3, 0, b"ENOENT\0"),
        Message::new(START, 4, 0, b"7\0"),
        Message::new(READ, 5, 7, b"1"),
        Message::new(WRITE, 6, 7, b"OK\0"),
        Message::new(WRITE, 7, 7, b"OK\0"),
        Message::new(END, 8, 7, b"OK\0"),
        Message::new(ERROR, 9, 0, b"E2BIG\0"),
        Message::new(PART, 10, 0, b"1\0a\0\0"),
    ];
    (0..=right.len(), prop::collection::vec(message(), 0..4)).prop_map(move |(count, noise)| {
        let mut bytes: Vec<u8> = right[..count].iter().flat_map(Message::bytes).collect();
        bytes.extend(noise.concat());
        bytes
    })
}

proptest! {
    #[test]
    fn random_bytes_are_withstood(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        withstand(&bytes);
    }

    #[test]
    fn nearly_right_messages_are_withstood(messages in prop::collection::vec(message(), 0..12)) {
        withstand(&messages.concat());
    }

    #[test]
    fn a_conversation_that_goes_wrong_is_withstood(bytes in conversation()) {
        withstand(&bytes);
    }
}

#[test]
fn the_conversation_is_right_before_it_goes_wrong() {
    // Otherwise the property above would test nothing behind the first reply.
    let (ours, theirs) = UnixStream::pair().unwrap();
    let send = |kind, id, payload: &[u8]| {
        (&theirs).write_all(&Message::new(kind, id, 0, payload).bytes()).unwrap();
    };
    send(DIRECTORY, 1, b"a\0b\0");
    send(READ, 2, b"1");
    send(ERROR, 3, b"ENOENT\0");
    send(START, 4, b"7\0");
    send(END, 5, b"OK\0");
    let client = Client::from_socket(ours, AMPLE).unwrap();
    assert_eq!(client.directory("/a").unwrap().len(), 2);
    assert_eq!(client.read_each(&["/a", "/b"]).unwrap(), [Some("1".into()), None]);
    client.transaction().unwrap().commit().unwrap();
}
