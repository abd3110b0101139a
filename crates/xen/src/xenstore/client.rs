//! xenstore-rs's traits, over a connection to xenstored.
//!
//! Owns what each request means. A transaction ends exactly once: a commit is sent once and never
//! followed by an abort, and one that is dropped open is aborted.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::{Connection, Deadlines, Reply, seconds};
use super::endpoint::{Medium, Place, bound};
use super::wire::{self, Malformed, Part, Request};
use super::{Answer, Nodes, Store, StoreError, Transaction, Xs, XsTransaction, XsTransactionSpan};
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
    connection: Arc<Mutex<Connection>>,
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
    pub fn connect() -> Result<Self, StoreError> {
        let (fd, medium) = Place::reach(Deadlines::USUAL.request)?;
        Ok(Self::over(fd, medium, Deadlines::USUAL))
    }

    /// Speaks to a xenstored at the other end of `socket`, each request within `deadline`.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] if the socket cannot be given a time limit.
    pub fn from_socket(socket: UnixStream, deadline: Duration) -> Result<Self, StoreError> {
        bound(&socket, deadline)
            .map_err(|source| StoreError::Unreachable { path: "an open socket".into(), source })?;
        Ok(Self::over(socket.into(), Medium::Socket, deadline.into()))
    }

    /// A client over `fd`: a socket whose calls have a time limit, or the device, non-blocking.
    pub(super) fn over(fd: OwnedFd, medium: Medium, deadlines: Deadlines) -> Self {
        let connection = Arc::new(Mutex::new(Connection::new(fd, medium, deadlines)));
        Self(Session { connection, tx: 0 })
    }
}

impl Client {
    fn span(&self) -> Result<Span, StoreError> {
        let request = Request::start();
        let payload = self.0.ask(&request)?;
        let tx = self.0.parsed(&request, wire::transaction_id(&payload))?;
        let connection = Arc::clone(&self.0.connection);
        Ok(Span { session: Session { connection, tx }, open: true })
    }
}

