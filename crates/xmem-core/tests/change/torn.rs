//! The change over the real xenstore client, with messages split into arbitrary pieces: the result is the same as
//! with whole messages.

use std::io::{self, Read as _, Write as _};
use std::iter;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_send_buffer_size;
use xen::hypervisor::Hypervisor;
use xen::xenstore::{Client, Store, StoreError};
use xen::{Host, NoInterrupt};
use xmem_core::change::{ChangeSession, ChangeStatus};
use xmem_sim::{Fault, Faults, WireHost};

use crate::scene::{Scene, request, requests};

/// How messages are split.
#[derive(Clone, Copy, Debug)]
struct Manner {
    /// The sizes of the pieces of a reply, in turn.
    gives: &'static [usize],
    /// The most bytes of a request that are read at once.
    takes: usize,
    /// The pause between two pieces.
    rests: Duration,
    /// Whether a watch event comes before each reply.
    events: bool,
    /// Whether the client has the smallest send buffer that the kernel allows.
    narrow: bool,
}

const PLAIN: Manner = Manner {
    gives: &[usize::MAX],
    takes: 4096,
    rests: Duration::ZERO,
    events: false,
    narrow: false,
};
const SHORT: Duration = Duration::from_millis(1);

fn manners() -> [Manner; 6] {
    [
        PLAIN,
        Manner { gives: &[1], takes: 1, ..PLAIN },
        // Never at the end of a message.
        Manner { gives: &[7, 1, 23, 3], takes: 5, ..PLAIN },
        Manner { gives: &[15, 1], takes: 3, rests: SHORT, ..PLAIN },
        Manner { gives: &[16], events: true, narrow: true, ..PLAIN },
        Manner { gives: &[1], takes: 1, events: true, narrow: true, ..PLAIN },
    ]
}

/// A host whose xenstored is behind a relay.
struct TornHost {
    host: WireHost,
    manner: Manner,
}

impl TornHost {
    fn socket(&self) -> io::Result<UnixStream> {
        let manner = self.manner;
        let (ours, theirs) = UnixStream::pair()?;
        if manner.narrow {
            set_socket_send_buffer_size(&ours, 1)?;
        }
        let daemon = self.host.xenstored.connect()?;
        let (from_client, to_daemon) = (theirs.try_clone()?, daemon.try_clone()?);
        thread::spawn(move || drop(relay_requests(from_client, to_daemon, manner)));
        thread::spawn(move || drop(relay_replies(daemon, theirs, manner)));
        Ok(ours)
    }
}

fn relay_requests(
    mut client: UnixStream,
    mut daemon: UnixStream,
    manner: Manner,
) -> io::Result<()> {
    let mut piece = vec![0; manner.takes];
    loop {
        match client.read(&mut piece)? {
            0 => return daemon.shutdown(std::net::Shutdown::Write),
            length => daemon.write_all(&piece[..length])?,
        }
        thread::sleep(manner.rests);
    }
}

fn relay_replies(mut daemon: UnixStream, mut client: UnixStream, manner: Manner) -> io::Result<()> {
    let event = {
        let payload = b"/w\0t\0";
        let header = [15, 0, 0, 5_u32].map(u32::to_ne_bytes).concat();
        [&header[..], payload].concat()
    };
    let mut sizes = iter::repeat(manner.gives).flatten();
    loop {
        let mut bytes = vec![0; 16];
        daemon.read_exact(&mut bytes)?;
        let length = u32::from_ne_bytes(bytes[12..16].try_into().unwrap());
        bytes.resize(16 + usize::try_from(length).unwrap(), 0);
        daemon.read_exact(&mut bytes[16..])?;
        if manner.events {
            bytes.splice(..0, event.iter().copied());
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            client.write_all(piece)?;
            thread::sleep(manner.rests);
            rest = after;
        }
    }
}

impl Host for TornHost {
    fn connect(&self) -> Result<Box<dyn Store>, StoreError> {
        let failed =
            |source| StoreError::Unreachable { daemon: "a socket pair".to_owned(), source };
        let socket = self.socket().map_err(failed)?;
        Ok(Box::new(Client::from_socket(socket, Duration::from_mins(1))))
    }

    fn hypervisor(&self) -> &dyn Hypervisor {
        self.host.hypervisor()
    }

    fn state_dir(&self) -> &Path {
        self.host.state_dir()
    }
}

#[test]
fn split_messages_do_not_alter_a_change() {
    for manner in manners() {
        for (memory, new) in requests() {
            let scene = Scene::new();
            let faults = Faults::from_iter([Fault::GuestIgnores]);
            let host = WireHost::new(&scene.world.0, scene.dir(), faults);
            let torn = TornHost { host, manner };
            let outcome = ChangeSession::new(&torn).change(&request(memory), &NoInterrupt);
            assert_eq!(outcome.unwrap().status, ChangeStatus::Changed, "{manner:?}, {memory:?}");
            assert_eq!((scene.numbers(), scene.files().len()), (new, 0), "{manner:?}, {memory:?}");
        }
    }
}
