//! A JSON object of a batch: one that `list --json` prints, or a part of one.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;
use xen::hypervisor::UNLIMITED;
use xen::size::PAGE;
use xen::{DomId, Kib, Uuid};

use super::error::{LineProblem, shortened};
use super::{Line, Listed, Wanted};
use crate::domain::{DomainRef, Name};
use crate::size::Size;

/// The members of `list --json` and `watch --json` that do not affect a change.
const IGNORED: [&str; 11] = [
    "schema",
    "command",
    "simulated",
    "time",
    "type",
    "state",
    "device_model_of",
    "current_kib",
    "outstanding_kib",
    "used_kib",
    "notes",
];

/// The members that affect a change.
const KNOWN: [&str; 8] = [
    "domid",
    "name",
    "uuid",
    "target_kib",
    "size_kib",
    "static_max_kib",
    "limit_kib",
    "videoram_kib",
];

/// An object's members, in their order, repeated ones included.
pub(super) struct Members(Vec<(String, Value)>);

/// The object at the start of `text`, in line `number`, and its length in bytes.
pub(super) fn read(text: &str, number: usize) -> Result<(Members, usize), LineProblem> {
    let mut objects = serde_json::Deserializer::from_str(text).into_iter::<Members>();
    match objects.next() {
        Some(Ok(members)) => Ok((members, objects.byte_offset())),
        Some(Err(error)) if error.classify() != Category::Eof => {
            let line = number.saturating_add(error.line()).saturating_sub(1);
            Err(LineProblem::Json { line })
        }
        _ => Err(LineProblem::Incomplete),
    }
}

impl Members {
    /// The change that the object describes; `None` for the host's object.
    pub(super) fn line(&self, number: usize) -> Result<Option<Line>, LineProblem> {
        self.check_origin()?;
        if self.is_host() {
            return Ok(None);
        }
        self.check_names()?;
        let name = self.text("name")?.map(|name| Name(name.to_owned()));
        let domid = self.domid()?;
        let domain = self.domain(domid, name.as_ref())?;
        let (target, size) = (self.kib("target_kib")?, self.kib("size_kib")?);
        let to = match (target, size) {
            (Some(target), _) => Wanted::Target(target),
            (None, Some(size)) => Wanted::Size(Size::to(size)),
            (None, None) => {
                let null = ["target_kib", "size_kib"].into_iter().find(|member| self.has(member));
                return Err(match null {
                    Some(member) => LineProblem::Null { member },
                    None => LineProblem::NoSize,
                });
            }
        };
        for (member, kib) in [("target_kib", target), ("size_kib", size)] {
            if let Some(kib) = kib.filter(|kib| *kib < PAGE) {
                return Err(LineProblem::TooSmall { member, kib });
            }
        }
        let listed = Listed {
            domid,
            name,
            size,
            static_max: self.kib("static_max_kib")?.map(unlimited),
            video: self.video()?,
            limit: match self.get("limit_kib") {
                Some(Value::Null) => Some(UNLIMITED),
                _ => self.kib("limit_kib")?.map(unlimited),
            },
        };
        Ok(Some(Line { number, domain, to, listed: Some(listed) }))
    }

    /// Refuses the output of other commands and of a later xmem, and an error instead of output.
    fn check_origin(&self) -> Result<(), LineProblem> {
        let known = |schema: &Value| matches!(schema.as_u64(), Some(1 | 2)).then_some(());
        self.read("schema", "1 or 2", known)?;
        let command = self.get("command").and_then(Value::as_str);
        let is_change = self.has("old") || self.has("new");
        if let (Some(error), false) = (self.get("error"), is_change) {
            let message = error.get("message").and_then(Value::as_str).unwrap_or("unknown");
            let (command, message) = (shortened(command.unwrap_or("list")), shortened(message));
            return Err(LineProblem::Failed { command, message });
        }
        match command {
            Some(command) if !matches!(command, "list" | "watch") => {
                Err(LineProblem::OtherOutput { command: shortened(command) })
            }
            _ if is_change => Err(LineProblem::OtherOutput { command: "set".to_owned() }),
            _ => Ok(()),
        }
    }

