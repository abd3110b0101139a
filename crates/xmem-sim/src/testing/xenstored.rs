//! A small xenstored, to test the real client and count its requests (feature `testing`).
//!
//! Its numbers are the protocol's own (`xen/include/public/io/xs_wire.h`), not those of the client under test.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use xen::hypervisor::Hypervisor;
use xen::xenstore::{Answer, Client, Store, StoreError};
use xen::{Dom0, Host};

use crate::SimHost;
use crate::sim::locked;
use crate::world::World;
use crate::xenstore::{Overlay, Watches, is_path};

const DIRECTORY: u32 = 1;
const READ: u32 = 2;
const GET_PERMS: u32 = 3;
const WATCH: u32 = 4;
const UNWATCH: u32 = 5;
const TRANSACTION_START: u32 = 6;
const TRANSACTION_END: u32 = 7;
const WRITE: u32 = 11;
const RM: u32 = 13;
const WATCH_EVENT: u32 = 15;
const ERROR: u32 = 16;
const DIRECTORY_PART: u32 = 22;

const PAYLOAD_MAX: usize = 4096;

/// The interval at which a connection with watches looks for events.
const POLL: Duration = Duration::from_millis(2);

/// A xenstored over a [`World`]. A clone is another handle to it.
#[derive(Clone, Debug)]
pub struct Xenstored {
    world: Arc<Mutex<World>>,
    counts: Arc<Mutex<Counts>>,
}

/// The requests to a [`Xenstored`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub connections: usize,
    pub requests: usize,
    /// Batches of requests: those that arrive together count as one round trip.
    pub round_trips: usize,
    pub commits: usize,
}

/// A [`SimHost`] whose xenstore is reached through the real client.
#[derive(Debug)]
pub struct WireHost {
    /// Its hypervisor and state directory.
    pub sim: SimHost,
    /// Its xenstored.
    pub xenstored: Xenstored,
}

impl WireHost {
    /// A host over `world`, whose state directory is `state_dir`.
    pub fn new(world: &Arc<Mutex<World>>, state_dir: &Path, faults: crate::Faults) -> Self {
        let sim = SimHost::in_memory(world, state_dir, faults);
        Self { sim, xenstored: Xenstored::new(world) }
    }
}

impl Host for WireHost {
    fn connect(&self) -> Result<Box<dyn Store>, StoreError> {
        let failed =
            |source| StoreError::Unreachable { daemon: "a socket pair".to_owned(), source };
        let socket = self.xenstored.connect().map_err(failed)?;
        Ok(Box::new(Client::from_socket(socket, Duration::from_mins(1))))
    }

    fn hypervisor(&self) -> &dyn Hypervisor {
        self.sim.hypervisor()
    }

    fn state_dir(&self) -> &Path {
        self.sim.state_dir()
    }

    fn dom0(&self) -> Dom0 {
        self.sim.dom0()
    }
}

impl Xenstored {
    /// A xenstored over `world`.
    pub fn new(world: &Arc<Mutex<World>>) -> Self {
        Self { world: Arc::clone(world), counts: Arc::default() }
    }

    /// The client's end of a new connection. A thread serves it until it is closed.
    ///
    /// # Errors
    /// The operating system's.
    pub fn connect(&self) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        self.count(|counts| &mut counts.connections);
        let daemon = self.clone();
        let connection = Connection {
            daemon,
            transactions: BTreeMap::new(),
            last: 0,
            watches: Watches::default(),
            token: String::new(),
        };
        // The client may close the connection with replies unread.
        thread::spawn(move || drop(connection.serve(theirs)));
        Ok(ours)
    }

    /// The requests since the last call.
    pub fn take_counts(&self) -> Counts {
        std::mem::take(&mut locked(&self.counts))
    }

    fn count(&self, which: impl FnOnce(&mut Counts) -> &mut usize) {
        let mut counts = locked(&self.counts);
        let count = which(&mut counts);
        *count = count.saturating_add(1);
    }
}

#[derive(Debug)]
struct Connection {
    daemon: Xenstored,
    transactions: BTreeMap<u32, Overlay>,
    last: u32,
    watches: Watches,
    /// The token of the last watch: the client uses the same one for all.
    token: String,
}

