//! xenstore's wire format (`xen/include/public/io/xs_wire.h`): requests as bytes, and what replies mean.
//!
//! No I/O. Every length that a peer claims is checked before it is used.

use std::fmt;

use super::{Answer, StoreError};

/// Bytes of a message's header: type, request id, transaction id and payload length, each a host-endian u32.
pub(super) const HEADER: usize = 16;

/// The longest payload, in bytes. xenstored drops a client that sends a longer one.
pub(super) const PAYLOAD_MAX: usize = 4096;

/// The longest header and payload together that /dev/xen/xenbus takes, in bytes: the size of its buffer in Linux.
pub(super) const DEVICE_FRAME_MAX: usize = 4096;

/// The longest absolute path, in bytes.
const PATH_MAX: usize = 3072;

/// The longest listing accepted, in bytes. oxenstored sends one of any length on a socket. `/local/domain` with all
/// 32752 domids takes 185402; this is five times as much.
pub(super) const LISTING_MAX: usize = 1 << 20;

/// The longest errno name accepted; the longest known one has nine letters.
const ERRNO_MAX: usize = 32;

/// The token of every watch. Events are told apart by their paths.
const TOKEN: &[u8] = b"xen";

/// The type of a watch event, which is a reply to no request.
const WATCH_EVENT: u32 = 15;

/// The type of the reply to a request that failed.
const ERROR: u32 = 16;

/// A request's type. The reply to a request that succeeds has the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Operation {
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

impl Operation {
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

/// A request that can be sent: its path and length have been checked. Displays as its type and its path.
#[derive(Clone, Debug)]
pub(super) struct Request<'a> {
    operation: Operation,
    /// The path; for the end of a transaction, `T` or `F`; else empty.
    about: &'a str,
    payload: Vec<u8>,
}

impl<'a> Request<'a> {
    pub(super) fn directory(path: &'a str) -> Result<Self, StoreError> {
        Self::on_path(Operation::Directory, path, &[&[0]])
    }

    /// Lists the names below `path` from byte `offset` of the listing on.
    pub(super) fn directory_part(path: &'a str, offset: usize) -> Result<Self, StoreError> {
        Self::on_path(Operation::DirectoryPart, path, &[&[0], offset.to_string().as_bytes(), &[0]])
    }

    pub(super) fn read(path: &'a str) -> Result<Self, StoreError> {
        Self::on_path(Operation::Read, path, &[&[0]])
    }

    /// Reads the permissions of `path`.
    pub(super) fn permissions(path: &'a str) -> Result<Self, StoreError> {
        Self::on_path(Operation::GetPerms, path, &[&[0]])
    }

    pub(super) fn write(path: &'a str, value: &str) -> Result<Self, StoreError> {
        Self::on_path(Operation::Write, path, &[&[0], value.as_bytes()])
    }

    pub(super) fn rm(path: &'a str) -> Result<Self, StoreError> {
        Self::on_path(Operation::Rm, path, &[&[0]])
    }

    /// Watches `path` and everything below it, or a special watch such as `@introduceDomain`.
    pub(super) fn watch(path: &'a str) -> Result<Self, StoreError> {
        Self::on_path(Operation::Watch, path, &[&[0], TOKEN, &[0]])
    }

    /// Removes the watch on `path`.
    pub(super) fn unwatch(path: &'a str) -> Result<Self, StoreError> {
        Self::on_path(Operation::Unwatch, path, &[&[0], TOKEN, &[0]])
    }

    pub(super) fn start() -> Self {
        Self { operation: Operation::TransactionStart, about: "", payload: vec![0] }
    }

    pub(super) fn commit() -> Self {
        Self { operation: Operation::TransactionEnd, about: "T", payload: b"T\0".to_vec() }
    }

    pub(super) fn abort() -> Self {
        Self { operation: Operation::TransactionEnd, about: "F", payload: b"F\0".to_vec() }
    }

    fn on_path(operation: Operation, path: &'a str, rest: &[&[u8]]) -> Result<Self, StoreError> {
        let request = Self {
            operation,
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

    pub(super) const fn operation(&self) -> Operation {
        self.operation
    }

    pub(super) fn is_commit(&self) -> bool {
        self.operation == Operation::TransactionEnd && self.about == "T"
    }

    /// Its path.
    pub(super) const fn path(&self) -> &'a str {
        self.about
    }

    /// The length of header and payload together, in bytes.
    pub(super) const fn frame_len(&self) -> usize {
        self.payload.len().saturating_add(HEADER)
    }

    /// Appends the request's bytes to `out`.
    pub(super) fn encode(&self, id: u32, tx: u32, out: &mut Vec<u8>) {
        #[expect(clippy::cast_possible_truncation, reason = "at most PAYLOAD_MAX, see on_path")]
        let len = self.payload.len() as u32;
        for word in [self.operation.number(), id, tx, len] {
            out.extend_from_slice(&word.to_ne_bytes());
        }
        out.extend_from_slice(&self.payload);
    }

    /// The error for a request that cannot be sent.
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
        f.write_str(self.operation.name())?;
        if !self.about.is_empty() {
            write!(f, " {}", self.about)?;
        }
        Ok(())
    }
}

