//! The real change over the real client, whose xenstored takes and gives its bytes in whatever pieces a socket
//! may: the result is the same as without.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SendFlags, send, sockopt};
use xmem::change::{Outcome, change};
use xmem::error::Failure;
use xmem::host::Host;
use xmem::host::sim::{SimHost, SimHypervisor, SimSpan, SimStore};
use xmem::plan::Wish;
use xmem::signals::Signals;
use xmem::xenstore::{Client, StoreError, Xs as _, XsTransaction as _, XsTransactionSpan as _};

use crate::watched::{Scene, max, raise, request, set, sim};

/// How bytes come and go.
#[derive(Clone, Copy, Debug)]
struct Manner {
    /// How many bytes of its answers xenstored writes at once: one of these after the other.
    gives: &'static [usize],
    /// How many bytes of a request it reads at once.
    takes: usize,
    /// How long it rests between two pieces.
    rests: Duration,
    /// It answers only when there is nothing more to read, all in one.
    gathers: bool,
    /// A watch event comes before each answer.
    events: bool,
    /// The client finds no room for its next request, however short, until xenstored reads on.
    stuffs: bool,
}

const PLAIN: Manner = Manner {
    gives: &[usize::MAX],
    takes: 4096,
    rests: Duration::ZERO,
    gathers: false,
    events: false,
    stuffs: false,
};

const SHORT: Duration = Duration::from_millis(1);

fn manners() -> [Manner; 7] {
    [
        PLAIN,
        Manner { gives: &[1], takes: 1, ..PLAIN },
        // Never with the end of a message.
        Manner { gives: &[7, 1, 23, 3], takes: 5, gathers: true, ..PLAIN },
        Manner { gathers: true, events: true, ..PLAIN },
        Manner { gives: &[15, 1], takes: 3, rests: SHORT, ..PLAIN },
        Manner { gives: &[16], events: true, stuffs: true, ..PLAIN },
        Manner { gives: &[1], takes: 1, gathers: true, events: true, stuffs: true, ..PLAIN },
    ]
}

/// A host with the hypervisor of a sim, and its xenstore at the other end of a socket.
struct Torn {
    sim: SimHost,
    dir: PathBuf,
    manner: Manner,
}

impl Host for Torn {
    type Store = Client;
    type Hypervisor = SimHypervisor;

    fn connect(&self) -> io::Result<Client> {
        let (ours, theirs) = UnixStream::pair()?;
        let (dir, manner) = (self.dir.clone(), self.manner);
        let stuffed = manner.stuffs.then(|| ours.try_clone()).transpose()?;
        if manner.stuffs {
            // As little as the kernel gives.
            sockopt::set_socket_send_buffer_size(&ours, 1)?;
        }
        thread::spawn(move || Daemon::new(&dir, theirs, stuffed, manner).serve());
        Client::from_socket(ours, Duration::from_secs(60))
    }

    fn hypervisor(&self) -> &SimHypervisor {
        self.sim.hypervisor()
    }

    fn state_dir(&self) -> &Path {
        self.sim.state_dir()
    }

    fn simulated(&self) -> bool {
        true
    }
}

/// The other end: a sim's store, by xenstore's protocol.
struct Daemon {
    store: SimStore,
    spans: BTreeMap<u32, SimSpan>,
    socket: UnixStream,
    /// The client's end, to fill it.
    stuffed: Option<UnixStream>,
    manner: Manner,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    pieces: usize,
}

impl Daemon {
    fn new(dir: &Path, socket: UnixStream, stuffed: Option<UnixStream>, manner: Manner) -> Self {
        let store = sim(dir).connect().unwrap();
        let (spans, inbox, outbox) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { store, spans, socket, stuffed, manner, inbox, outbox, pieces: 0 }
    }

    fn serve(mut self) {
        while let Some([kind, id, tx]) = self.head() {
            let len = usize::try_from(self.word(12)).unwrap();
            if !self.fill(16 + len) {
                return;
            }
            let payload: Vec<u8> = self.inbox.drain(..16 + len).skip(16).collect();
            let (kind, reply) = match self.answer(kind, tx, &payload) {
                Ok(reply) => (kind, reply),
                Err(error) => (16, refusal(&error)),
            };
            if self.manner.events {
                self.post(15, 0, 0, b"/w\0t\0");
            }
            self.post(kind, id, tx, &reply);
            if self.manner.gathers && self.has_more() {
                continue;
            }
            let stuffing = self.stuff();
            if !self.give() {
                return;
            }
            self.drain(stuffing);
        }
    }