impl Connection {
    fn serve(mut self, mut socket: UnixStream) -> io::Result<()> {
        let (mut inbox, mut piece) = (Vec::new(), vec![0; 1 << 18]);
        loop {
            match socket.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    self.daemon.count(|counts| &mut counts.round_trips);
                    inbox.extend(piece.iter().take(count));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            let mut outbox = Vec::new();
            let world = Arc::clone(&self.daemon.world);
            let mut world = locked(&world);
            while let Some([kind, id, tx, length]) = head(&inbox) {
                let end = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(16);
                let Some(payload) = inbox.get(16..end) else { break };
                self.daemon.count(|counts| &mut counts.requests);
                let text = String::from_utf8_lossy(payload).into_owned();
                match self.answer(&mut world, kind, tx, &text) {
                    Ok(reply) => send(&mut outbox, [kind, id, tx], &reply),
                    Err(answer) => {
                        send(&mut outbox, [ERROR, id, tx], &format!("{}\0", answer.name()));
                    }
                }
                if kind == WATCH {
                    socket.set_read_timeout(Some(POLL))?;
                }
                inbox.drain(..end);
            }
            self.watches.collect(&world);
            drop(world);
            for path in self.watches.take_events() {
                send(&mut outbox, [WATCH_EVENT, 0, 0], &format!("{path}\0{}\0", self.token));
            }
            socket.write_all(&outbox)?;
        }
    }

    fn answer(
        &mut self,
        world: &mut World,
        kind: u32,
        tx: u32,
        text: &str,
    ) -> Result<String, Answer> {
        let (path, rest) = text.split_once('\0').unwrap_or((text, ""));
        let mut alone = Overlay::default();
        let overlay = if tx == 0 { Some(&mut alone) } else { self.transactions.get_mut(&tx) };
        let overlay = overlay.ok_or(Answer::NotFound)?;
        let is_about_a_node = ![TRANSACTION_START, TRANSACTION_END].contains(&kind);
        if is_about_a_node && !is_path(path) {
            return Err(Answer::Other("EINVAL".to_owned()));
        }
        match kind {
            READ => return overlay.read(world, path).ok_or(Answer::NotFound),
            DIRECTORY => {
                let names = listing(overlay, world, path)?;
                return if names.len() > PAYLOAD_MAX { Err(Answer::TooBig) } else { Ok(names) };
            }
            DIRECTORY_PART => {
                let names = listing(overlay, world, path)?;
                let offset: usize = rest.trim_end_matches('\0').parse().unwrap_or_default();
                let left = names.get(offset..).unwrap_or_default();
                let room = left.get(..left.len().min(PAYLOAD_MAX / 2)).unwrap_or_default();
                let part = room.rfind('\0').and_then(|end| left.get(..=end)).unwrap_or_default();
                let end = if part.len() == left.len() { "\0" } else { "" };
                return Ok(format!("{}\0{part}{end}", world.generation));
            }
            GET_PERMS => {
                let owner = world.owner(path).ok_or(Answer::NotFound)?;
                return Ok(format!("n{owner}\0"));
            }
            TRANSACTION_START => {
                self.last = self.last.saturating_add(1);
                self.transactions.insert(self.last, Overlay::default());
                return Ok(format!("{}\0", self.last));
            }
            TRANSACTION_END => {
                let overlay = self.transactions.remove(&tx).ok_or(Answer::NotFound)?;
                if path == "T" {
                    self.daemon.count(|counts| &mut counts.commits);
                    overlay.commit(world)?;
                }
            }
            WRITE => {
                overlay.write(world, path, rest);
                alone.commit(world)?;
            }
            RM => world.remove(path),
            WATCH => {
                rest.trim_end_matches('\0').clone_into(&mut self.token);
                self.watches.add(world, &[path]);
            }
            UNWATCH => self.watches.remove(&[path]),
            _ => return Err(Answer::Unknown),
        }
        Ok("OK\0".to_owned())
    }
}

fn listing(overlay: &mut Overlay, world: &World, path: &str) -> Result<String, Answer> {
    let names = overlay.list(world, path).ok_or(Answer::NotFound)?;
    Ok(names.iter().flat_map(|name| [name.as_str(), "\0"]).collect())
}

/// Type, request id, transaction id and payload length of the first message.
fn head(inbox: &[u8]) -> Option<[u32; 4]> {
    let words = inbox.first_chunk::<16>()?.as_chunks::<4>().0;
    words.iter().map(|word| u32::from_ne_bytes(*word)).collect::<Vec<_>>().try_into().ok()
}

fn send(outbox: &mut Vec<u8>, [kind, id, tx]: [u32; 3], payload: &str) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    for word in [kind, id, tx, length] {
        outbox.extend_from_slice(&word.to_ne_bytes());
    }
    outbox.extend_from_slice(payload.as_bytes());
}
