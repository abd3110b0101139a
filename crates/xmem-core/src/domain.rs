//! Which domain: its name, and how a user writes it.

use std::fmt;
use std::str::FromStr;

use xen::escape::Escaped;
use xen::{DomId, Identity, Uuid};

/// A domain's name, as xenstore has it. Shown with everything that could steer a terminal escaped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(pub String);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.0).fmt(f)
    }
}

/// A domain that was found: who it is, and what people call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Number and UUID.
    pub identity: Identity,
    /// Its name; `None` when xenstore has none.
    pub name: Option<Name>,
}

/// `web (7)`, or `domain 7` when it has no name.
impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({})", self.identity.domid),
            None => write!(f, "domain {}", self.identity.domid),
        }
    }
}

/// A domain as a user wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DomainRef {
    /// All digits, or `id:7`.
    Id(DomId),
    /// `8-4-4-4-12` hex digits, or `uuid:...`.
    Uuid(Uuid),
    /// Anything else, or `name:...`.
    Name(Name),
    /// The very one that was found before: number and UUID. Nobody types this.
    Same(Identity),
}

/// Why a text names no domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainRefError {
    /// Nothing was written. xl takes this for domain 0.
    #[error("the domain is empty")]
    Empty,
    /// A number that no domid can have. xl cuts it to 16 or 32 bits, and can end up at domain 0.
    #[error("domids go from 0 to 32751")]
    IdOutOfRange,
    /// `id:` with something else behind it than digits.
    #[error("`id:` wants a number")]
    NotAnId,
    /// `uuid:` with something else behind it than a UUID.
    #[error("`uuid:` wants 8-4-4-4-12 hexadecimal digits")]
    NotAUuid,
}

impl DomainRefError {
    /// What to write instead.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Empty => {
                "is a variable unset in your script? a domain is a domid, a UUID or a name"
            }
            Self::IdOutOfRange => "a domain that is called by a number: name:7",
            Self::NotAnId | Self::NotAUuid => {
                "a domain is a domid (7), a UUID or a name; name:... forces a name"
            }
        }
    }
}

impl FromStr for DomainRef {
    type Err = DomainRefError;

    fn from_str(text: &str) -> Result<Self, DomainRefError> {
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let id = |digits: &str| {
            digits
                .parse()
                .ok()
                .and_then(DomId::new)
                .map(Self::Id)
                .ok_or(DomainRefError::IdOutOfRange)
        };
        match text.split_once(':') {
            Some(("id" | "uuid" | "name", "")) => Err(DomainRefError::Empty),
            Some(("id", rest)) if all_digits(rest) => id(rest),
            Some(("id", _)) => Err(DomainRefError::NotAnId),
            Some(("uuid", rest)) => {
                rest.parse().map(Self::Uuid).map_err(|_| DomainRefError::NotAUuid)
            }
            Some(("name", rest)) => Ok(Self::Name(Name(rest.to_owned()))),
            _ if text.trim().is_empty() => Err(DomainRefError::Empty),
            _ if all_digits(text) => id(text),
            _ => Ok(text.parse().map_or_else(|_| Self::Name(Name(text.to_owned())), Self::Uuid)),
        }
    }
}

impl fmt::Display for DomainRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "domain {id}"),
            Self::Uuid(uuid) => write!(f, "UUID {uuid}"),
            Self::Name(name) => write!(f, "`{name}`"),
            Self::Same(identity) => write!(f, "domain {} ({})", identity.domid, identity.uuid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";

    #[test]
    fn readings() {
        let id = |number| Ok(DomainRef::Id(DomId::new(number).unwrap()));
        let name = |text: &str| Ok(DomainRef::Name(Name(text.to_owned())));
        let uuid = Ok(DomainRef::Uuid(UUID.parse().unwrap()));
        for (text, expected) in [
            ("0", id(0)),
            ("007", id(7)),
            ("id:7", id(7)),
            ("32751", id(32_751)),
            ("web", name("web")),
            ("name:7", name("7")),
            ("name:id:7", name("id:7")),
            ("a:b", name("a:b")),
            ("a:", name("a:")),
            (":", name(":")),
            ("name::", name(":")),
            ("-5", name("-5")),
            (UUID, uuid.clone()),
            ("01234567-89AB-CDEF-0123-456789ABCDEF", uuid.clone()),
            ("uuid:01234567-89ab-cdef-0123-456789abcdef", uuid),
            ("0123456789abcdef0123456789abcdef", name("0123456789abcdef0123456789abcdef")),
            ("", Err(DomainRefError::Empty)),
            (" ", Err(DomainRefError::Empty)),
            ("id:", Err(DomainRefError::Empty)),
            ("name:", Err(DomainRefError::Empty)),
            ("32752", Err(DomainRefError::IdOutOfRange)),
            ("65543", Err(DomainRefError::IdOutOfRange)), // xl: domain 7
            ("4294967296", Err(DomainRefError::IdOutOfRange)), // xl: domain 0
            ("99999999999999999999", Err(DomainRefError::IdOutOfRange)),
            ("id:web", Err(DomainRefError::NotAnId)),
            ("id:+7", Err(DomainRefError::NotAnId)),
            ("uuid:7", Err(DomainRefError::NotAUuid)),
        ] {
            assert_eq!(text.parse(), expected, "{text:?}");
        }
    }

    #[test]
    fn uuid_is_shown_as_libxl_names_its_files() {
        assert_eq!(Uuid::default().to_string(), "00000000-0000-0000-0000-000000000000");
        assert_eq!(UUID.parse::<Uuid>().unwrap().to_string(), UUID);
    }

    #[test]
    fn names_cannot_steer_a_terminal() {
        let name = Name("a\u{1b}[2J\nb\u{202e}ü\u{9b}".to_owned());
        assert_eq!(name.to_string(), "a\\u{1b}[2J\\nb\\u{202e}ü\\u{9b}");
    }
}