    /// Type, request and transaction of the next request; none when the client has gone.
    fn head(&mut self) -> Option<[u32; 3]> {
        self.fill(16).then(|| [self.word(0), self.word(4), self.word(8)])
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.inbox[at..at + 4].try_into().unwrap())
    }

    /// Whether so many bytes are there, read in pieces.
    fn fill(&mut self, most: usize) -> bool {
        let mut piece = vec![0; self.manner.takes];
        while self.inbox.len() < most {
            match self.socket.read(&mut piece) {
                Ok(count) if count > 0 => self.inbox.extend(&piece[..count]),
                _ => return false,
            }
        }
        true
    }

    /// Whether the client has sent more than was read. It sends what may go together in one.
    fn has_more(&self) -> bool {
        let mut fds = [rustix::event::PollFd::new(&self.socket, rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        !self.inbox.is_empty() || rustix::event::poll(&mut fds, Some(&now)).unwrap() > 0
    }

    fn post(&mut self, kind: u32, id: u32, tx: u32, payload: &[u8]) {
        let len = u32::try_from(payload.len()).unwrap();
        self.outbox.extend([kind, id, tx, len].map(u32::to_ne_bytes).concat());
        self.outbox.extend(payload);
    }

    /// Sends what there is, in pieces; whether the client is still there.
    fn give(&mut self) -> bool {
        let outbox = std::mem::take(&mut self.outbox);
        let mut rest = &outbox[..];
        while !rest.is_empty() {
            let most = self.manner.gives[self.pieces % self.manner.gives.len()];
            let (piece, after) = rest.split_at(most.min(rest.len()));
            if self.socket.write_all(piece).is_err() {
                return false;
            }
            rest = after;
            self.pieces += 1;
            thread::sleep(self.manner.rests);
        }
        true
    }

    /// Fills the client's way out while it waits for an answer, and says with how many bytes.
    fn stuff(&self) -> usize {
        let Some(end) = &self.stuffed else { return 0 };
        let mut count = 0;
        loop {
            match send(end, b"?", SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => count += sent,
                Err(Errno::AGAIN) => return count,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Takes that away again, once the client has surely met it.
    fn drain(&mut self, count: usize) {
        if count > 0 {
            thread::sleep(SHORT);
            self.socket.read_exact(&mut vec![0; count]).unwrap();
        }
    }

    fn answer(&mut self, kind: u32, tx: u32, payload: &[u8]) -> io::Result<Vec<u8>> {
        let text = String::from_utf8(payload.to_vec()).unwrap();
        let (path, value) = text.split_once('\0').unwrap_or((&text, ""));
        let done = || b"OK\0".to_vec();
        match (kind, self.spans.get(&tx)) {
            (2, None) => Ok(self.store.read(path)?.as_bytes().to_vec()),
            (2, Some(span)) => Ok(span.read(path)?.as_bytes().to_vec()),
            (11, Some(span)) => span.write(path, value).map(|()| done()),
            (6, None) => {
                let id = 1 + u32::try_from(self.spans.len()).unwrap();
                self.spans.insert(id, self.store.transaction()?);
                Ok(format!("{id}\0").into_bytes())
            }
            (7, Some(_)) => {
                let span = self.spans.remove(&tx).unwrap();
                if path == "T" { span.commit() } else { Ok(()) }.map(|()| done())
            }
            other => panic!("{other:?} is no part of a change"),
        }
    }
}

fn refusal(error: &io::Error) -> Vec<u8> {
    match StoreError::of(error) {
        Some(StoreError::Answered { answer, .. }) => format!("{}\0", answer.name()).into_bytes(),
        other => panic!("{other:?}"),
    }
}

/// What came of `wish`, and what the world is then.
fn torn(manner: Manner, wish: &Wish) -> (String, serde_json::Value) {
    let scene = Scene::new();
    let host = Torn { sim: sim(scene.path()), dir: scene.path().to_owned(), manner };
    let told = told(&change(&host, &request(wish), &mut Signals::default()));
    assert_eq!(scene.state().len(), 0);
    (told, scene.world())
}

fn told(result: &Result<Outcome, Failure>) -> String {
    match result {
        Ok(outcome) => format!("{outcome:?}"),
        Err(failure) => failure.to_string(),
    }
}

#[test]
fn pieces_of_whatever_size_change_nothing() {
    for wish in [set("512M"), set("+256M"), raise("3G"), max("4G"), set("1G"), set("15T")] {
        let scene = Scene::new();
        let plain = told(&scene.plain(&wish));
        for manner in manners() {
            let (told, world) = torn(manner, &wish);
            assert_eq!(told, plain, "{manner:?}, {wish:?}");
            assert_eq!(world, scene.world(), "{manner:?}, {wish:?}");
        }
    }
}

/// Otherwise the manner that leaves no room would leave some.
#[test]
fn a_client_that_is_stuffed_finds_no_room() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    sockopt::set_socket_send_buffer_size(&ours, 1).unwrap();
    let scene = Scene::new();
    let manner = Manner { stuffs: true, ..PLAIN };
    let daemon = Daemon::new(scene.path(), theirs, Some(ours.try_clone().unwrap()), manner);
    assert!(daemon.stuff() > 0);
    let full = send(&ours, b"request", SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    assert_eq!(full, Err(Errno::AGAIN));
}
