//! Properties for any bytes from xenstored, and for valid replies cut and mixed in any way.
use std::io::Read as _;
use std::time::Duration;

use proptest::prelude::*;
use xen::DomId;
use xen::xenstore::{Nodes as _, Store as _, StoreError};

use crate::target::{client, exercise};

const DIRECTORY: u32 = 1;
const READ: u32 = 2;
const EVENT: u32 = 15;
const ERROR: u32 = 16;
const PART: u32 = 22;

fn message(kind: u32, id: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap();
    let head = [kind, id, 0, len].map(u32::to_ne_bytes).concat();
    [&head, payload].concat()
}

/// Payloads of valid replies.
const PAYLOADS: &[&[u8]] = &[b"", b"OK\0", b"7\0", b"E2BIG\0", b"ENOENT\0", b"1\0a\0\0"];

/// An almost valid message: a plausible header, perhaps with a wrong length.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![
        4 => prop::sample::select(&[DIRECTORY, READ, 4, 6, 7, 11, EVENT, ERROR, PART][..]),
        1 => any::<u32>(),
    ];
    let payload = prop_oneof![
        prop::sample::select(PAYLOADS).prop_map(<[u8]>::to_vec),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    let lie = prop_oneof![9 => Just(None), 1 => any::<u32>().prop_map(Some)];
    (kind, 0..9_u32, payload, lie).prop_map(|(kind, id, payload, lie)| {
        let mut bytes = message(kind, id, &payload);
        if let Some(len) = lie {
            bytes[12..16].copy_from_slice(&len.to_ne_bytes());
        }
        bytes
    })
}

/// Valid replies to the requests of [`exercise`].
fn right() -> [Vec<u8>; 12] {
    [
        message(DIRECTORY, 1, b"a\0b\0"),
        message(READ, 2, b"1"),
        message(ERROR, 3, b"ENOENT\0"),
        message(6, 4, b"7\0"),
        message(READ, 5, b"1"),
        message(11, 6, b"OK\0"),
        message(11, 7, b"OK\0"),
        message(7, 8, b"OK\0"),
        message(ERROR, 9, b"E2BIG\0"),
        message(PART, 10, b"1\0a\0\0"),
        message(4, 11, b"OK\0"),
        message(EVENT, 0, b"/a\0xen\0"),
    ]
}

/// Some valid replies to [`exercise`], followed by invalid ones.
fn conversation() -> impl Strategy<Value = Vec<u8>> {
    let right = right();
    (0..=right.len(), prop::collection::vec(nearly(), 0..5))
        .prop_map(move |(count, rest)| [right[..count].concat(), rest.concat()].concat())
}

proptest! {
    #[test]
    fn any_bytes_end_in_printable_errors(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        exercise(&bytes);
    }

    #[test]
    fn almost_valid_replies_end_in_printable_errors(bytes in conversation()) {
        exercise(&bytes);
    }

    /// With any events before and after it.
    #[test]
    fn values_are_returned_unchanged(
        first in prop::collection::vec(any::<u8>(), 0..20), second in ".{0,20}", events in 0..3_usize,
    ) {
        let event = message(EVENT, 77, b"/w\0t\0").repeat(events);
        let replies = [&event[..], &message(READ, 1, &first), &event, &message(READ, 2, second.as_bytes())];
        let (client, _theirs) = client(&replies.concat());
        let values = client.read_each(&["/a", "/b"]).unwrap();
        prop_assert_eq!(values, [Some(first), Some(second.into_bytes())]);
        prop_assert_eq!(client.changes(Duration::ZERO).unwrap().len(), 2 * events);
    }

    /// Domain 7 may write as the owner, by its own entry, or else by the first entry, which is for all other domains.
    #[test]
    fn permissions_are_parsed_as_xenstored_applies_them(
        entries in prop::collection::vec(("[nrwbx]", prop_oneof![Just(7), Just(0), 0..70_000_u32]), 0..4), flaw in 0..9,
    ) {
        let mut payload: String =
            entries.iter().flat_map(|(letter, id)| [letter.clone(), id.to_string(), "\0".to_owned()]).collect();
        if flaw == 0 {
            payload.pop();
        }
        let is_good = flaw != 0 && !entries.is_empty() && entries.iter().all(|(letter, _)| letter != "x");
        let writes = |letter: &str| letter == "w" || letter == "b";
        let may = entries.first().is_some_and(|(others, owner)| {
            let named = entries[1..].iter().find(|(_, id)| *id == 7);
            *owner == 7 || writes(named.map_or(others, |(letter, _)| letter))
        });
        let (client, _theirs) = client(&message(3, 1, payload.as_bytes()));
        match client.may_write_any(DomId::new(7).unwrap(), &["/a"]) {
            Ok(answer) => prop_assert_eq!((answer, true), (may, is_good), "{:?}", payload),
            Err(error) => {
                let is_garbled = matches!(error, StoreError::Garbled { .. });
                prop_assert!(is_garbled && !is_good, "{:?}: {:?}", payload, error);
            }
        }
    }

    #[test]
    fn a_listing_does_not_depend_on_how_it_is_cut_into_parts(
        names in prop::collection::vec("[a-z0-9é]{1,6}", 0..12), cuts in prop::collection::vec(any::<bool>(), 12),
    ) {
        let mut parts: Vec<Vec<u8>> = vec![b"42\0".to_vec()];
        for (name, cut) in names.iter().zip(&cuts) {
            let part = parts.last_mut().unwrap();
            part.extend([name.as_bytes(), b"\0"].concat());
            if *cut {
                parts.push(b"42\0".to_vec());
            }
        }
        // An empty name ends the listing.
        parts.last_mut().unwrap().push(0);
        let mut bytes = message(ERROR, 1, b"E2BIG\0");
        for (id, part) in (2..).zip(&parts) {
            bytes.extend(message(PART, id, part));
        }
        let (client, mut theirs) = client(&bytes);
        let listing = client.list("/d").unwrap().unwrap();
        prop_assert_eq!(listing, names);
        // Each part was requested from the end of the one before.
        drop(client);
        let mut sent = Vec::new();
        theirs.read_to_end(&mut sent).unwrap();
        let mut asked: Vec<u8> = message(DIRECTORY, 1, b"/d\0");
        let mut offset = 0;
        for (id, part) in (2..).zip(&parts) {
            asked.extend(message(PART, id, format!("/d\0{offset}\0").as_bytes()));
            offset += part.len() - 3;
        }
        prop_assert_eq!(sent, asked);
    }
}

/// Otherwise the properties would test nothing after the first reply.
#[test]
fn the_valid_part_of_a_conversation_is_accepted() {
    let (client, _theirs) = client(&right().concat());
    assert_eq!(client.list("/a").unwrap().unwrap().len(), 2);
    assert_eq!(client.read_each(&["/a", "/b"]).unwrap(), [Some(b"1".to_vec()), None]);
    let transaction = client.begin().unwrap();
    assert_eq!(transaction.read_each(&["/a"]).unwrap(), [Some(b"1".to_vec())]);
    transaction.write_each(&[("/a", "1"), ("/b", "2")]).unwrap();
    transaction.commit().unwrap();
    assert_eq!(client.list("/a").unwrap().unwrap(), ["a"]);
    client.watch(&["/a"]).unwrap();
    assert_eq!(client.changes(Duration::ZERO).unwrap(), ["/a"]);
}
