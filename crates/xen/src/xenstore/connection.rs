//! One connection to xenstored: sends requests and receives their replies, in order, each within a deadline.
//!
//! If anything but an orderly reply arrives, the connection is closed at once and never used again: later bytes could
//! not be attributed to a request.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::StoreError;
use super::endpoint::Transport;
use super::link::{Link, Reply};
use super::wire::Request;

/// The time from before the first byte of a request is written to after the last byte of its reply is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    pub(super) request: Duration,
    pub(super) commit: Duration,
}

impl Deadlines {
    /// xenstored answers a request in well under a millisecond. After 10 s without an answer it hangs, even on a busy
    /// host. Giving a request up changes nothing outside a transaction. Giving a commit up leaves its outcome
    /// unknown, which is worse than waiting, so it gets three times as long.
    pub(super) const USUAL: Self =
        Self { request: Duration::from_secs(10), commit: Duration::from_secs(30) };

    pub(super) fn of(&self, request: &Request<'_>) -> Duration {
        if request.is_commit() { self.commit } else { self.request }
    }
}

impl From<Duration> for Deadlines {
    fn from(limit: Duration) -> Self {
        Self { request: limit, commit: limit }
    }
}

/// A connection, or the failure that ended it.
#[derive(Debug)]
pub(super) struct Connection {
    /// The error is the text of the failure.
    link: Result<Link, String>,
    deadlines: Deadlines,
    next_id: u32,
}

impl Connection {
    /// A connection over `fd`: a socket, or the non-blocking device.
    pub(super) fn new(fd: OwnedFd, transport: Transport, deadlines: Deadlines) -> Self {
        Self { link: Ok(Link::new(fd, transport)), deadlines, next_id: 1 }
    }

    pub(super) const fn deadlines(&self) -> Deadlines {
        self.deadlines
    }

    /// Whether further requests can be sent.
    pub(super) const fn is_usable(&self) -> bool {
        self.link.is_ok()
    }

    /// Sends the first of `requests`; on a socket, as many as may be in flight together. Returns the replies to them in
    /// order: at least one, unless there are no requests. Their deadline counts from `begun`, or from now.
    ///
    /// # Errors
    /// Any but [`StoreError::Answered`]. All but [`StoreError::Unsendable`] end the connection.
    pub(super) fn exchange(
        &mut self,
        tx: u32,
        requests: &[Request<'_>],
        begun: Option<Instant>,
    ) -> Result<Vec<Reply>, StoreError> {
        let Some(first) = requests.first() else { return Ok(Vec::new()) };
        let link = usable(&mut self.link, || first.to_string())?;
        let window = link.window(requests)?;
        let mut unsent = Vec::new();
        let mut awaited = VecDeque::with_capacity(window.len());
        for request in window {
            request.encode(self.next_id, tx, &mut unsent);
            awaited.push_back((self.next_id, request));
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        }
        let limit = self.deadlines.of(first);
        let begun = begun.unwrap_or_else(Instant::now);
        let mut replies = Vec::with_capacity(window.len());
        let Err(failure) = link.converse(&unsent, &mut awaited, &mut replies, begun, limit) else {
            return Ok(replies);
        };
        let request = awaited.front().map_or(first, |(_, request)| *request);
        let error = failure.during(request.to_string(), limit);
        self.give_up(&error);
        Err(error)
    }

    /// Closes the connection, which also aborts its transactions and, as far as possible, keeps an unanswered request
    /// from taking effect later.
    pub(super) fn give_up(&mut self, why: &StoreError) {
        if self.link.is_ok() {
            tracing::debug!(error = why as &dyn std::error::Error, "giving up the connection");
            self.link = Err(why.to_string());
        }
    }

    /// Waits until a watch event has arrived, for `limit` at most. Sends nothing.
    ///
    /// # Errors
    /// As for [`exchange`](Self::exchange): the connection has ended, now or before.
    pub(super) fn listen(&mut self, limit: Duration) -> Result<(), StoreError> {
        let request = || "the wait for a watch event".to_owned();
        let Err(failure) = usable(&mut self.link, request)?.listen(limit) else { return Ok(()) };
        let error = failure.during(request(), limit);
        self.give_up(&error);
        Err(error)
    }

    /// The paths of the watch events so far, oldest first.
    pub(super) fn take_events(&mut self) -> Vec<String> {
        self.link.as_mut().map_or_else(|_| Vec::new(), Link::take_events)
    }
}

fn usable(
    link: &mut Result<Link, String>,
    request: impl FnOnce() -> String,
) -> Result<&mut Link, StoreError> {
    link.as_mut().map_err(|earlier| {
        let earlier = earlier.clone();
        StoreError::Unusable { request: request(), earlier }
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn request_ids_wrap_past_zero() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut connection = Connection::new(ours.into(), Transport::Socket, Deadlines::USUAL);
        connection.next_id = u32::MAX;
        for id in [u32::MAX, 1] {
            theirs.write_all(&[2, id, 0, 1].map(u32::to_ne_bytes).concat()).unwrap();
            theirs.write_all(b"x").unwrap();
        }
        let requests = [Request::read("/a").unwrap(), Request::read("/b").unwrap()];
        let replies = connection.exchange(0, &requests, None).unwrap();
        assert_eq!(replies, [Ok(b"x".to_vec()), Ok(b"x".to_vec())]);
        let mut sent = [0; 38];
        theirs.read_exact(&mut sent).unwrap();
        assert_eq!(sent[4..8], u32::MAX.to_ne_bytes());
        assert_eq!(sent[23..27], 1_u32.to_ne_bytes());
    }

    #[test]
    fn only_a_commit_has_the_long_deadline() {
        let deadlines = Deadlines::USUAL;
        assert_eq!(deadlines.of(&Request::commit()), Duration::from_secs(30));
        // A node may be named T.
        for request in [Request::abort(), Request::start(), Request::write("T", "").unwrap()] {
            assert_eq!(deadlines.of(&request), Duration::from_secs(10), "{request}");
        }
    }
}