/// The header of a message from xenstored.
///
/// It omits the transaction id: request ids are unique on a connection, and the kernel leaves the transaction id unset
/// in messages that it makes for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    operation: u32,
    id: u32,
    len: usize,
}

/// What a message means to the sender of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The request succeeded; the payload is its reply.
    Success,
    /// The request failed; the payload is an errno's name.
    Refusal,
    /// A watch fired. The request id means nothing: the device leaves it unset.
    Event,
}

impl Header {
    /// The header at the start of `bytes`, if all of it has arrived.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let head = bytes.first_chunk::<HEADER>()?;
        let [operation, id, _tx, len] = head.as_chunks::<4>().0 else { return None };
        let len = usize::try_from(u32::from_ne_bytes(*len)).unwrap_or(usize::MAX);
        let (operation, id) = (u32::from_ne_bytes(*operation), u32::from_ne_bytes(*id));
        Some(Self { operation, id, len })
    }

    /// The claimed length of the payload, in bytes. Checked by [`Header::classify`].
    pub(super) const fn payload_len(&self) -> usize {
        self.len
    }

    /// The message's meaning to the sender of the request with this type and id, or to one who has sent none. Decided
    /// before the payload is awaited.
    ///
    /// # Errors
    /// How the header breaks the protocol.
    pub(super) fn classify(&self, request: Option<(Operation, u32)>) -> Result<Meaning, String> {
        let longest = match self.operation {
            listing if listing == Operation::Directory.number() => LISTING_MAX,
            _ => PAYLOAD_MAX,
        };
        if self.len > longest {
            return Err(format!("it claims {} bytes; the maximum is {longest}", self.len));
        }
        if self.operation == WATCH_EVENT {
            return Ok(Meaning::Event);
        }
        let Some((operation, id)) = request else {
            return Err(format!("it is of type {}, without a request", self.operation));
        };
        if self.id != id {
            return Err(format!("it is for request {}, not for {id}", self.id));
        }
        if self.operation == ERROR {
            return Ok(Meaning::Refusal);
        }
        if self.operation != operation.number() {
            return Err(format!("it is of type {}, not {}", self.operation, operation.number()));
        }
        Ok(Meaning::Success)
    }
}

/// The way in which a payload breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// The errno in an ERROR's payload. Only text that looks like an errno's name is accepted, since it is printed to
/// terminals.
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

/// The names in a listing, each terminated by a NUL.
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

/// Part of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    /// The listing's generation: another one if the listing has changed.
    pub(super) generation: &'a [u8],
    /// Names, each terminated by a NUL.
    pub(super) names: &'a [u8],
    /// Whether it is the last part.
    pub(super) last: bool,
}

impl<'a> Part<'a> {
    /// The part in a `DIRECTORY_PART`'s payload: the generation, then names, then an empty name if it is the last.
    pub(super) fn of(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = payload.splitn(2, |byte| *byte == 0);
        let (Some(generation), Some(rest)) = (fields.next(), fields.next()) else {
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

/// Whether domain `domid` may write a node with these permissions, each a letter and a domid. The first names the
/// owner, which may do everything; its letter applies to every domain that no later one names.
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
    let bad = Malformed("its permissions are malformed");
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
        .ok_or(Malformed("its transaction id is not a number above 0"))
}

/// The path in a `WATCH_EVENT`'s payload: a node that changed, or that was removed with everything below it. Fields
/// after path and token are ignored, since later protocols may add some.
pub(super) fn event(payload: &[u8]) -> Result<String, Malformed> {
    let mut fields = payload.split(|byte| *byte == 0);
    match (fields.next(), fields.next(), fields.next()) {
        (Some(path), Some(_token), Some(_)) => str::from_utf8(path)
            .map(str::to_owned)
            .map_err(|_| Malformed("a watch event is not text")),
        _ => Err(Malformed("a watch event lacks its path or its token")),
    }
}

/// `payload` without the NUL that ends it.
fn terminated(payload: &[u8]) -> Result<&[u8], Malformed> {
    payload.strip_suffix(&[0]).ok_or(Malformed("its text does not end with a NUL"))
}