    /// Whether it is the last line of `list --json`.
    fn is_host(&self) -> bool {
        self.has("host")
            && self.0.iter().all(|(name, _)| name == "host" || IGNORED.contains(&name.as_str()))
    }

    /// Refuses unknown members, most likely misspelt, and repeated ones.
    fn check_names(&self) -> Result<(), LineProblem> {
        for (index, (member, _)) in self.0.iter().enumerate() {
            let known = |known: &[&str]| known.contains(&member.as_str());
            if !known(&KNOWN) && !known(&IGNORED) {
                return Err(LineProblem::UnknownMember { member: shortened(member) });
            }
            if self.0.iter().take(index).any(|(earlier, _)| earlier == member) {
                return Err(LineProblem::RepeatedMember { member: shortened(member) });
            }
        }
        Ok(())
    }

    /// Identifies the domain by its UUID if there is one: unlike a domid, it stays the domain's own.
    fn domain(&self, domid: Option<DomId>, name: Option<&Name>) -> Result<DomainRef, LineProblem> {
        let uuid = self.text("uuid")?;
        let is_nil = |uuid: &str| uuid.parse::<Uuid>().is_ok_and(|uuid| uuid == Uuid::default());
        match (uuid, domid, name) {
            // libxl gives dom0 the nil UUID.
            (Some(uuid), Some(DomId::DOM0), _) if is_nil(uuid) => Ok(DomainRef::Id(DomId::DOM0)),
            (Some(uuid), ..) => format!("uuid:{uuid}")
                .parse()
                .map_err(|why| LineProblem::Domain { text: shortened(uuid), why }),
            (None, Some(domid), _) => Ok(DomainRef::Id(domid)),
            (None, None, Some(name)) => Ok(DomainRef::Name(name.clone())),
            (None, None, None) => Err(LineProblem::NoDomain),
        }
    }

    fn domid(&self) -> Result<Option<DomId>, LineProblem> {
        let domid = |value: &Value| {
            value.as_u64().and_then(|domid| u32::try_from(domid).ok()).and_then(DomId::new)
        };
        self.read("domid", "a number from 0 to 32751", domid)
    }

    fn text(&self, member: &'static str) -> Result<Option<&str>, LineProblem> {
        self.read(member, "a string", Value::as_str)
    }

    fn kib(&self, member: &'static str) -> Result<Option<Kib>, LineProblem> {
        self.read(member, "a whole number of KiB", |value| value.as_u64().map(Kib))
    }

    fn video(&self) -> Result<Option<i32>, LineProblem> {
        let video = |value: &Value| value.as_i64().and_then(|kib| i32::try_from(kib).ok());
        self.read("videoram_kib", "a whole number of KiB", video)
    }

    /// The value of `member`; `None` if it is missing or null.
    fn read<'v, T>(
        &'v self,
        member: &'static str,
        wants: &'static str,
        read: impl FnOnce(&'v Value) -> Option<T>,
    ) -> Result<Option<T>, LineProblem> {
        let Some(value) = self.get(member).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let bad = || LineProblem::BadValue { member, value: shortened(&value.to_string()), wants };
        read(value).map(Some).ok_or_else(bad)
    }

    fn has(&self, member: &str) -> bool {
        self.get(member).is_some()
    }

    fn get(&self, member: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| name == member).map(|(_, value)| value)
    }
}

/// Schema 1 printed 17179869180 for no limit.
fn unlimited(kib: Kib) -> Kib {
    kib.min(UNLIMITED)
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AllMembers)
    }
}

/// Keeps repeated members; a map would keep only the last.
struct AllMembers;

impl<'de> Visitor<'de> for AllMembers {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}
