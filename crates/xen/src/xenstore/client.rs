//! [`Client`] and [`Span`]: the traits' requests, on a connection to xenstored.
//!
//! A transaction ends exactly once: a commit is sent once and never followed by an abort, and a transaction that is
//! dropped open is aborted.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::{Connection, Deadlines};
use super::endpoint::{self, Transport};
use super::link::{Reply, seconds};
use super::wire::{self, Malformed, Part, Request};
use super::{Answer, Nodes, Store, StoreError, Transaction, Values};
use crate::domain::DomId;

/// The number of times that a listing in parts may start over because it changed.
const RESTARTS: usize = 16;

/// A connection to xenstored. A clone is another handle to the same connection.
///
/// Every request has a deadline on the monotonic clock, from its first byte written to the last byte of its reply: 10 s,
/// and 30 s for a commit. A failure other than [`StoreError::Answered`] or [`StoreError::Unsendable`] closes the
/// connection. Every later request then fails at once with [`StoreError::Unusable`].
///
/// Threads may share a connection; they take turns, also with a call of [`Store::changes`] that waits. Before Linux 4.11,
/// a write to /dev/xen/xenbus blocks in the kernel until the reply arrives, and the deadline has no effect there.
///
/// ```no_run
/// use xen::xenstore::{Client, Nodes, Store};
///
/// let client = Client::connect()?;
/// let transaction = client.begin()?;
/// let values = transaction.read_each(&["/local/domain/7/memory/target"])?;
/// println!("{values:?}");
/// transaction.write_each(&[("/local/domain/7/memory/target", "524288")])?;
/// transaction.commit()?;
/// # Ok::<(), xen::xenstore::StoreError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    connection: Arc<Mutex<Connection>>,
    /// The transaction that its requests belong to; 0 is none.
    tx: u32,
}

/// An open transaction of a [`Client`], which it keeps connected. Dropping it aborts it.
#[derive(Debug)]
pub struct Span {
    /// Its requests belong to the transaction.
    pub(super) client: Client,
    is_open: bool,
}

impl Client {
    /// Connects to this host's xenstored, in libxenstore's order: `$XENSTORED_PATH`; else `socket` in
    /// `$XENSTORED_RUNDIR`; else /var/run/xenstored/socket; and if that socket does not exist, the device /dev/xen/xenbus
    /// or /proc/xen/xenbus. An empty variable counts as unset.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] with the path. If a socket exists but refuses, the device is not tried: a request to a
    /// dead daemon's device would never be answered.
    pub fn connect() -> Result<Self, StoreError> {
        let (fd, transport) = endpoint::connect(Deadlines::USUAL.request)?;
        Ok(Self::over(fd, transport, Deadlines::USUAL))
    }

