//! xenstore-rs's traits, over a connection to xenstored.
//!
//! Owns what each request means. A transaction ends exactly once: a commit is sent once and never
//! followed by an abort, and one that is dropped open is aborted.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::connection::{Connection, Deadlines, Reply, seconds};
use super::lookup::{Medium, Place, bound};
use super::wire::{self, Event, Malformed, Part, Request};
use super::{Answer, Batch, StoreError, Watching, Xs, XsTransaction, XsTransactionSpan};
use crate::domain::DomId;

/// How often a listing in parts may begin again because it changed.
const RESTARTS: usize = 16;

/// A connection to xenstored. A clone is another handle to the same one.
///
/// Every request has a deadline: 10 s, a commit 30 s, on the monotonic clock, from its first byte
/// written to the last byte of its reply; where that comes in pieces, the last one has another 10 s. Once a
/// request has failed with anything but [`StoreError::Answered`], [`StoreError::NotText`] or
/// [`StoreError::Unsendable`], the connection is closed, and each later one fails at once with
/// [`StoreError::Unusable`].
///
/// Before Linux 4.11 a write to /dev/xen/xenbus waits in the kernel for the reply, and there the
/// deadline has no force.
#[derive(Clone, Debug)]
pub struct Client(Session);

/// An open transaction. Dropping it aborts it.
#[derive(Debug)]
pub struct Span {
    session: Session,
    open: bool,
}

/// A connection, and the transaction that requests on it belong to; 0 is none.
#[derive(Clone, Debug)]
struct Session {
    connection: Rc<RefCell<Connection>>,
    tx: u32,
}

impl Client {
    /// Connects to this host's xenstored, by libxenstore's order: `$XENSTORED_PATH`; else `socket` in
    /// `$XENSTORED_RUNDIR`; else /var/run/xenstored/socket; and where that socket is not there, the
    /// device /dev/xen/xenbus or /proc/xen/xenbus. An empty variable counts as none.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], which names the path. A socket that is there but refuses is not
    /// passed over for the device, since a request to a dead daemon's device is never answered.
    pub fn connect() -> io::Result<Self> {
        let (fd, medium) = Place::reach(Deadlines::USUAL.request)?;
        Ok(Self::over(fd, medium, Deadlines::USUAL))
    }

    /// Speaks to a xenstored at the other end of `socket`, each request within `deadline`.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] if the socket cannot be given a time limit.
    pub fn from_socket(socket: UnixStream, deadline: Duration) -> io::Result<Self> {
        bound(&socket, deadline)
            .map_err(|source| StoreError::Unreachable { path: "an open socket".into(), source })?;
        Ok(Self::over(socket.into(), Medium::Socket, deadline.into()))
    }

    /// A client over `fd`: a socket whose calls have a time limit, or the device, non-blocking.
    pub(super) fn over(fd: OwnedFd, medium: Medium, deadlines: Deadlines) -> Self {
        let connection = Rc::new(RefCell::new(Connection::new(fd, medium, deadlines)));
        Self(Session { connection, tx: 0 })
    }

    /// The watch events that came in between replies since this was last called, oldest first. At
    /// most 1024 are kept, the latest; those of a connection that broke are gone.
    pub fn take_events(&self) -> Vec<Event> {
        self.0.connection.borrow_mut().take_events()
    }
}

impl Watching for Client {
    fn watch(&self, path: &str) -> io::Result<bool> {
        self.0.ask(&Request::watch(path, "xmem")?)?;
        Ok(true)
    }

    fn wait(&self, limit: Duration) -> io::Result<Vec<Box<str>>> {
        self.0.connection.borrow_mut().listen(limit)?;
        Ok(self.take_events().into_iter().map(|event| event.path).collect())
    }
}

impl XsTransaction for Client {
    type Span = Span;

    fn transaction(&self) -> io::Result<Span> {
        let request = Request::start();
        let payload = self.0.ask(&request)?;
        let tx = self.0.parsed(&request, wire::transaction_id(&payload))?;
        Ok(Span { session: Session { connection: Rc::clone(&self.0.connection), tx }, open: true })
    }
}

