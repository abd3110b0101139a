//! The open file of a connection: writes requests, and takes replies and watch events apart.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, sockopt};

use super::endpoint::Transport;
use super::wire::{self, Header, Malformed, Meaning, Request};
use super::{Answer, StoreError};
use crate::escape::Escaped;

/// The most requests in flight on a socket.
const WINDOW: usize = 64;

/// The most bytes in flight on a socket. Linux gives it a send buffer of 208 KiB, so that a whole window can be written
/// even while the daemon reads nothing.
const WINDOW_BYTES: usize = 64 << 10;

/// The most watch events kept until [`Link::take_events`].
const EVENTS_MAX: usize = 1024;

/// The most bytes read at once.
const CHUNK: usize = 16 << 10;

/// From this number of awaited replies on, a read waits for the least that they can be together. Otherwise each reply
/// wakes this process up, which on a busy dom0 with one processor doubles the time of a long batch.
const MANY: usize = 8;

const _: () = assert!(WINDOW * wire::HEADER <= CHUNK && MANY > 1);

/// xenstored's reply to a request: its payload, or the errno of a refusal.
pub(super) type Reply = Result<Vec<u8>, Answer>;

/// An open file, and what has been read from it.
#[derive(Debug)]
pub(super) struct Link {
    fd: OwnedFd,
    transport: Transport,
    /// The bytes received and not yet taken: the start of the next message, and perhaps more.
    inbox: Vec<u8>,
    events: VecDeque<String>,
}

impl Link {
    /// See [`Connection::new`](super::connection::Connection::new).
    pub(super) const fn new(fd: OwnedFd, transport: Transport) -> Self {
        Self { fd, transport, inbox: Vec::new(), events: VecDeque::new() }
    }

