//! A domain, and how a user names one.

use std::fmt;
use std::str::FromStr;

use xen::escape::Escaped;
use xen::{DomId, Identity, Uuid};

/// A domain's name in xenstore. Displayed with control characters escaped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(pub String);

impl Name {
    /// The name in the node's value `text`; `None` if it is empty.
    pub(crate) fn of(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// The word for this name on a command line: the name, or `name:` and the name where the name alone would mean
    /// something else. `None` if it has characters that are escaped on a terminal.
    pub fn spelling(&self) -> Option<String> {
        if self.0.contains(Escaped::must_escape) {
            return None;
        }
        // An option, or all domains.
        let is_other = |word: &str| word.starts_with('-') || word == "all";
        let names_it =
            |word: &String| !is_other(word) && word.parse() == Ok(DomainRef::Name(self.clone()));
        [self.0.clone(), format!("name:{}", self.0)].into_iter().find(names_it)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.0).fmt(f)
    }
}

/// A domain on this host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Domain {
    /// Domid and UUID.
    pub identity: Identity,
    /// Its name; `None` if xenstore has none, or if it was not read.
    pub name: Option<Name>,
}

/// The name is not read.
impl From<Identity> for Domain {
    fn from(identity: Identity) -> Self {
        Self { identity, name: None }
    }
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

/// A domain as a user names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DomainRef {
    /// All digits, or `id:7`.
    Id(DomId),
    /// `8-4-4-4-12` hex digits, or `uuid:...`.
    Uuid(Uuid),
    /// Anything else, or `name:...`.
    Name(Name),
    /// Exactly this domain, which was found before. It has no spelling.
    Same(Domain),
}

/// Why a text does not name a domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DomainRefError {
    /// The text is empty. xl takes this for domain 0.
    #[error("the domain is empty")]
    Empty,
    /// A number that is no domid. xl truncates it to 16 or 32 bits, and can end up at domain 0.
    #[error("domids are 0 to 32751")]
    IdOutOfRange,
    /// `id:` followed by something other than digits.
    #[error("`id:` needs a number")]
    NotAnId,
    /// `uuid:` followed by something other than a UUID.
    #[error("`uuid:` needs 8-4-4-4-12 hexadecimal digits")]
    NotAUuid,
    /// The nil UUID: dom0's by default, and more often an unset field of a database.
    #[error("the nil UUID names no domain")]
    NilUuid,
}

impl DomainRefError {
    /// What to write instead.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Empty => "is a variable unset in your script? give a domid, a UUID or a name",
            Self::IdOutOfRange => "if the domain's name is a number, write name:...",
            Self::NotAnId | Self::NotAUuid => {
                "give a domid, a UUID or a name; write name:... if the name looks like one of the others"
            }
            Self::NilUuid => "is a UUID unset in your database? dom0 is 0",
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
            Some(("uuid", rest)) => match hyphenated(rest) {
                Some(uuid) => not_nil(uuid),
                None => Err(DomainRefError::NotAUuid),
            },
            Some(("name", rest)) => Ok(Self::Name(Name(rest.to_owned()))),
            _ if text.trim().is_empty() => Err(DomainRefError::Empty),
            _ if all_digits(text) => id(text),
            _ => match hyphenated(text) {
                Some(uuid) => not_nil(uuid),
                None => Ok(Self::Name(Name(text.to_owned()))),
            },
        }
    }
}

/// The UUID in `text`, if it is written as 8-4-4-4-12 digits. The `uuid` crate reads other forms too, which can be
/// names.
fn hyphenated(text: &str) -> Option<Uuid> {
    let uuid = Uuid::try_parse(text).ok()?;
    uuid.to_string().eq_ignore_ascii_case(text).then_some(uuid)
}

fn not_nil(uuid: Uuid) -> Result<DomainRef, DomainRefError> {
    if uuid.is_nil() { Err(DomainRefError::NilUuid) } else { Ok(DomainRef::Uuid(uuid)) }
}

impl fmt::Display for DomainRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "domain {id}"),
            Self::Uuid(uuid) => write!(f, "UUID {uuid}"),
            Self::Name(name) => write!(f, "`{name}`"),
            Self::Same(Domain { identity, .. }) => {
                write!(f, "domain {} ({})", identity.domid, identity.uuid)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";

    #[test]
    fn a_domain_is_a_domid_a_uuid_or_a_name() {
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
            ("uuid:0123456789abcdef0123456789abcdef", Err(DomainRefError::NotAUuid)),
            (
                "{01234567-89ab-cdef-0123-456789abcdef}",
                name("{01234567-89ab-cdef-0123-456789abcdef}"),
            ),
            ("00000000-0000-0000-0000-000000000000", Err(DomainRefError::NilUuid)), // dom0's
            ("uuid:00000000-0000-0000-0000-000000000000", Err(DomainRefError::NilUuid)),
        ] {
            assert_eq!(text.parse(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_name_cannot_control_a_terminal() {
        let name = Name("a\u{1b}[2J\nb\u{202e}ü\u{9b}".to_owned());
        assert_eq!(name.to_string(), "a\\u{1b}[2J\\nb\\u{202e}ü\\u{9b}");
    }

    #[test]
    fn the_spelling_of_a_name_names_it() {
        for (name, expected) in [
            ("web", Some("web")),
            ("my $HOME's \"vm\"", Some("my $HOME's \"vm\"")),
            ("a:b", Some("a:b")),
            ("all", Some("name:all")),
            ("7", Some("name:7")),
            ("99999", Some("name:99999")),
            ("id:7", Some("name:id:7")),
            ("name:x", Some("name:name:x")),
            ("-5", Some("name:-5")),
            (
                "01234567-89ab-cdef-0123-456789abcdef",
                Some("name:01234567-89ab-cdef-0123-456789abcdef"),
            ),
            (" ", Some("name: ")),
            ("", None),
            ("two\nlines", None),
            ("tab\t", None),
            ("\u{1b}[2J", None),
            ("\u{202e}", None),
        ] {
            assert_eq!(Name(name.to_owned()).spelling().as_deref(), expected, "{name:?}");
        }
    }
}