impl XsTransactionSpan for Span {
    /// # Errors
    /// [`StoreError::Answered`] and [`StoreError::Unusable`]: the transaction has no effect. Anything
    /// else: whether it has, or will have, is not known.
    fn commit(mut self) -> io::Result<()> {
        // Whatever becomes of the request, the transaction is no longer ours to abort.
        self.open = false;
        self.session.ask(&Request::commit())?;
        Ok(())
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        // A connection that broke took its transactions with it.
        if self.open
            && self.session.is_usable()
            && let Err(error) = self.session.ask(&Request::abort())
        {
            let error: &dyn std::error::Error = &error;
            tracing::debug!(error, tx = self.session.tx, "could not abort a transaction");
        }
    }
}

impl Session {
    fn is_usable(&self) -> bool {
        self.connection.borrow().is_usable()
    }

    /// Sends one request and returns the payload of its reply.
    fn ask(&self, request: &Request<'_>) -> Result<Vec<u8>, StoreError> {
        self.ask_since(None, request)
    }

    /// The same as a part of something that has `begun` before, and whose deadline it shares.
    fn ask_since(
        &self,
        begun: Option<Instant>,
        request: &Request<'_>,
    ) -> Result<Vec<u8>, StoreError> {
        let one = std::slice::from_ref(request);
        let replies = self.connection.borrow_mut().exchange(self.tx, one, begun)?;
        let reply = replies.into_iter().next().unwrap_or_else(|| Ok(Vec::new()));
        reply.map_err(|answer| request.answered(answer))
    }

