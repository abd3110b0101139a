//! The names of libxl's per-domain files in its state directory (`libxl__userdata_path`,
//! `tools/libs/light/libxl_dom.c`).

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use uuid::Uuid;

use crate::domain::{DomId, Identity};

/// The `kind` of libxl's lock file: `domain-userdata-lock`.
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
    /// The file's purpose.
    pub letter: Letter,
    /// The domain.
    pub identity: Identity,
    /// The content: `libxl-json`, `domain-userdata-lock`.
    pub kind: String,
}

/// A file's purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letter {
    /// `l`: a lock, removed when it is released.
    Lock,
    /// `d`: data, which libxl removes with the domain.
    Data,
    /// `n`: data being written, to be renamed to `d`.
    New,
}

impl Letter {
    const ALL: [Self; 3] = [Self::Lock, Self::Data, Self::New];

    const fn symbol(self) -> &'static str {
        match self {
            Self::Lock => "l",
            Self::Data => "d",
            Self::New => "n",
        }
    }
}

impl FileName {
    /// The name of a domain's lock file.
    pub fn lock(identity: Identity) -> Self {
        Self { letter: Letter::Lock, identity, kind: LOCK.to_owned() }
    }

    /// The file's path in the state directory `dir`.
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

/// The name is not that of a domain's file.
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
            let letter = Letter::ALL.into_iter().find(|letter| letter.symbol() == symbol)?;
            let domid = DomId::new(parts.next()?.parse().ok()?)?;
            let uuid = Uuid::parse_str(parts.next()?).ok()?;
            let kind = parts.next()?.to_owned();
            Some(Self { letter, identity: Identity { domid, uuid }, kind })
        };
        parse().filter(|parsed| parsed.to_string() == name).ok_or(NotAFileName)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";

    #[test]
    fn the_lock_of_dom0_has_libxls_name() {
        let dom0 = Identity { domid: DomId::DOM0, uuid: Uuid::nil() };
        assert_eq!(
            FileName::lock(dom0).in_dir(Path::new("/var/lib/xen")),
            Path::new(
                "/var/lib/xen/userdata-l.0.00000000-0000-0000-0000-000000000000.domain-userdata-lock"
            )
        );
    }

    #[test]
    fn a_name_has_letter_domid_uuid_and_kind() {
        let parse = |name: &str| name.replace("UUID", UUID).parse::<FileName>();
        for (name, letter, domid, kind) in [
            ("userdata-l.7.UUID.domain-userdata-lock", Letter::Lock, 7, "domain-userdata-lock"),
            ("userdata-d.0.UUID.libxl-json", Letter::Data, 0, "libxl-json"),
            ("userdata-n.32751.UUID.xmem-intent.bak", Letter::New, 32_751, "xmem-intent.bak"),
        ] {
            let parsed = parse(name).unwrap();
            assert_eq!((parsed.letter, parsed.kind.as_str()), (letter, kind));
            assert_eq!(u32::from(parsed.identity.domid.get()), domid);
            assert_eq!(parsed.identity.uuid.to_string(), UUID);
        }
    }

    #[test]
    fn only_names_that_libxl_writes_are_accepted() {
        for name in [
            "userdata-dd.7.UUID.xmem-intent",
            "userdata-x.7.UUID.xmem-intent",
            "userdata-.7.UUID.xmem-intent",
            "userdata-d.007.UUID.xmem-intent",
            "userdata-d.+7.UUID.xmem-intent",
            "userdata-d.32752.UUID.xmem-intent",
            "userdata-d.65543.UUID.xmem-intent",
            "userdata-d.7.0123.xmem-intent",
            "userdata-d.7.{UUID}.xmem-intent",
            "userdata-d.7.urn:uuid:UUID.xmem-intent",
            "userdata-d.7.xmem-intent",
            "userdata-d.7.UUID",
            "xmem-intent",
            "",
        ] {
            let name = name.replace("UUID", UUID);
            assert_eq!(name.parse::<FileName>(), Err(NotAFileName), "{name}");
        }
        for other in [UUID.to_uppercase(), UUID.replace('-', "")] {
            let name = format!("userdata-d.7.{other}.xmem-intent");
            assert_eq!(name.parse::<FileName>(), Err(NotAFileName), "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_name_round_trips(
            letter in prop::sample::select(&Letter::ALL[..]), domid in 0..32_752_u32, uuid in any::<u128>(), kind in ".*",
        ) {
            let identity = Identity { domid: DomId::new(domid).unwrap(), uuid: Uuid::from_u128(uuid) };
            let name = FileName { letter, identity, kind };
            prop_assert_eq!(name.to_string().parse(), Ok(name));
        }

        #[test]
        fn an_accepted_name_is_displayed_unchanged(
            name in "userdata-[ldnx]\\.[0-9+]{1,6}\\.[0-9a-f-]{32,36}\\.[a-z.-]{0,12}",
        ) {
            if let Ok(parsed) = name.parse::<FileName>() {
                prop_assert_eq!(parsed.to_string(), name);
            }
        }
    }
}