    /// The first of `requests` that may be in flight together. On the device that is one, since the kernel has one
    /// buffer per open file and a second request would overwrite the first.
    pub(super) fn window<'a, 'b>(
        &self,
        requests: &'a [Request<'b>],
    ) -> Result<&'a [Request<'b>], StoreError> {
        let count = match self.transport {
            Transport::Device => {
                if let Some(first) = requests.first()
                    && first.frame_len() > wire::DEVICE_FRAME_MAX
                {
                    return Err(first.unsendable("it is too long for the xenbus device"));
                }
                1
            }
            Transport::Socket => {
                let mut room = WINDOW_BYTES;
                let fits = |request: &&Request<'_>| {
                    let left = room.checked_sub(request.frame_len());
                    room = left.unwrap_or(0);
                    left.is_some()
                };
                requests.iter().take(WINDOW).take_while(fits).count()
            }
        };
        Ok(requests.get(..count).unwrap_or(requests))
    }

    /// Writes `unsent` and moves the replies from `awaited` to `replies`, until none is awaited or `limit` has passed
    /// since `begun`.
    ///
    /// After the deadline it reads once more: a reply that has arrived counts, also if this process was stopped for an
    /// hour.
    pub(super) fn converse(
        &mut self,
        mut unsent: &[u8],
        awaited: &mut VecDeque<(u32, &Request<'_>)>,
        replies: &mut Vec<Reply>,
        begun: Instant,
        limit: Duration,
    ) -> Result<(), Failure> {
        let mut is_over = false;
        loop {
            self.write(&mut unsent)?;
            while let Some((id, request)) = awaited.front() {
                let Some(reply) = self.take_reply(*id, request)? else { break };
                awaited.pop_front();
                replies.push(reply);
            }
            if awaited.is_empty() {
                let early = "it came before the request was sent";
                return if unsent.is_empty() { Ok(()) } else { Err(Failure::garbled(early)) };
            }
            if is_over {
                return Err(Failure::Deadline);
            }
            let left = limit.saturating_sub(begun.elapsed());
            is_over = left.is_zero();
            let least = awaited.len().saturating_mul(wire::HEADER).saturating_sub(self.inbox.len());
            if awaited.len() >= MANY && least > 0 && unsent.is_empty() && !is_over {
                self.read_at_least(least, left)?;
            } else {
                self.poll(!unsent.is_empty(), left)?;
                self.read()?;
            }
        }
    }

    /// Writes what the kernel takes of `unsent` without blocking.
    fn write(&self, unsent: &mut &[u8]) -> Result<(), Failure> {
        if unsent.is_empty() {
            return Ok(());
        }
        let wrote = retry_on_intr(|| match self.transport {
            // SIGPIPE would kill the process in the middle of a change.
            Transport::Socket => {
                rustix::net::send(&self.fd, unsent, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
            }
            Transport::Device => rustix::io::write(&self.fd, unsent),
        });
        match wrote {
            Ok(count) => *unsent = unsent.get(count..).unwrap_or_default(),
            Err(Errno::AGAIN) => {}
            Err(Errno::PIPE | Errno::CONNRESET) => return Err(Failure::Closed),
            Err(error) => return Err(Failure::Os(error)),
        }
        Ok(())
    }

    /// Reads `least` bytes from a socket, or fewer if `left` passes or a signal arrives.
    fn read_at_least(&mut self, least: usize, left: Duration) -> Result<(), Failure> {
        // Zero would mean "no limit" to the kernel, which counts in microseconds.
        let timeout = Some(left.max(Duration::from_millis(1)));
        sockopt::set_socket_timeout(&self.fd, sockopt::Timeout::Recv, timeout)
            .map_err(Failure::Os)?;
        let mut chunk = [0; CHUNK];
        let room = chunk.get_mut(..least).unwrap_or_default();
        let read = rustix::net::recv(&self.fd, room, RecvFlags::WAITALL).map(|(count, _)| count);
        self.received(read, &chunk)
    }

    /// Reads what has arrived, without blocking.
    fn read(&mut self) -> Result<(), Failure> {
        let mut chunk = [0; CHUNK];
        let read = match self.transport {
            Transport::Socket => {
                rustix::net::recv(&self.fd, &mut chunk, RecvFlags::DONTWAIT).map(|(count, _)| count)
            }
            Transport::Device => rustix::io::read(&self.fd, &mut chunk),
        };
        self.received(read, &chunk)
    }

    fn received(&mut self, read: rustix::io::Result<usize>, chunk: &[u8]) -> Result<(), Failure> {
        match read {
            Ok(0) | Err(Errno::CONNRESET) => Err(Failure::Closed),
            Ok(count) => {
                self.inbox.extend_from_slice(chunk.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(Failure::Os(error)),
        }
    }

    /// Waits until there is something to read or, if `writing`, room to write, for `left` at most. The device never
    /// reports room, and always has some.
    fn poll(&self, writing: bool, left: Duration) -> Result<(), Failure> {
        let out = if writing { PollFlags::OUT } else { PollFlags::empty() };
        let timeout = Timespec::try_from(left).ok();
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN | out)];
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(Failure::Os(error)),
        }
    }

    /// The reply to `request`, if it has arrived completely. Moves the events before it to `events`.
    fn take_reply(&mut self, id: u32, request: &Request<'_>) -> Result<Option<Reply>, Failure> {
        loop {
            let Some(header) = Header::of(&self.inbox) else { return Ok(None) };
            let meaning = header.classify(Some((request.operation(), id)));
            let meaning = meaning.map_err(Failure::Garbled)?;
            let Some(payload) = self.take_payload(&header) else { return Ok(None) };
            let reply = match meaning {
                Meaning::Event => {
                    self.keep(wire::event(&payload)?);
                    continue;
                }
                Meaning::Refusal => Err(wire::answer(&payload)?),
                Meaning::Success => Ok(payload),
            };
            match &reply {
                Ok(payload) => tracing::trace!(%request, bytes = payload.len(), "reply"),
                Err(answer) => tracing::trace!(%request, errno = answer.name(), "refusal"),
            }
            return Ok(Some(reply));
        }
    }

    /// Waits until an event has arrived, for `limit` at most.
    pub(super) fn listen(&mut self, limit: Duration) -> Result<(), Failure> {
        // An event right behind a reply has been read already.
        self.take_all_events()?;
        if self.events.is_empty() {
            self.poll(false, limit)?;
            self.read()?;
            self.take_all_events()?;
        }
        Ok(())
    }

    /// Moves the events that have arrived to `events`. Anything else is a reply without a request.
    fn take_all_events(&mut self) -> Result<(), Failure> {
        while let Some(header) = Header::of(&self.inbox) {
            header.classify(None).map_err(Failure::Garbled)?;
            let Some(payload) = self.take_payload(&header) else { break };
            self.keep(wire::event(&payload)?);
        }
        Ok(())
    }

    /// Takes the first message from the inbox, if all of it has arrived, and returns its payload.
    fn take_payload(&mut self, header: &Header) -> Option<Vec<u8>> {
        let end = wire::HEADER.saturating_add(header.payload_len());
        let payload = self.inbox.get(wire::HEADER..end)?.to_vec();
        self.inbox.drain(..end);
        Some(payload)
    }

    /// The events so far, oldest first.
    pub(super) fn take_events(&mut self) -> Vec<String> {
        self.events.drain(..).collect()
    }

    fn keep(&mut self, event: String) {
        if self.events.len() >= EVENTS_MAX
            && let Some(oldest) = self.events.pop_front()
        {
            tracing::debug!(path = %Escaped(&oldest), "dropping a watch event that nobody took");
        }
        self.events.push_back(event);
    }
}

/// Why a conversation ended early.
#[derive(Debug)]
pub(super) enum Failure {
    Closed,
    Deadline,
    Garbled(String),
    Os(Errno),
}

impl Failure {
    fn garbled(what: &str) -> Self {
        Self::Garbled(what.to_owned())
    }

    pub(super) fn during(self, request: String, limit: Duration) -> StoreError {
        match self {
            Self::Closed => StoreError::Closed { request },
            Self::Deadline => StoreError::Deadline { request, seconds: seconds(limit) },
            Self::Garbled(what) => StoreError::Garbled { request, what },
            Self::Os(error) => StoreError::Transport { request, source: io::Error::from(error) },
        }
    }
}

impl From<Malformed> for Failure {
    fn from(Malformed(what): Malformed) -> Self {
        Self::garbled(what)
    }
}

/// `limit` in whole seconds, rounded up.
pub(super) fn seconds(limit: Duration) -> u64 {
    limit.as_secs().saturating_add(u64::from(limit.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_shown_in_whole_seconds_rounded_up() {
        assert_eq!(seconds(Duration::from_millis(150)), 1);
        assert_eq!(seconds(Duration::from_secs(10)), 10);
        assert_eq!(seconds(Duration::MAX), u64::MAX);
    }
}