impl Span {
    fn end(&mut self) -> Result<(), StoreError> {
        // Whatever becomes of the request, the transaction is no longer ours to abort.
        self.open = false;
        self.session.ask(&Request::commit()).map(drop)
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
    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic in the middle of an exchange leaves the connection broken, not wrong: its replies no longer match.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_usable(&self) -> bool {
        self.connection().is_usable()
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
        let replies = self.connection().exchange(self.tx, one, begun)?;
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
            let replies = self.connection().exchange(self.tx, requests, None)?;
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
        parsed.map_err(|Malformed(what)| {
            let (request, what) = (request.to_string(), what.to_owned());
            let error = StoreError::Garbled { request, what };
            self.connection().give_up(&error);
            error
        })
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

    /// The listing that `whole` asks for and that is too long for one message, in parts, all of them
    /// within the deadline of one request. A listing that changes on the way is begun again.
    fn in_parts(&self, whole: &Request<'_>, begun: Instant) -> Result<Vec<String>, StoreError> {
        let limit = self.connection().deadlines().of(whole);
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
                    return self.parsed(&request, Err(Malformed("its listing has no end")));
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

    fn read_each(&self, paths: &[&str]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let requests = each(paths, Request::read)?;
        let mut values = Vec::with_capacity(paths.len());
        self.ask_each(&requests, |request, reply| {
            values.push(match reply {
                Ok(payload) => Some(payload),
                Err(Answer::NotFound) => None,
                Err(answer) => return Err(request.answered(answer)),
            });
            Ok(())
        })?;
        Ok(values)
    }

    fn may_write_any(&self, domid: DomId, paths: &[&str]) -> Result<bool, StoreError> {
        let requests = each(paths, Request::permissions)?;
        let mut any = false;
        self.ask_each(&requests, |request, reply| {
            match reply {
                Ok(payload) => {
                    any |= self.parsed(request, wire::may_write(&payload, domid.get()))?
                }
                Err(Answer::NotFound) => {}
                Err(answer) => return Err(request.answered(answer)),
            }
            Ok(())
        })?;
        Ok(any)
    }

    /// Sends all of `requests`; a refusal of one that `forgives` is none.
    fn do_each(
        &self,
        requests: &[Request<'_>],
        forgives: Option<&Answer>,
    ) -> Result<(), StoreError> {
        self.ask_each(requests, |request, reply| match reply {
            Err(answer) if Some(&answer) != forgives => Err(request.answered(answer)),
            _ => Ok(()),
        })
    }

    fn write_each(&self, nodes: &[(&str, &str)]) -> Result<(), StoreError> {
        self.do_each(&each(nodes, |(path, value)| Request::write(path, value))?, None)
    }
}

/// A request for each of `items`, none of which is sent unless all can be.
fn each<'a, T: Copy + 'a, R>(
    items: &'a [T],
    request: impl Fn(T) -> Result<R, StoreError>,
) -> Result<Vec<R>, StoreError> {
    items.iter().map(|item| request(*item)).collect()
}

/// [`Nodes`], and xenstore-rs's [`Xs`], for what holds a [`Session`].
macro_rules! over_session {
    ($($holder:ident . $session:tt),+) => {$(
        impl Nodes for $holder {
            fn read_each(&self, paths: &[&str]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
                self.$session.read_each(paths)
            }

            fn write_each(&self, nodes: &[(&str, &str)]) -> Result<(), StoreError> {
                self.$session.write_each(nodes)
            }

            fn list(&self, path: &str) -> Result<Option<Vec<String>>, StoreError> {
                self.$session.list(path)
            }

            fn list_each(&self, paths: &[&str]) -> Result<Vec<Option<Vec<String>>>, StoreError> {
                self.$session.list_each(paths)
            }

            fn may_write_any(&self, domid: DomId, paths: &[&str]) -> Result<bool, StoreError> {
                self.$session.may_write_any(domid, paths)
            }
        }

        impl Xs for $holder {
            fn directory(&self, path: &str) -> io::Result<Vec<Box<str>>> {
                let names = self.$session.list(path)?.ok_or(io::ErrorKind::NotFound)?;
                Ok(names.into_iter().map(String::into_boxed_str).collect())
            }

            fn read(&self, path: &str) -> io::Result<Box<str>> {
                let value = self.$session.ask(&Request::read(path)?)?;
                let text = String::from_utf8(value).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                Ok(text.into_boxed_str())
            }

            fn write(&self, path: &str, data: &str) -> io::Result<()> {
                Ok(self.$session.write_each(&[(path, data)])?)
            }

            fn rm(&self, path: &str) -> io::Result<()> {
                Ok(self.$session.do_each(&[Request::rm(path)?], None)?)
            }
        }
    )+};
}

over_session!(Client.0, Span.session);

impl Store for Client {
    fn begin(&self) -> Result<Box<dyn Transaction + '_>, StoreError> {
        Ok(Box::new(self.span()?))
    }

    fn watch(&self, paths: &[&str]) -> Result<(), StoreError> {
        self.0.do_each(&each(paths, Request::watch)?, None)
    }

    fn unwatch(&self, paths: &[&str]) -> Result<(), StoreError> {
        self.0.do_each(&each(paths, Request::unwatch)?, Some(&Answer::NotFound))
    }

    fn changes(&self, wait: Duration) -> Result<Vec<String>, StoreError> {
        let mut connection = self.0.connection();
        connection.listen(wait)?;
        Ok(connection.take_events())
    }

    fn is_usable(&self) -> bool {
        self.0.is_usable()
    }
}

impl Transaction for Span {
    fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        self.end()
    }
}

impl XsTransaction for Client {
    type Span = Span;

    fn transaction(&self) -> io::Result<Span> {
        Ok(self.span()?)
    }
}

impl XsTransactionSpan for Span {
    fn commit(mut self) -> io::Result<()> {
        Ok(self.end()?)
    }
}
