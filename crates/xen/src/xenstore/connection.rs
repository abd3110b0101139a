//! One connection to xenstored: requests out, replies in, each within its deadline.
//!
//! Owns the file descriptor and the order of messages on it. A connection on which anything but an
//! orderly reply has happened is closed there and then, and never speaks again: what would come next
//! on it can no longer be told apart. Never knows what a payload means.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags};

use super::endpoint::Medium;
use super::wire::{self, Header, Malformed, Request, Role};
use super::{Answer, StoreError};
use crate::escape::Escaped;

/// How many requests may be in flight on a socket at once.
const WINDOW: usize = 64;

/// How many bytes of them. Linux gives a socket a send buffer of 208 KiB, so that a whole window can
/// be written even while the daemon reads nothing.
const WINDOW_BYTES: usize = 64 << 10;

/// How many watch events are kept for whoever asks for them.
const EVENTS_MAX: usize = 1024;

/// From how many replies on it pays to wait for more than the first.
const MANY: usize = 8;

/// How many bytes are taken from the kernel at a time.
const CHUNK: usize = 16 << 10;

/// How long to wait, counted from before the first byte is written to after the last one is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    pub(super) request: Duration,
    pub(super) commit: Duration,
}

impl Deadlines {
    /// A request takes xenstored well under a millisecond; ten seconds of silence mean that it hangs,
    /// also on a host under heavy load. Ending it leaves everything as it was, since nothing outside
    /// a transaction is at stake. After a commit sent the outcome is unknown, which is far worse than
    /// waiting, so it gets three times as long.
    pub(super) const USUAL: Self =
        Self { request: Duration::from_secs(10), commit: Duration::from_secs(30) };

    const fn all(limit: Duration) -> Self {
        Self { request: limit, commit: limit }
    }

    pub(super) fn of(&self, request: &Request<'_>) -> Duration {
        if request.is_commit() { self.commit } else { self.request }
    }
}

impl From<Duration> for Deadlines {
    fn from(limit: Duration) -> Self {
        Self::all(limit)
    }
}

/// What xenstored said to a request: the reply's payload, or no.
pub(super) type Reply = Result<Vec<u8>, Answer>;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Connection {
    /// What broke it stands in place of the link.
    link: Result<Link, String>,
    deadlines: Deadlines,
    next_id: u32,
}

impl Connection {
    /// A connection over `fd`: a socket whose calls have a time limit, or the device, non-blocking.
    pub(super) const fn new(fd: OwnedFd, medium: Medium, deadlines: Deadlines) -> Self {
        let link = Link { fd, medium, inbox: Vec::new(), events: VecDeque::new() };
        Self { link: Ok(link), deadlines, next_id: 1 }
    }

    pub(super) const fn deadlines(&self) -> Deadlines {
        self.deadlines
    }

    /// Whether it can still be spoken on.
    pub(super) const fn is_usable(&self) -> bool {
        self.link.is_ok()
    }