    /// A client of the xenstored at the other end of `socket`, with this deadline for each request.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    /// use std::time::Duration;
    /// use xen::xenstore::{Client, Nodes};
    ///
    /// let (ours, mut xenstored) = UnixStream::pair()?;
    /// let daemon = std::thread::spawn(move || -> std::io::Result<[u8; 19]> {
    ///     let mut request = [0; 19];
    ///     xenstored.read_exact(&mut request)?;
    ///     // READ, request 1, no transaction, six bytes.
    ///     xenstored.write_all(&[2_u32, 1, 0, 6].map(u32::to_ne_bytes).concat())?;
    ///     xenstored.write_all(b"524288")?;
    ///     Ok(request)
    /// });
    /// let client = Client::from_socket(ours, Duration::from_secs(10));
    /// assert_eq!(client.read_each(&["/a"])?, [Some(b"524288".to_vec())]);
    /// assert_eq!(daemon.join().unwrap()?[16..], *b"/a\0");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_socket(socket: UnixStream, deadline: Duration) -> Self {
        Self::over(socket.into(), Transport::Socket, deadline.into())
    }

    /// A client over `fd`: a socket, or the non-blocking device.
    pub(super) fn over(fd: OwnedFd, transport: Transport, deadlines: Deadlines) -> Self {
        Self { connection: Arc::new(Mutex::new(Connection::new(fd, transport, deadlines))), tx: 0 }
    }

    /// A new transaction, and the value of each of `paths` outside it.
    pub(super) fn span(&self, paths: &[&str]) -> Result<(Span, Values), StoreError> {
        let mut requests = vec![Request::start()];
        requests.extend(each(paths, Request::read)?);
        let mut span = None;
        let mut values = Vec::with_capacity(paths.len());
        self.ask_each(&requests, |request, reply| {
            if span.is_some() {
                values.push(value(request, reply)?);
                return Ok(());
            }
            let payload = reply.map_err(|answer| request.answered(answer))?;
            let tx = self.parsed(request, wire::transaction_id(&payload))?;
            span = Some(Span { client: Self { tx, ..self.clone() }, is_open: true });
            Ok(())
        })?;
        // Every request is answered, or it is an error.
        let span = span.ok_or_else(|| Request::start().answered(Answer::NotFound))?;
        Ok((span, values))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // After a panic in the middle of an exchange, the next reply's id does not match, which ends the connection.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one request and returns the payload of its reply.
    pub(super) fn ask(&self, request: &Request<'_>) -> Result<Vec<u8>, StoreError> {
        self.ask_since(None, request)
    }

    /// The same, with a deadline that counts from `begun`.
    fn ask_since(
        &self,
        begun: Option<Instant>,
        request: &Request<'_>,
    ) -> Result<Vec<u8>, StoreError> {
        let one = std::slice::from_ref(request);
        let replies = self.connection().exchange(self.tx, one, begun)?;
        let reply = replies.into_iter().next().unwrap_or_else(|| Ok(Vec::new()));
        reply.map_err(|answer| request.answered(answer))
    }

    /// Sends `requests`, a window at a time, and passes each reply in order to `take`. After the first error of `take`, the
    /// replies in flight are still read, but no more requests are sent.
    fn ask_each<'a>(
        &self,
        mut requests: &[Request<'a>],
        mut take: impl FnMut(&Request<'a>, Reply) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        while !requests.is_empty() {
            let replies = self.connection().exchange(self.tx, requests, None)?;
            let count = replies.len();
            for (request, reply) in requests.iter().zip(replies) {
                take(request, reply)?;
            }
            requests = requests.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// The parsed reply to `request`. Ends the connection if the reply breaks the protocol.
    fn parsed<T>(
        &self,
        request: &Request<'_>,
        parsed: Result<T, Malformed>,
    ) -> Result<T, StoreError> {
        parsed.map_err(|Malformed(what)| {
            let (request, what) = (request.to_string(), what.to_owned());
            let error = StoreError::Garbled { request, what };
            self.connection().give_up(&error);
            error
        })
    }

    /// The listing that `whole` asks for, in parts, for one that is too long for a message. The parts share the deadline of
    /// one request. If the listing changes between two parts, it starts over.
    fn in_parts(&self, whole: &Request<'_>, begun: Instant) -> Result<Vec<String>, StoreError> {
        let limit = self.connection().deadlines().of(whole);
        'listing: for _ in 0..=RESTARTS {
            let mut names = Vec::new();
            let mut generation = None;
            loop {
                let request = Request::directory_part(whole.path(), names.len())?;
                let payload = match self.ask_since(Some(begun), &request) {
                    // The daemon does not know the request, so its answer to the first one is final.
                    Err(StoreError::Answered { answer: Answer::Unknown, .. }) => {
                        return Err(whole.answered(Answer::TooBig));
                    }
                    payload => payload?,
                };
                let part = self.parsed(&request, Part::of(&payload))?;
                if generation.get_or_insert_with(|| part.generation.to_vec()) != part.generation {
                    continue 'listing;
                }
                names.extend_from_slice(part.names);
                if part.last {
                    return self.parsed(&request, wire::listing(&names));
                }
                if names.len() > wire::LISTING_MAX {
                    return self.parsed(&request, Err(Malformed("its listing has no end")));
                }
                if begun.elapsed() >= limit {
                    let request = request.to_string();
                    return Err(StoreError::Deadline { request, seconds: seconds(limit) });
                }
            }
        }
        let request = format!("{whole}, which changed again and again while it was read in parts");
        Err(StoreError::Answered { answer: Answer::TooBig, request })
    }

    /// Sends `requests`. A refusal with the errno `ignored` counts as success.
    pub(super) fn do_each(
        &self,
        requests: &[Request<'_>],
        ignored: Option<&Answer>,
    ) -> Result<(), StoreError> {
        self.ask_each(requests, |request, reply| match reply {
            Err(answer) if Some(&answer) != ignored => Err(request.answered(answer)),
            _ => Ok(()),
        })
    }
}

impl Span {
    pub(super) fn end(&mut self) -> Result<(), StoreError> {
        // Whatever happens to the request, an abort must not follow it.
        self.is_open = false;
        self.client.ask(&Request::commit()).map(drop)
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        // The end of a connection aborts its transactions.
        if self.is_open
            && self.client.is_usable()
            && let Err(error) = self.client.ask(&Request::abort())
        {
            let error: &dyn std::error::Error = &error;
            tracing::debug!(error, tx = self.client.tx, "cannot abort a transaction");
        }
    }
}

/// A request for each of `items`, or the error of the first that cannot be sent.
fn each<'a, T: Copy + 'a, R>(
    items: &'a [T],
    request: impl Fn(T) -> Result<R, StoreError>,
) -> Result<Vec<R>, StoreError> {
    items.iter().map(|item| request(*item)).collect()
}

/// The value in the `reply` to a read.
fn value(request: &Request<'_>, reply: Reply) -> Result<Option<Vec<u8>>, StoreError> {
    match reply {
        Ok(payload) => Ok(Some(payload)),
        Err(Answer::NotFound) => Ok(None),
        Err(answer) => Err(request.answered(answer)),
    }
}

impl Nodes for Client {
    fn read_each(&self, paths: &[&str]) -> Result<Values, StoreError> {
        let requests = each(paths, Request::read)?;
        let mut values = Vec::with_capacity(paths.len());
        self.ask_each(&requests, |request, reply| {
            values.push(value(request, reply)?);
            Ok(())
        })?;
        Ok(values)
    }

    fn write_each(&self, nodes: &[(&str, &str)]) -> Result<(), StoreError> {
        self.do_each(&each(nodes, |(path, value)| Request::write(path, value))?, None)
    }

    fn list(&self, path: &str) -> Result<Option<Vec<String>>, StoreError> {
        let request = Request::directory(path)?;
        let begun = Instant::now();
        match self.ask_since(Some(begun), &request) {
            Ok(payload) => self.parsed(&request, wire::listing(&payload)).map(Some),
            Err(error) if error.is(&Answer::NotFound) => Ok(None),
            Err(error) if error.is(&Answer::TooBig) => self.in_parts(&request, begun).map(Some),
            Err(error) => Err(error),
        }
    }

    fn list_each(&self, paths: &[&str]) -> Result<Vec<Option<Vec<String>>>, StoreError> {
        let requests = each(paths, Request::directory)?;
        let mut all = Vec::with_capacity(paths.len());
        let mut too_long = Vec::new();
        self.ask_each(&requests, |request, reply| {
            all.push(match reply {
                Ok(payload) => Some(self.parsed(request, wire::listing(&payload))?),
                Err(Answer::NotFound) => None,
                Err(Answer::TooBig) => {
                    too_long.push(all.len());
                    None
                }
                Err(answer) => return Err(request.answered(answer)),
            });
            Ok(())
        })?;
        for place in too_long {
            if let (Some(path), Some(names)) = (paths.get(place), all.get_mut(place)) {
                *names = self.list(path)?;
            }
        }
        Ok(all)
    }

    fn may_write_any(&self, domid: DomId, paths: &[&str]) -> Result<bool, StoreError> {
        let requests = each(paths, Request::permissions)?;
        let mut any = false;
        self.ask_each(&requests, |request, reply| {
            match reply {
                Ok(payload) => {
                    any |= self.parsed(request, wire::may_write(&payload, domid.get()))?;
                }
                Err(Answer::NotFound) => {}
                Err(answer) => return Err(request.answered(answer)),
            }
            Ok(())
        })?;
        Ok(any)
    }
}

impl Nodes for Span {
    fn read_each(&self, paths: &[&str]) -> Result<Values, StoreError> {
        self.client.read_each(paths)
    }

    fn write_each(&self, nodes: &[(&str, &str)]) -> Result<(), StoreError> {
        self.client.write_each(nodes)
    }

    fn list(&self, path: &str) -> Result<Option<Vec<String>>, StoreError> {
        self.client.list(path)
    }

    fn list_each(&self, paths: &[&str]) -> Result<Vec<Option<Vec<String>>>, StoreError> {
        self.client.list_each(paths)
    }

    fn may_write_any(&self, domid: DomId, paths: &[&str]) -> Result<bool, StoreError> {
        self.client.may_write_any(domid, paths)
    }
}

impl Store for Client {
    fn begin_beside(
        &self,
        paths: &[&str],
    ) -> Result<(Box<dyn Transaction + '_>, Values), StoreError> {
        let (span, values) = self.span(paths)?;
        Ok((Box::new(span), values))
    }

    fn watch(&self, paths: &[&str]) -> Result<(), StoreError> {
        self.do_each(&each(paths, Request::watch)?, None)
    }

    fn unwatch(&self, paths: &[&str]) -> Result<(), StoreError> {
        self.do_each(&each(paths, Request::unwatch)?, Some(&Answer::NotFound))
    }

    fn changes(&self, wait: Duration) -> Result<Vec<String>, StoreError> {
        let mut connection = self.connection();
        connection.listen(wait)?;
        Ok(connection.take_events())
    }

    fn is_usable(&self) -> bool {
        self.connection().is_usable()
    }
}

impl Transaction for Span {
    fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        self.end()
    }
}
