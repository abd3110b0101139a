//! The fuzz target: the client with any bytes from xenstored, called by the properties, the corpus test and the fuzzer.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use xen::escape::Escaped;
use xen::xenstore::{Client, Nodes as _, Store as _, StoreError};

/// Makes one request of each type, with `bytes` and then the end of file to read. It must end in time, with printable
/// errors, and have sent whole requests only.
pub(crate) fn exercise(bytes: &[u8]) {
    // A socket buffers 200 KiB without a reader.
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
    assert!(printable(client.read_each(&["/a"])).is_none(), "the bytes are used up by now");
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

/// The value of `result`. Its error must not contain control characters.
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
