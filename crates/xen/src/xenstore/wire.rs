//! xenstore's wire format (`xen/include/public/io/xs_wire.h`): numbers and bytes.
//!
//! Owns what a request looks like and what a reply may look like. Never does I/O, and trusts no
//! length that a peer claims.

use std::fmt;

use super::{Answer, StoreError};

/// Bytes of a message's header: type, request id, transaction id, length; each a host-endian u32.
pub(super) const HEADER: usize = 16;

/// The most that a payload may hold; xenstored drops a client that sends more.
pub(super) const PAYLOAD_MAX: usize = 4096;

/// The most that /dev/xen/xenbus takes for header and payload together (its buffer in the kernel).
pub(super) const DEVICE_FRAME_MAX: usize = 4096;

/// The longest absolute path.
const PATH_MAX: usize = 3072;

/// The longest listing that is believed. oxenstored sends one of any length on a socket. The longest
/// that xmem asks for, `/local/domain` with all 32752 domids, is 185402 bytes; this is five of it.
pub(super) const LISTING_MAX: usize = 1 << 20;

/// The longest errno name that is believed; the longest known one has nine letters.
const ERRNO_MAX: usize = 32;

/// The token of every watch: events are told apart by their paths.
const TOKEN: &[u8] = b"xmem";

/// A message that no request asked for.
const WATCH_EVENT: u32 = 15;

/// The reply to a request that failed.
const ERROR: u32 = 16;

/// What a request asks for. The reply to one that succeeds carries the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Kind {
    Directory = 1,
    Read = 2,
    GetPerms = 3,
    Watch = 4,
    Unwatch = 5,
    TransactionStart = 6,
    TransactionEnd = 7,
    Write = 11,
    Rm = 13,
    DirectoryPart = 22,
}

impl Kind {
    const fn number(self) -> u32 {
        self as u32
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Directory => "DIRECTORY",
            Self::Read => "READ",
            Self::GetPerms => "GET_PERMS",
            Self::Watch => "WATCH",
            Self::Unwatch => "UNWATCH",
            Self::TransactionStart => "TRANSACTION_START",
            Self::TransactionEnd => "TRANSACTION_END",
            Self::Write => "WRITE",
            Self::Rm => "RM",
            Self::DirectoryPart => "DIRECTORY_PART",
        }
    }
}

/// A request that can be sent: its parts have been checked. Displays as its kind and its path.
#[derive(Clone, Debug)]
pub(super) struct Request<'a> {
    kind: Kind,
    about: &'a str,
    payload: Vec<u8>,
}

impl<'a> Request<'a> {
    pub(super) fn directory(path: &'a str) -> Result<Self, StoreError> {
        Self::on_path(Kind::Directory, path, &[&[0]])
    }

    /// The names of `path` from byte `offset` of its listing on.
    pub(super) fn directory_part(path: &'a str, offset: usize) -> Result<Self, StoreError> {
        Self::on_path(Kind::DirectoryPart, path, &[&[0], offset.to_string().as_bytes(), &[0]])
    }

    pub(super) fn read(path: &'a str) -> Result<Self, StoreError> {
        Self::on_path(Kind::Read, path, &[&[0]])
    }

    /// Who may read and write `path`.
    pub(super) fn permissions(path: &'a str) -> Result<Self, StoreError> {
        Self::on_path(Kind::GetPerms, path, &[&[0]])
    }

    pub(super) fn write(path: &'a str, value: &str) -> Result<Self, StoreError> {
        Self::on_path(Kind::Write, path, &[&[0], value.as_bytes()])
    }

    pub(super) fn rm(path: &'a str) -> Result<Self, StoreError> {
        Self::on_path(Kind::Rm, path, &[&[0]])
    }

    /// To be told of changes at and below `path`, which may be one of xenstored's own `@` words.
    pub(super) fn watch(path: &'a str) -> Result<Self, StoreError> {
        Self::on_path(Kind::Watch, path, &[&[0], TOKEN, &[0]])
    }

    /// To be told no more.
    pub(super) fn unwatch(path: &'a str) -> Result<Self, StoreError> {
        Self::on_path(Kind::Unwatch, path, &[&[0], TOKEN, &[0]])
    }

    pub(super) fn start() -> Self {
        Self { kind: Kind::TransactionStart, about: "", payload: vec![0] }
    }

    pub(super) fn commit() -> Self {
        Self { kind: Kind::TransactionEnd, about: "T", payload: b"T\0".to_vec() }
    }

    pub(super) fn abort() -> Self {
        Self { kind: Kind::TransactionEnd, about: "F", payload: b"F\0".to_vec() }
    }

