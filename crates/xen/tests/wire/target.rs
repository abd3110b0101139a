//! The client on any bytes from xenstored: one function, run by the properties, on the fuzzer's corpus and by the fuzzer.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use xen::escape::Escaped;
use xen::xenstore::{Client, Nodes as _, Store as _, StoreError};

/// Makes one request of each type while `bytes`, and then the end, are ready for it. It must end in time, with errors
/// that can be printed, and have sent whole requests only.
pub(crate) fn exercise(bytes: &[u8]) {
    // A socket takes 200 KiB before anybody reads.
    let (client, mut theirs) = client(&bytes[..bytes.len().min(100_000)]);
    theirs.shutdown(Shutdown::Write).unwrap();
    let begun = Instant::now();
    printable(client.list("/a"));
    printable(client.read_each(&["/a", "/b"]));
    if let Some(transaction) = printable(client.begin()) {
        printable(transaction.read_each(&["/a"]));
        printable(transaction.write_each(&[("/a", "1"), ("/b", "2")]));
        printable(transaction.commit());
    }
    printable(client.list("/a"));
    printable(client.watch(&["/a"]));
    assert!(printable(client.changes(Duration::ZERO)).is_none_or(|events| events.len() <= 1024));
    assert!(printable(client.read_each(&["/a"])).is_none(), "it must have met the end by now");
    drop(client);
    assert!(begun.elapsed() < Duration::from_secs(10));
    let mut sent = Vec::new();
    theirs.read_to_end(&mut sent).unwrap();
    let mut rest = &sent[..];
    while let Some((head, after)) = rest.split_first_chunk::<16>() {
        let len = u32::from_ne_bytes(head[12..].try_into().unwrap());
        rest = &after[usize::try_from(len).unwrap()..];
    }
    assert!(rest.is_empty());
}

/// The value of `result`. Its error must not be able to control a terminal.
fn printable<T>(result: Result<T, StoreError>) -> Option<T> {
    if let Err(error) = &result {
        assert!(!error.to_string().contains(Escaped::must_escape), "{error:?}");
    }
    result.ok()
}

/// A client with these bytes to read.
pub(crate) fn client(bytes: &[u8]) -> (Client, UnixStream) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(bytes).unwrap();
    (Client::from_socket(ours, Duration::from_secs(20)), theirs)
}
