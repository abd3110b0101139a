//! A donor: a guest, its floor, and the memory it can give.

use xen::{DomId, Kib};

use crate::domain::Domain;
use crate::memory::Manager;
use crate::plan::{Refusal, TOLERANCE, guest_minimum};
use crate::recovery::Recovery;
use crate::state::State;

/// A domain that may give memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Donor {
    /// The domain.
    pub domain: Domain,
    /// Its state.
    pub state: State,
    /// Memory that it holds.
    pub held: Kib,
    /// Its size: target and video memory.
    pub size: Kib,
    /// Its limit.
    pub limit: Kib,
    /// The size below which it is not shrunk.
    pub floor: Floor,
    /// The reason why it gives nothing, if there is one.
    pub exclusion: Option<Exclusion>,
    /// What a killed run left: its next change completes or rolls that back.
    pub recovery: Option<Recovery>,
}

/// The size below which a guest is not shrunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// The size.
    pub size: Kib,
    /// Its origin.
    pub reason: FloorReason,
}

/// The origin of a guest's floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FloorReason {
    /// The user.
    Asked,
    /// What the guest reports as used, and a margin.
    Used(Kib),
    /// Half of its size: it reports nothing, and the user gave no floor.
    Half,
    /// Its [`guest_minimum`].
    Minimum,
}

/// The reason why a domain gives nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Exclusion {
    /// It is dom0.
    #[error("reclaim never shrinks dom0")]
    Dom0,
    /// It does not run.
    #[error("the domain is {}", .0.word())]
    State(State),
    /// It is the device model of another domain.
    #[error("it is the device model of domain {0}")]
    DeviceModel(DomId),
    /// A daemon sets its memory.
    #[error("its memory is managed by {0}")]
    Managed(Manager),
    /// It is still giving back its boot memory (populate on demand) and can crash if it is shrunk.
    #[error("it is still populating its memory on demand")]
    Populating,
    /// Its present numbers allow no change: one is missing or is not a size, or its target is above its maximum.
    #[error(transparent)]
    Refused(Refusal),
    /// Its target could not be lowered.
    #[error("its target could not be lowered")]
    NotChanged,
    /// It did not reach its target.
    #[error("it gave less than planned")]
    GaveLess,
    /// It went away.
    #[error("it went away")]
    Gone,
}

impl Floor {
    /// The floor of a guest of this `size`, of which `video` is video memory: see the [module](super).
    pub fn of(size: Kib, video: Kib, asked: Option<Kib>, used: Option<Kib>) -> Self {
        let floor = |size, reason| Self { size, reason };
        let half = Kib::from_pages((size.0 / 2).div_ceil(4));
        [
            asked.map(|asked| floor(asked, FloorReason::Asked)),
            used.map(|used| Self::of_use(used, video)),
            asked.or(used).is_none().then_some(floor(half, FloorReason::Half)),
        ]
        .into_iter()
        .flatten()
        .fold(floor(guest_minimum(video), FloorReason::Minimum), |floor, other| {
            if other.size > floor.size { other } else { floor }
        })
    }

    /// The floor of a guest that uses `used`. Its video memory is no memory that it can use.
    pub(super) fn of_use(used: Kib, video: Kib) -> Self {
        let size = Kib(margin(used).0.saturating_add(video.0));
        Self { size, reason: FloorReason::Used(used) }
    }
}

/// The least size of a guest that reports `used` memory: an eighth more, and at least 64 MiB more. The margin is for
/// memory that its kernel does not count, and for what it needs next.
pub fn margin(used: Kib) -> Kib {
    Kib(used.0.saturating_add((used.0 / 8).max(Kib::from_mib(64).0)))
}

impl Donor {
    /// The memory it can give, in whole MiB: what it holds at its present target, above its floor.
    pub fn spare(&self) -> Kib {
        let spare = self.at_target().minus(self.floor.size).unwrap_or_default();
        if self.exclusion.is_none() { Kib::from_mib(spare.mib()) } else { Kib(0) }
    }

    /// The memory that it is giving back already, since its target is below what it holds.
    pub fn coming(&self) -> Kib {
        let above = self.held.minus(self.size).filter(|above| *above > TOLERANCE);
        above.filter(|_| self.exclusion.is_none()).unwrap_or_default()
    }

    /// Its size after giving `share`: in whole MiB, unless that would be below its floor.
    pub fn size_after(&self, share: Kib) -> Kib {
        let size = self.at_target().minus(share).unwrap_or_default();
        let whole = Kib::from_mib(size.mib());
        if whole >= self.floor.size { whole } else { Kib::from_pages(size.pages()) }
    }

    /// Its memory once it has reached its present target.
    fn at_target(&self) -> Kib {
        self.held.min(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_cannot_use_its_video_memory() {
        let mib = Kib::from_mib;
        let floor = |video, asked, used| Floor::of(mib(2048), mib(video), asked, used).size;
        assert_eq!(floor(0, None, Some(mib(800))), mib(900));
        assert_eq!(floor(128, None, Some(mib(800))), mib(1028));
        assert_eq!(floor(128, Some(mib(32)), None), mib(160));
        assert_eq!(floor(128, Some(mib(512)), None), mib(512));
    }
}