    /// Sends all `requests`, a window of them at a time, and hands each reply in order to `take`.
    /// After its first error the replies under way are still read, but no more requests are sent.
    fn ask_each<'a>(
        &self,
        mut requests: &[Request<'a>],
        mut take: impl FnMut(&Request<'a>, Reply) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        while !requests.is_empty() {
            let replies = self.connection.borrow_mut().exchange(self.tx, requests, None)?;
            let count = replies.len();
            for (request, reply) in requests.iter().zip(replies) {
                take(request, reply)?;
            }
            requests = requests.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// What was read from the reply to `request`; if it could not be, the error, and the end of a
    /// connection whose peer breaks the protocol.
    fn parsed<T>(
        &self,
        request: &Request<'_>,
        parsed: Result<T, Malformed>,
    ) -> Result<T, StoreError> {
        parsed.map_err(|malformed| match malformed {
            Malformed::NotText => StoreError::NotText { path: request.path().to_owned() },
            Malformed::Broken(what) => {
                let (request, what) = (request.to_string(), what.to_owned());
                let error = StoreError::Garbled { request, what };
                self.connection.borrow_mut().give_up(&error);
                error
            }
        })
    }

    fn directory(&self, path: &str) -> Result<Vec<Box<str>>, StoreError> {
        let request = Request::directory(path)?;
        let begun = Instant::now();
        match self.ask_since(Some(begun), &request) {
            Ok(payload) => self.parsed(&request, wire::listing(&payload)),
            Err(StoreError::Answered { answer: Answer::TooBig, .. }) => {
                self.in_parts(&request, begun)
            }
            Err(error) => Err(error),
        }
    }

    /// The listing that `whole` asks for and that is too long for one message, in parts, all of them
    /// within the deadline of one request. A listing that changes on the way is begun again.
    fn in_parts(&self, whole: &Request<'_>, begun: Instant) -> Result<Vec<Box<str>>, StoreError> {
        let limit = self.connection.borrow().deadlines().of(whole);
        'listing: for _ in 0..=RESTARTS {
            let mut names = Vec::new();
            let mut generation = None;
            loop {
                let request = Request::directory_part(whole.path(), names.len())?;
                let payload = match self.ask_since(Some(begun), &request) {
                    // This daemon does not know the request: what it said first is all there is.
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
                    return self.parsed(&request, Err(Malformed::Broken("its listing has no end")));
                }
                if begun.elapsed() >= limit {
                    let request = request.to_string();
                    return Err(StoreError::Deadline { request, seconds: seconds(limit) });
                }
            }
        }
        let request = format!("{whole}, which kept changing while it was read in parts");
        Err(StoreError::Answered { answer: Answer::TooBig, request })
    }

    fn read(&self, path: &str) -> Result<Box<str>, StoreError> {
        let request = Request::read(path)?;
        let payload = self.ask(&request)?;
        self.parsed(&request, wire::value(payload))
    }

    fn write(&self, path: &str, data: &str) -> Result<(), StoreError> {
        self.ask(&Request::write(path, data)?).map(drop)
    }

    fn rm(&self, path: &str) -> Result<(), StoreError> {
        self.ask(&Request::rm(path)?).map(drop)
    }

    fn read_each(&self, paths: &[&str]) -> Result<Vec<Option<Box<str>>>, StoreError> {
        let requests =
            paths.iter().map(|path| Request::read(path)).collect::<Result<Vec<_>, _>>()?;
        let mut values = Vec::with_capacity(paths.len());
        self.ask_each(&requests, |request, reply| {
            values.push(match reply {
                Ok(payload) => Some(self.parsed(request, wire::value(payload))?),
                Err(Answer::NotFound) => None,
                Err(answer) => return Err(request.answered(answer)),
            });
            Ok(())
        })?;
        Ok(values)
    }

    fn may_write_any(&self, domid: DomId, paths: &[&str]) -> Result<bool, StoreError> {
        let requests =
            paths.iter().map(|path| Request::permissions(path)).collect::<Result<Vec<_>, _>>()?;
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

    fn write_each(&self, nodes: &[(&str, &str)]) -> Result<(), StoreError> {
        let requests = nodes
            .iter()
            .map(|(path, value)| Request::write(path, value))
            .collect::<Result<Vec<_>, _>>()?;
        self.ask_each(&requests, |request, reply| {
            reply.map(drop).map_err(|answer| request.answered(answer))
        })
    }
}

impl Xs for Client {
    fn directory(&self, path: &str) -> io::Result<Vec<Box<str>>> {
        Ok(self.0.directory(path)?)
    }

    fn read(&self, path: &str) -> io::Result<Box<str>> {
        Ok(self.0.read(path)?)
    }

    fn write(&self, path: &str, data: &str) -> io::Result<()> {
        Ok(self.0.write(path, data)?)
    }

    fn rm(&self, path: &str) -> io::Result<()> {
        Ok(self.0.rm(path)?)
    }
}

impl Batch for Client {
    fn read_each(&self, paths: &[&str]) -> io::Result<Vec<Option<Box<str>>>> {
        Ok(self.0.read_each(paths)?)
    }

    fn write_each(&self, nodes: &[(&str, &str)]) -> io::Result<()> {
        Ok(self.0.write_each(nodes)?)
    }

    fn may_write_any(&self, domid: DomId, paths: &[&str]) -> io::Result<bool> {
        Ok(self.0.may_write_any(domid, paths)?)
    }

    fn is_usable(&self) -> bool {
        self.0.is_usable()
    }
}

impl Xs for Span {
    fn directory(&self, path: &str) -> io::Result<Vec<Box<str>>> {
        Ok(self.session.directory(path)?)
    }

    fn read(&self, path: &str) -> io::Result<Box<str>> {
        Ok(self.session.read(path)?)
    }

    fn write(&self, path: &str, data: &str) -> io::Result<()> {
        Ok(self.session.write(path, data)?)
    }

    fn rm(&self, path: &str) -> io::Result<()> {
        Ok(self.session.rm(path)?)
    }
}

impl Batch for Span {
    fn read_each(&self, paths: &[&str]) -> io::Result<Vec<Option<Box<str>>>> {
        Ok(self.session.read_each(paths)?)
    }

    fn write_each(&self, nodes: &[(&str, &str)]) -> io::Result<()> {
        Ok(self.session.write_each(nodes)?)
    }

    fn may_write_any(&self, domid: DomId, paths: &[&str]) -> io::Result<bool> {
        Ok(self.session.may_write_any(domid, paths)?)
    }

    fn is_usable(&self) -> bool {
        self.session.is_usable()
    }
}
