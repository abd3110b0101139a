//! The domain's present numbers, with what is missing filled in where libxl fills it in.

use xen::Kib;
use xen::hypervisor::UNLIMITED;

use super::{Note, Plan, Refusal};
use crate::memory::{Memory, Numbers, SLACK, exceeds, size_of};
use crate::size::Amount;

/// The target and the maximum to start from.
pub(super) struct Present {
    pub(super) old: Numbers,
    pub(super) target: Kib,
    pub(super) static_max: Kib,
    pub(super) video: i32,
}

impl Present {
    /// dom0's nodes may be missing: nothing writes them before its memory is set for the first time. They are filled in
    /// as `libxl__fill_dom0_memory_info` does, one by one.
    pub(super) fn of(memory: &Memory) -> Result<Self, Refusal> {
        let old = memory.numbers()?;
        let or_filled_in = |node: Option<Kib>, present: Kib, key| match node {
            None if memory.is_dom0() => Ok(present),
            None => Err(Refusal::NoKey { key }),
            Some(kib) => Ok(kib),
        };
        Ok(Self {
            old,
            target: or_filled_in(old.target, memory.info.current, "memory/target")?,
            static_max: or_filled_in(old.static_max, memory.info.limit, "memory/static-max")?,
            video: memory.video_kib()?,
        })
    }

    /// The note about nodes that were missing.
    pub(super) fn filled_in(&self) -> Option<Note> {
        let Numbers { target, static_max, .. } = self.old;
        let (target, static_max) = (target.is_none(), static_max.is_none());
        (target || static_max).then_some(Note::FilledIn { target, static_max })
    }

    pub(super) fn size(&self) -> Kib {
        size_of(self.target, self.video)
    }

    /// The largest size that can be requested.
    pub(super) fn most(&self) -> Kib {
        size_of(self.static_max, self.video.max(0))
    }

    pub(super) fn exceeds_maximum(&self) -> bool {
        exceeds(self.target, self.video, self.static_max)
    }

    /// The maximum, if the domain has one: a dom0 without a limit has none.
    pub(super) fn maximum(&self) -> Result<Kib, Refusal> {
        Some(self.static_max).filter(|max| *max < UNLIMITED).ok_or(Refusal::NoMaximum)
    }

    /// `percent` of the maximum, in whole pages.
    pub(super) fn share(&self, percent: u8) -> Result<Kib, Refusal> {
        let kib = u128::from(self.maximum()?.0).saturating_mul(percent.into()) / 100;
        Ok(Kib::from_pages(Kib(u64::try_from(kib).unwrap_or(u64::MAX)).pages()))
    }

    /// A plan that sets `target`, `static_max` and a limit of `limit`, rounded down to whole pages.
    pub(super) fn plan(&self, target: Kib, static_max: Kib, limit: Kib) -> Result<Plan, Refusal> {
        let limit = Kib::from_pages(limit.pages());
        if limit >= UNLIMITED {
            return Err(Refusal::BeyondXen);
        }
        let new = Numbers { target: Some(target), static_max: Some(static_max), limit };
        Ok(self.with(new))
    }

    /// A plan that changes nothing.
    pub(super) fn unchanged(&self) -> Plan {
        self.with(self.old)
    }

    fn with(&self, new: Numbers) -> Plan {
        Plan {
            old: self.old,
            new,
            video: self.video,
            wanted: size_of(new.target.unwrap_or(self.target), self.video),
            pod: None,
            sets_target: false,
            relies_on_store: false,
            notes: Vec::new(),
        }
    }

    /// The limit that the relative or absolute `amount` alone would set; anything above it comes from xenstore.
    pub(super) fn asked_limit(&self, amount: Amount) -> Option<Kib> {
        match amount {
            Amount::To(size) | Amount::Target(size) => size.plus(SLACK),
            Amount::Up(more) => self.old.limit.plus(more),
            Amount::Down(_) | Amount::Maximum | Amount::Percent(_) => Some(self.old.limit),
        }
    }
}