    /// Sends the first of `requests`, on a socket as many as may be in flight together, and returns
    /// xenstored's replies to them in order: at least one, unless there are no requests. Their deadline
    /// counts from now, or from when that began which they are a part of.
    ///
    /// # Errors
    /// Anything but [`StoreError::Answered`]. All but [`StoreError::Unsendable`] end the connection.
    pub(super) fn exchange(
        &mut self,
        tx: u32,
        requests: &[Request<'_>],
        begun: Option<Instant>,
    ) -> Result<Vec<Reply>, StoreError> {
        let Some(first) = requests.first() else { return Ok(Vec::new()) };
        let link = match &mut self.link {
            Ok(link) => link,
            Err(earlier) => {
                return Err(StoreError::Unusable {
                    request: first.to_string(),
                    earlier: earlier.clone(),
                });
            }
        };
        let window = link.window(requests)?;
        let mut bytes = Vec::new();
        let mut awaited = VecDeque::with_capacity(window.len());
        for request in window {
            request.encode(self.next_id, tx, &mut bytes);
            awaited.push_back((self.next_id, request));
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        }
        let limit = self.deadlines.of(first);
        let mut replies = Vec::with_capacity(window.len());
        let Err(failure) = link.converse(&bytes, &mut awaited, &mut replies, (begun, limit)) else {
            return Ok(replies);
        };
        let request = awaited.front().map_or(first, |(_, request)| *request);
        let error = failure.during(request.to_string(), limit);
        self.give_up(&error);
        Err(error)
    }

    /// Ends the connection: its file is closed, which also aborts its transactions, and keeps a
    /// request that nobody has taken up yet from taking effect later, as far as can be done.
    pub(super) fn give_up(&mut self, why: &StoreError) {
        if self.link.is_ok() {
            tracing::debug!(error = why as &dyn std::error::Error, "giving up the connection");
            self.link = Err(why.to_string());
        }
    }

    /// Waits until a watch event is there or `limit` is over.
    ///
    /// # Errors
    /// As [`exchange`](Self::exchange): the connection is over, or was before.
    pub(super) fn listen(&mut self, limit: Duration) -> Result<(), StoreError> {
        let request = || "the wait for a watch event".to_owned();
        let link = match &mut self.link {
            Ok(link) => link,
            Err(earlier) => {
                let earlier = earlier.clone();
                return Err(StoreError::Unusable { request: request(), earlier });
            }
        };
        let Err(failure) = link.listen(limit) else { return Ok(()) };
        let error = failure.during(request(), limit);
        self.give_up(&error);
        Err(error)
    }

    /// The watch events that have come so far, oldest first.
    pub(super) fn take_events(&mut self) -> Vec<String> {
        self.link.as_mut().map_or_else(|_| Vec::new(), |link| link.events.drain(..).collect())
    }
}

/// An open file, and what has been read from it.
#[derive(Debug)]
struct Link {
    fd: OwnedFd,
    medium: Medium,
    /// What has arrived of the next message, and maybe of some after it.
    inbox: Vec<u8>,
    events: VecDeque<String>,
}

impl Link {
    /// The first of `requests` that may be in flight together: on the device one, since the kernel
    /// has one buffer a file and a second request overwrites the first.
    fn window<'a, 'b>(&self, requests: &'a [Request<'b>]) -> Result<&'a [Request<'b>], StoreError> {
        let count = match self.medium {
            Medium::Device => {
                if let Some(first) = requests.first()
                    && first.frame_len() > wire::DEVICE_FRAME_MAX
                {
                    return Err(first.unsendable("it is too long for the xenbus device"));
                }
                1
            }
            Medium::Socket => {
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

    /// Writes `unsent` and reads the replies to `awaited`, both as far as they go, until the last
    /// reply is there.
    ///
    /// When the time is over it looks once more: a reply that is there counts, also when this process
    /// was stopped for an hour.
    fn converse(
        &mut self,
        mut unsent: &[u8],
        awaited: &mut VecDeque<(u32, &Request<'_>)>,
        replies: &mut Vec<Reply>,
        (begun, limit): (Option<Instant>, Duration),
    ) -> Result<(), Failure> {
        // The usual way: recv itself waits for the replies, bounded by the socket's own time limit, again and again
        // as long as they come. Once none comes, or the time is over, what is missing is waited for by the clock.
        let mut in_recv = self.medium == Medium::Socket && begun.is_none();
        let mut waited = begun.is_some();
        let begun = begun.unwrap_or_else(Instant::now);
        let mut over = false;
        loop {
            self.push(&mut unsent)?;
            while let Some((id, request)) = awaited.front() {
                let Some(reply) = self.settle(*id, request)? else { break };
                awaited.pop_front();
                replies.push(reply);
            }
            if awaited.is_empty() {
                let early = "it came before the request was sent";
                return if unsent.is_empty() { Ok(()) } else { Err(Failure::garbled(early)) };
            }
            if over {
                return Err(Failure::Deadline);
            }
            let first = !mem::replace(&mut waited, true);
            let left = if first { limit } else { limit.saturating_sub(begun.elapsed()) };
            if in_recv && unsent.is_empty() && !left.is_zero() {
                in_recv = self.pull_most(awaited.len())? > 0;
                continue;
            }
            over = left.is_zero();
            self.wait(!unsent.is_empty(), left)?;
            self.pull(CHUNK, RecvFlags::DONTWAIT)?;
        }
    }

    /// Writes what the kernel will take of `unsent` now.
    fn push(&self, unsent: &mut &[u8]) -> Result<(), Failure> {
        if unsent.is_empty() {
            return Ok(());
        }
        let wrote = retry_on_intr(|| match self.medium {
            // A SIGPIPE in the midst of a change would leave it half done.
            Medium::Socket => {
                rustix::net::send(&self.fd, unsent, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
            }
            Medium::Device => rustix::io::write(&self.fd, unsent),
        });
        match wrote {
            Ok(count) => *unsent = unsent.get(count..).unwrap_or_default(),
            Err(Errno::AGAIN) => {}
            Err(Errno::PIPE | Errno::CONNRESET) => return Err(Failure::Closed),
            Err(error) => return Err(Failure::Os(error)),
        }
        Ok(())
    }

    /// Waits for the replies to `awaited` requests and reads what has arrived: of a few whatever has come first, of
    /// many as much as they cannot be shorter than, so that not each of them is a wake-up of its own.
    fn pull_most(&mut self, awaited: usize) -> Result<usize, Failure> {
        let least = awaited.saturating_mul(wire::HEADER).saturating_sub(self.inbox.len());
        if awaited >= MANY && (1..=CHUNK).contains(&least) {
            self.pull(least, RecvFlags::WAITALL)
        } else {
            self.pull(CHUNK, RecvFlags::empty())
        }
    }

    /// Reads what has arrived, at most `most` bytes and a chunk, and says how much that was. The device, and a
    /// socket with `DONTWAIT`, never wait.
    fn pull(&mut self, most: usize, flags: RecvFlags) -> Result<usize, Failure> {
        let mut chunk = [0; CHUNK];
        let room = chunk.get_mut(..most).unwrap_or_default();
        let read = match self.medium {
            Medium::Socket => rustix::net::recv(&self.fd, room, flags).map(|(count, _)| count),
            Medium::Device => rustix::io::read(&self.fd, room),
        };
        match read {
            Ok(0) | Err(Errno::CONNRESET) => Err(Failure::Closed),
            Ok(count) => {
                self.inbox.extend_from_slice(chunk.get(..count).unwrap_or_default());
                Ok(count)
            }
            // A process that was stopped comes out of a recv that has a time limit with INTR.
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(Failure::Os(error)),
        }
    }

    /// Waits until there is something to read or, if `writing`, room to write; or `left` is over.
    /// The device never says that there is room, and always has some.
    fn wait(&self, writing: bool, left: Duration) -> Result<(), Failure> {
        let out = if writing { PollFlags::OUT } else { PollFlags::empty() };
        let timeout = Timespec::try_from(left).ok();
        match rustix::event::poll(
            &mut [PollFd::new(&self.fd, PollFlags::IN | out)],
            timeout.as_ref(),
        ) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(Failure::Os(error)),
        }
    }

    /// The reply to `request`, if all of it has arrived. Sets aside the events before it.
    fn settle(&mut self, id: u32, request: &Request<'_>) -> Result<Option<Reply>, Failure> {
        loop {
            let Some((header, rest)) = Header::of(&self.inbox) else { return Ok(None) };
            let role = header.role(request.kind(), id).map_err(Failure::Garbled)?;
            let len = header.payload_len();
            let Some(payload) = rest.get(..len).map(<[u8]>::to_vec) else { return Ok(None) };
            self.inbox.drain(..wire::HEADER.saturating_add(len));
            let reply = match role {
                Role::Event => {
                    self.keep(wire::event(&payload)?);
                    continue;
                }
                Role::Refusal => Err(wire::answer(&payload)?),
                Role::Done => Ok(payload),
            };
            match &reply {
                Ok(payload) => tracing::trace!(%request, bytes = payload.len(), "xenstored did"),
                Err(answer) => {
                    tracing::trace!(%request, errno = answer.name(), "xenstored refused");
                }
            }
            return Ok(Some(reply));
        }
    }

    /// See [`Connection::listen`].
    fn listen(&mut self, limit: Duration) -> Result<(), Failure> {
        // One that came right behind a reply has been read already.
        self.sort()?;
        if self.events.is_empty() {
            self.wait(false, limit)?;
            self.pull(CHUNK, RecvFlags::DONTWAIT)?;
            self.sort()?;
        }
        Ok(())
    }

    /// Sets aside the events that have arrived while nothing else was to come.
    fn sort(&mut self) -> Result<(), Failure> {
        while let Some((header, rest)) = Header::of(&self.inbox) {
            let len = header.event_len().map_err(Failure::Garbled)?;
            let Some(payload) = rest.get(..len).map(<[u8]>::to_vec) else { break };
            self.inbox.drain(..wire::HEADER.saturating_add(len));
            self.keep(wire::event(&payload)?);
        }
        Ok(())
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

/// Why a conversation broke off.
#[derive(Debug)]
enum Failure {
    Closed,
    Deadline,
    Garbled(String),
    Os(Errno),
}

impl Failure {
    fn garbled(what: &str) -> Self {
        Self::Garbled(what.to_owned())
    }

    fn during(self, request: String, limit: Duration) -> StoreError {
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
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn request_ids_wrap_past_zero() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut connection = Connection::new(ours.into(), Medium::Socket, Deadlines::USUAL);
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
        // A node may be called T.
        for request in [Request::abort(), Request::start(), Request::write("T", "").unwrap()] {
            assert_eq!(deadlines.of(&request), Duration::from_secs(10), "{request}");
        }
    }

    #[test]
    fn a_part_of_a_second_counts_as_one() {
        assert_eq!(seconds(Duration::from_millis(150)), 1);
        assert_eq!(seconds(Duration::from_secs(10)), 10);
        assert_eq!(seconds(Duration::MAX), u64::MAX);
    }

    #[test]
    fn a_window_is_bounded_on_a_socket_and_one_on_the_device() {
        let link = |medium| {
            let (ours, _) = UnixStream::pair().unwrap();
            Link { fd: ours.into(), medium, inbox: Vec::new(), events: VecDeque::new() }
        };
        let long = "v".repeat(4000);
        for (request, count) in
            [(Request::read("/a").unwrap(), 64), (Request::write("/a", &long).unwrap(), 16)]
        {
            let many = vec![request; 100];
            assert_eq!(link(Medium::Socket).window(&many).unwrap().len(), count);
            assert_eq!(link(Medium::Socket).window(&many[..3]).unwrap().len(), 3);
            assert_eq!(link(Medium::Device).window(&many).unwrap().len(), 1);
        }
    }
}
