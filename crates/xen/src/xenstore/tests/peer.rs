//! A scripted xenstored. Its constants are written from the protocol, not taken from `wire`.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use crate::xenstore::endpoint::Transport;
use crate::xenstore::{Client, StoreError};

pub(super) const DIRECTORY: u32 = 1;
pub(super) const READ: u32 = 2;
pub(super) const GET_PERMS: u32 = 3;
pub(super) const WATCH: u32 = 4;
pub(super) const UNWATCH: u32 = 5;
pub(super) const START: u32 = 6;
pub(super) const END: u32 = 7;
pub(super) const WRITE: u32 = 11;
pub(super) const RM: u32 = 13;
pub(super) const EVENT: u32 = 15;
pub(super) const ERROR: u32 = 16;
pub(super) const PART: u32 = 22;

/// The typed error of a result, whichever trait returned it.
pub(super) trait Typed {
    fn typed(&self) -> &StoreError;
}

impl Typed for StoreError {
    fn typed(&self) -> &StoreError {
        self
    }
}

impl Typed for io::Error {
    fn typed(&self) -> &StoreError {
        StoreError::of(self).expect("an error of this crate")
    }
}

/// A deadline that a test reaches only if something hangs.
pub(super) const AMPLE: Duration = Duration::from_secs(20);

pub(super) struct Peer(pub(super) UnixStream);

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u32,
    pub(super) id: u32,
    pub(super) tx: u32,
    pub(super) payload: Vec<u8>,
}

impl Message {
    pub(super) fn new(kind: u32, id: u32, tx: u32, payload: &[u8]) -> Self {
        Self { kind, id, tx, payload: payload.to_vec() }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let len = u32::try_from(self.payload.len()).unwrap();
        let mut bytes: Vec<u8> =
            [self.kind, self.id, self.tx, len].iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

impl Peer {
    /// The next request, or `None` if the client has closed.
    pub(super) fn next(&mut self) -> Option<Message> {
        let mut head = Vec::new();
        match (&self.0).take(16).read_to_end(&mut head) {
            Ok(0) => return None,
            Ok(count) => assert_eq!(count, 16, "the client closed within a header"),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("no request: {error}"),
        }
        let words: Vec<u32> =
            head.as_chunks().0.iter().map(|word| u32::from_ne_bytes(*word)).collect();
        let mut payload = vec![0; usize::try_from(words[3]).unwrap()];
        self.0.read_exact(&mut payload).unwrap();
        Some(Message { kind: words[0], id: words[1], tx: words[2], payload })
    }

    /// Expects a request and returns its id.
    pub(super) fn expect(&mut self, kind: u32, tx: u32, payload: &[u8]) -> u32 {
        let got = self.next().expect("a request");
        assert_eq!(got, Message::new(kind, got.id, tx, payload));
        got.id
    }

    /// Expects a request and answers it.
    pub(super) fn serve(&mut self, kind: u32, tx: u32, payload: &[u8], reply: &[u8]) {
        let id = self.expect(kind, tx, payload);
        self.send(kind, id, tx, reply);
    }

    /// Expects a request and refuses it.
    pub(super) fn refuse(&mut self, kind: u32, tx: u32, payload: &[u8], errno: &str) {
        let id = self.expect(kind, tx, payload);
        self.send(ERROR, id, tx, format!("{errno}\0").as_bytes());
    }

    pub(super) fn send(&mut self, kind: u32, id: u32, tx: u32, payload: &[u8]) {
        self.raw(&Message::new(kind, id, tx, payload).bytes());
    }

    /// Sends bytes, whether or not the client still reads.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        drop(self.0.write_all(bytes));
    }

    /// Expects that nothing comes for a while.
    pub(super) fn expect_silence(&mut self) {
        thread::sleep(Duration::from_millis(20));
        self.0.set_nonblocking(true).unwrap();
        assert_eq!(self.0.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        self.0.set_nonblocking(false).unwrap();
    }

    /// Expects that the client closes without another request.
    pub(super) fn expect_end(&mut self) {
        assert_eq!(self.next(), None);
    }
}

/// Runs `body` with a client whose xenstored follows `script`.
pub(super) fn with_client<R>(
    deadline: Duration,
    script: impl FnOnce(&mut Peer) + Send,
    body: impl FnOnce(Client) -> R,
) -> R {
    with_peer(script, |socket| body(Client::from_socket(socket, deadline)))
}

/// Runs `body` with a client that treats its socket as the xenbus device.
pub(super) fn with_device_client<R>(
    script: impl FnOnce(&mut Peer) + Send,
    body: impl FnOnce(Client) -> R,
) -> R {
    with_peer(script, |socket| {
        socket.set_nonblocking(true).unwrap();
        body(Client::over(socket.into(), Transport::Device, AMPLE.into()))
    })
}

fn with_peer<R>(script: impl FnOnce(&mut Peer) + Send, body: impl FnOnce(UnixStream) -> R) -> R {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_read_timeout(Some(AMPLE)).unwrap();
    theirs.set_write_timeout(Some(AMPLE)).unwrap();
    thread::scope(|scope| {
        let peer = scope.spawn(move || script(&mut Peer(theirs)));
        let result = body(ours);
        if let Err(panic) = peer.join() {
            std::panic::resume_unwind(panic);
        }
        result
    })
}
