//! The names of libxl's per-domain files in its state directory (`libxl__userdata_path`,
//! `tools/libs/light/libxl_dom.c`).

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use uuid::Uuid;

use crate::domain::{DomId, Identity};

/// The last part of the name of libxl's lock file of a domain.
pub const LOCK: &str = "domain-userdata-lock";

/// A file of a domain in libxl's state directory: `userdata-<letter>.<domid>.<uuid>.<kind>`.
///
/// ```
/// use xen::userdata::{FileName, Letter};
///
/// let name: FileName = "userdata-l.7.00000000-0000-4000-8000-000000000007.domain-userdata-lock".parse()?;
/// assert_eq!((name.letter, name.identity.domid.get()), (Letter::Lock, 7));
/// # Ok::<(), xen::userdata::NotAFileName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName {
    /// What the file is for.
    pub letter: Letter,
    /// Whose it is.
    pub identity: Identity,
    /// Which of the domain's files: `libxl-json`, `domain-userdata-lock`.
    pub kind: String,
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letter {
    /// `l`: a lock. libxl's unlock removes it.
    Lock,
    /// `d`: data. libxl removes it with the domain.
    Data,
    /// `n`: data being written, to be renamed to `d`.
    New,
}

impl Letter {
    const ALL: [(char, Self); 3] = [('l', Self::Lock), ('d', Self::Data), ('n', Self::New)];

    fn symbol(self) -> char {
        Self::ALL.iter().find(|(_, letter)| *letter == self).map_or('d', |(symbol, _)| *symbol)
    }
}

impl FileName {
    /// The domain's lock file.
    pub fn lock(identity: Identity) -> Self {
        Self { letter: Letter::Lock, identity, kind: LOCK.to_owned() }
    }

    /// Its path in the state directory `dir`.
    pub fn in_dir(&self, dir: &Path) -> PathBuf {
        dir.join(self.to_string())
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { letter, identity, kind } = self;
        write!(f, "userdata-{}.{}.{}.{kind}", letter.symbol(), identity.domid, identity.uuid)
    }
}

/// The name is not one that libxl gives a domain's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a domain's file")]
pub struct NotAFileName;

impl FromStr for FileName {
    type Err = NotAFileName;

    /// Accepts exactly what [`Display`](fmt::Display) writes: `007` is not a domid.
    fn from_str(name: &str) -> Result<Self, NotAFileName> {
        let parse = || {
            let mut parts = name.strip_prefix("userdata-")?.splitn(4, '.');
            let symbol = parts.next()?;
            let (_, letter) = Letter::ALL.into_iter().find(|(is, _)| symbol.chars().eq([*is]))?;
            let domid = DomId::new(parts.next()?.parse().ok()?)?;
            let uuid = Uuid::parse_str(parts.next()?).ok()?;
            let kind = parts.next()?.to_owned();
            Some(Self { letter, identity: Identity { domid, uuid }, kind })
        };
        parse().filter(|parsed| parsed.to_string() == name).ok_or(NotAFileName)
    }
}