    fn on_path(kind: Kind, path: &'a str, rest: &[&[u8]]) -> Result<Self, StoreError> {
        let request = Self {
            kind,
            about: path,
            payload: [path.as_bytes()].iter().chain(rest).copied().flatten().copied().collect(),
        };
        if path.contains('\0') {
            return Err(request.unsendable("its path has a NUL in it"));
        }
        if path.len() > PATH_MAX {
            return Err(request.unsendable("its path is longer than 3072 bytes"));
        }
        if request.payload.len() > PAYLOAD_MAX {
            return Err(request.unsendable("path and value together are longer than 4096 bytes"));
        }
        Ok(request)
    }

    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn is_commit(&self) -> bool {
        self.kind == Kind::TransactionEnd && self.about == "T"
    }

    /// The path that it is about.
    pub(super) const fn path(&self) -> &'a str {
        self.about
    }

    /// Header and payload together, in bytes.
    pub(super) const fn frame_len(&self) -> usize {
        self.payload.len().saturating_add(HEADER)
    }

    /// Appends the request's bytes to `out`.
    pub(super) fn encode(&self, id: u32, tx: u32, out: &mut Vec<u8>) {
        #[expect(clippy::cast_possible_truncation, reason = "at most PAYLOAD_MAX, see on_path")]
        let len = self.payload.len() as u32;
        for word in [self.kind.number(), id, tx, len] {
            out.extend_from_slice(&word.to_ne_bytes());
        }
        out.extend_from_slice(&self.payload);
    }

    /// The error for a request that cannot go out.
    pub(super) fn unsendable(&self, what: &'static str) -> StoreError {
        StoreError::Unsendable { request: self.to_string(), what }
    }

    /// The error for a request that xenstored answered with an errno.
    pub(super) fn answered(&self, answer: Answer) -> StoreError {
        StoreError::Answered { answer, request: self.to_string() }
    }
}

impl fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        if !self.about.is_empty() {
            write!(f, " {}", self.about)?;
        }
        Ok(())
    }
}

/// The head of a message from xenstored.
///
/// Its transaction id is not kept: a request id is never used twice on a connection, so it says
/// nothing more, and the kernel leaves it unset in messages that it makes up for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    kind: u32,
    id: u32,
    len: usize,
}

/// What a message is, to one who waits for the reply to a certain request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It did what was asked.
    Done,
    /// It says why it did not.
    Refusal,
    /// A watch fired. Its request id means nothing: the device leaves it unset.
    Event,
}

impl Header {
    /// The header that `bytes` begin with, and what comes after it, if all of it has arrived.
    pub(super) fn of(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = bytes.split_first_chunk::<HEADER>()?;
        let [kind, id, _tx, len] = head.as_chunks::<4>().0 else { return None };
        let len = usize::try_from(u32::from_ne_bytes(*len)).unwrap_or(usize::MAX);
        Some((Self { kind: u32::from_ne_bytes(*kind), id: u32::from_ne_bytes(*id), len }, rest))
    }

    /// How long the payload is said to be. Bounded only once [`Header::role`] was content.
    pub(super) const fn payload_len(&self) -> usize {
        self.len
    }

    /// The length of this message, which nobody has asked for and so has to be an event.
    pub(super) fn event_len(&self) -> Result<usize, String> {
        if self.kind != WATCH_EVENT {
            return Err(format!("it is of type {}, and nothing was asked", self.kind));
        }
        if self.len > PAYLOAD_MAX {
            return Err(format!("it claims {} bytes, where {PAYLOAD_MAX} are the most", self.len));
        }
        Ok(self.len)
    }

    /// What this message is to the request `id` of `kind`; judged before its payload is awaited.
    pub(super) fn role(&self, kind: Kind, id: u32) -> Result<Role, String> {
        let bound = match self.kind {
            listing if listing == Kind::Directory.number() => LISTING_MAX,
            _ => PAYLOAD_MAX,
        };
        if self.len > bound {
            return Err(format!("it claims {} bytes, where {bound} are the most", self.len));
        }
        if self.kind == WATCH_EVENT {
            return Ok(Role::Event);
        }
        if self.id != id {
            return Err(format!("it is for request {}, not for {id}", self.id));
        }
        if self.kind == ERROR {
            return Ok(Role::Refusal);
        }
        if self.kind != kind.number() {
            return Err(format!("it is of type {}, not {}", self.kind, kind.number()));
        }
        Ok(Role::Done)
    }
}

