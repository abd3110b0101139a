//! A xenstored that counts: one thread for each connection, over xenstore's wire protocol.
//!
//! Knows the requests that xmem makes, and neither permissions nor watches nor conflicts. Its numbers
//! are the protocol's own (`xen/include/public/io/xs_wire.h`), not wire.rs's.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;

const DIRECTORY: u32 = 1;
const READ: u32 = 2;
const GET_PERMS: u32 = 3;
const START: u32 = 6;
const END: u32 = 7;
const WRITE: u32 = 11;
const ERROR: u32 = 16;
const DIRECTORY_PART: u32 = 22;

/// The longest payload of a reply.
const PAYLOAD_MAX: usize = 4096;

/// All nodes, by path.
pub(crate) type Nodes = BTreeMap<String, String>;

/// What a xenstored was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) connections: usize,
    pub(crate) requests: usize,
    /// How often it had answered all that had come, and then more came. A client that has several
    /// requests in flight sends them in one piece, and waits for all the replies before the next.
    pub(crate) trips: usize,
    pub(crate) commits: usize,
}

#[derive(Debug, Default)]
struct Shared {
    nodes: Nodes,
    asked: Asked,
}

/// A xenstored; a clone is another handle to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Xenstored(Arc<Mutex<Shared>>);

impl Xenstored {
    pub(crate) fn new(nodes: Nodes) -> Self {
        Self(Arc::new(Mutex::new(Shared { nodes, asked: Asked::default() })))
    }

    /// The other end of a new connection. Its thread ends with it.
    pub(crate) fn connect(&self) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.0.lock().unwrap().asked.connections += 1;
        let daemon = self.clone();
        thread::spawn(move || {
            Served { daemon, transactions: BTreeMap::new(), last: 0 }.serve(theirs);
        });
        ours
    }

    /// What it was asked since this was last called.
    pub(crate) fn take_asked(&self) -> Asked {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }

    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Nodes) -> R) -> R {
        act(&mut self.0.lock().unwrap().nodes)
    }
}

/// One connection.
struct Served {
    daemon: Xenstored,
    /// What each open transaction is to write.
    transactions: BTreeMap<u32, Vec<(String, String)>>,
    last: u32,
}

impl Served {
    fn serve(&mut self, mut line: UnixStream) {
        let (mut inbox, mut piece) = (Vec::new(), vec![0; 1 << 18]);
        loop {
            // The client may go with replies unread.
            let count = line.read(&mut piece).unwrap_or(0);
            if count == 0 {
                return;
            }
            inbox.extend_from_slice(&piece[..count]);
            let (mut at, mut replies) = (0, Vec::new());
            let shared = Arc::clone(&self.daemon.0);
            let mut shared = shared.lock().unwrap();
            shared.asked.trips += 1;
            while let Some((head, rest)) = inbox[at..].split_first_chunk::<16>() {
                let word = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().unwrap());
                let length = usize::try_from(word(12)).unwrap();
                let Some(payload) = rest.get(..length) else { break };
                at += 16 + length;
                shared.asked.requests += 1;
                let (kind, reply) = match self.answer(&mut shared, word(0), word(8), payload) {
                    Ok(reply) => (word(0), reply),
                    Err(errno) => (ERROR, format!("{errno}\0").into_bytes()),
                };
                let length = u32::try_from(reply.len()).unwrap();
                for word in [kind, word(4), word(8), length] {
                    replies.extend_from_slice(&word.to_ne_bytes());
                }
                replies.extend_from_slice(&reply);
            }
            drop(shared);
            inbox.drain(..at);
            if line.write_all(&replies).is_err() {
                return;
            }
        }
    }

    fn answer(
        &mut self,
        shared: &mut Shared,
        kind: u32,
        tx: u32,
        payload: &[u8],
    ) -> Result<Vec<u8>, &'static str> {
        let text = str::from_utf8(payload).unwrap();
        let (first, rest) = text.split_once('\0').unwrap_or((text, ""));
        let done = || Ok(b"OK\0".to_vec());
        match kind {
            READ => shared.nodes.get(first).map(|it| it.clone().into_bytes()).ok_or("ENOENT"),
            DIRECTORY => {
                let names = names(&shared.nodes, first);
                if names.len() > PAYLOAD_MAX { Err("E2BIG") } else { Ok(names) }
            }
            DIRECTORY_PART => {
                let names = names(&shared.nodes, first);
                let from: usize = rest.trim_end_matches('\0').parse().unwrap();
                let mut part = b"1\0".to_vec();
                let left = &names[from..];
                let room = left.len().min(PAYLOAD_MAX - 3);
                let whole = left[..room].iter().rposition(|byte| *byte == 0).map_or(0, |at| at + 1);
                part.extend_from_slice(&left[..whole]);
                if whole == left.len() {
                    part.push(0);
                }
                Ok(part)
            }
            // dom0's, and nobody else may do anything.
            GET_PERMS => shared.nodes.get(first).map(|_| b"n0\0".to_vec()).ok_or("ENOENT"),
            START => {
                self.last += 1;
                self.transactions.insert(self.last, Vec::new());
                Ok(format!("{}\0", self.last).into_bytes())
            }
            WRITE => {
                let write = (first.to_owned(), rest.to_owned());
                match self.transactions.get_mut(&tx) {
                    Some(writes) => writes.push(write),
                    None => drop(shared.nodes.insert(write.0, write.1)),
                }
                done()
            }
            END => {
                let writes = self.transactions.remove(&tx).ok_or("ENOENT")?;
                if first == "T" {
                    shared.asked.commits += 1;
                    shared.nodes.extend(writes);
                }
                done()
            }
            _ => panic!("request {kind} is not known here"),
        }
    }
}

/// The names of the children of `path`, each with a NUL behind it.
fn names(nodes: &Nodes, path: &str) -> Vec<u8> {
    let prefix = format!("{path}/");
    let below = nodes.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
    let mut names: Vec<&str> =
        below.filter_map(|(path, _)| path[prefix.len()..].split('/').next()).collect();
    names.dedup();
    names.iter().flat_map(|name| name.bytes().chain([0])).collect()
}