/// How a payload breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// The errno in an ERROR's payload. Only what looks like an errno's name is taken, since it ends up
/// on terminals.
pub(super) fn answer(payload: &[u8]) -> Result<Answer, Malformed> {
    let name = terminated(payload)?;
    let plausible = name.len() <= ERRNO_MAX
        && name.first().is_some_and(u8::is_ascii_uppercase)
        && name.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    match str::from_utf8(name) {
        Ok(name) if plausible => Ok(Answer::named(name)),
        _ => Err(Malformed("its error is not an errno's name")),
    }
}

/// The names in a listing, each ended by a NUL.
pub(super) fn listing(payload: &[u8]) -> Result<Vec<String>, Malformed> {
    if payload.is_empty() {
        return Ok(Vec::new());
    }
    let names = payload.strip_suffix(&[0]);
    names
        .ok_or(Malformed("its listing does not end with a NUL"))?
        .split(|byte| *byte == 0)
        .map(|name| match str::from_utf8(name) {
            Ok("") => Err(Malformed("its listing has an empty name in it")),
            Ok(name) => Ok(name.to_owned()),
            Err(_) => Err(Malformed("its listing has a name in it that is not text")),
        })
        .collect()
}

/// One piece of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    /// Changes with the listing.
    pub(super) generation: &'a [u8],
    /// Names, each ended by a NUL.
    pub(super) names: &'a [u8],
    /// Nothing comes after it.
    pub(super) last: bool,
}

impl<'a> Part<'a> {
    /// The piece in a `DIRECTORY_PART`'s payload: the generation, then names, then an empty name if it
    /// is the last.
    pub(super) fn of(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut halves = payload.splitn(2, |byte| *byte == 0);
        let (Some(generation), Some(rest)) = (halves.next(), halves.next()) else {
            return Err(Malformed("its part of a listing has no generation"));
        };
        if generation.is_empty() || !generation.iter().all(u8::is_ascii_digit) {
            return Err(Malformed("its part of a listing has a bad generation"));
        }
        match rest {
            [0] => Ok(Self { generation, names: &[], last: true }),
            [names @ .., 0] if names.ends_with(&[0]) => Ok(Self { generation, names, last: true }),
            [.., 0] => Ok(Self { generation, names: rest, last: false }),
            _ => Err(Malformed("its part of a listing does not end with a NUL")),
        }
    }
}

/// Whether domain `domid` may write a node with these permissions: a letter and a domid for each entry. The
/// first entry is the owner, who may do everything, with what all may who are not named after it.
pub(super) fn may_write(payload: &[u8], domid: u16) -> Result<bool, Malformed> {
    let entry = |text: &[u8]| -> Option<(bool, u32)> {
        let (letter, digits) = text.split_first()?;
        let id = str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit))?;
        let writes = match letter {
            b'w' | b'b' => true,
            b'n' | b'r' => false,
            _ => return None,
        };
        Some((writes, id.parse().ok()?))
    };
    let bad = Malformed("its permissions are none");
    let mut entries = Vec::new();
    for text in terminated(payload)?.split(|byte| *byte == 0) {
        entries.push(entry(text).ok_or(bad)?);
    }
    let (others, owner) = *entries.first().ok_or(bad)?;
    let domid = u32::from(domid);
    let named = entries.iter().skip(1).find(|(_, id)| *id == domid);
    Ok(owner == domid || named.map_or(others, |(writes, _)| *writes))
}

/// The id in the reply to a `TRANSACTION_START`; never 0, which stands for "no transaction".
pub(super) fn transaction_id(payload: &[u8]) -> Result<u32, Malformed> {
    let digits = terminated(payload)?;
    str::from_utf8(digits)
        .ok()
        .filter(|_| digits.iter().all(u8::is_ascii_digit))
        .and_then(|digits| digits.parse().ok())
        .filter(|id| *id != 0)
        .ok_or(Malformed("its transaction id is not one"))
}

/// The path in a `WATCH_EVENT`'s payload: of the node that changed, or that was removed with everything below it.
/// Fields after path and token, which later protocols may add, are ignored.
pub(super) fn event(payload: &[u8]) -> Result<String, Malformed> {
    let mut fields = payload.split(|byte| *byte == 0);
    match (fields.next(), fields.next(), fields.next()) {
        (Some(path), Some(_token), Some(_)) => str::from_utf8(path)
            .map(str::to_owned)
            .map_err(|_| Malformed("a watch event is not text")),
        _ => Err(Malformed("a watch event lacks its path or its token")),
    }
}

/// What stands before the one NUL that ends `payload`.
fn terminated(payload: &[u8]) -> Result<&[u8], Malformed> {
    payload.strip_suffix(&[0]).ok_or(Malformed("its text does not end with a NUL"))
}
