//! From what was read and what was asked to what will be written, or to why not. Pure.
//!
//! Owns libxl's arithmetic (`tools/libs/light/libxl_mem.c`) and xmem's safety rules. Never touches a
//! host.

mod note;
mod refusal;

pub use self::note::Note;
pub use self::refusal::Refusal;
use crate::domain::DomId;
use crate::hypervisor::{DomainInfo, UNLIMITED};
use crate::intent::Numbers;
use crate::nodes::Stored;
use crate::size::{Amount, Kib, Size};

/// What libxl adds to every limit (`LIBXL_MAXMEM_CONSTANT`, `tools/libs/light/libxl_internal.h`).
pub const SLACK: Kib = Kib::from_mib(1);
/// How far a guest may be from its target and still count as there: what one page-table page more or
/// less, or a device's rings, come to.
pub const TOLERANCE: Kib = Kib::from_mib(1);
/// dom0 is never set below this (`LIBXL_MIN_DOM0_MEM`).
pub const DOM0_FLOOR: Kib = Kib::from_mib(128);
/// A domU is not shrunk below this unless forced.
pub const FLOOR: Kib = Kib::from_mib(32);

/// What is asked of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// `xmem set`: the target, and the limit with it.
    Set {
        /// The new size, video memory included.
        size: Size,
        /// Raise static-max as well when the target would be above it.
        raise_max: bool,
        /// Shrink a domU below [`FLOOR`].
        force: bool,
    },
    /// `xmem max`: static-max, and the limit with it.
    Max {
        /// The new maximum.
        size: Size,
    },
    /// `xmem check --repair`: nothing but what is out of step and can only be mended in one way.
    Mend,
}

/// What a domain's memory is now, read under its lock and in one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The hypervisor's part.
    pub info: DomainInfo,
    /// `memory/target`.
    pub target: Option<Kib>,
    /// `memory/static-max`.
    pub static_max: Option<Kib>,
    /// `memory/videoram` in KiB: 0 when absent, -1 from some builders that mean none.
    pub video: i32,
}

impl Reading {
    /// What the hypervisor and xenstore say of one domain.
    pub const fn of(info: DomainInfo, stored: &Stored) -> Self {
        Self { info, target: stored.target, static_max: stored.static_max, video: stored.video }
    }

    /// The numbers as they are.
    pub const fn numbers(&self) -> Numbers {
        Numbers { target: self.target, static_max: self.static_max, limit: self.info.limit }
    }

    /// The least limit under which a domain with this target can hold all that it should: target +
    /// video + slack. `None` when that is no number.
    pub fn need(&self, target: Kib) -> Option<Kib> {
        target.offset(self.video.into())?.plus(SLACK)
    }

    /// The least limit, in whole pages, under which the domain can hold what it should now.
    pub(crate) fn least_limit(&self) -> Kib {
        let need = self.target.and_then(|target| self.need(target)).unwrap_or_default();
        Kib::from_pages(need.pages())
    }

    /// The limit to raise it to, where it is too low for the target. dom0's may be without slack, as it
    /// boots with `dom0_mem=1G,max:1G`.
    pub(crate) fn lacks(&self) -> Option<Kib> {
        let held = Kib(self.target?.0.saturating_add_signed(self.video.into()));
        let need = held.plus(SLACK).map_or(UNLIMITED, |need| Kib::from_pages(need.pages()));
        let need = need.min(UNLIMITED);
        let least = if self.is_dom0() { need.minus(SLACK).unwrap_or_default() } else { need };
        (self.info.limit < least).then_some(need)
    }

    pub(crate) const fn is_dom0(&self) -> bool {
        self.info.identity.domid.get() == DomId::DOM0.get()
    }
}

/// What will be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What was there.
    pub old: Numbers,
    /// `memory/target` when done.
    pub target: Kib,
    /// `memory/static-max` when done.
    pub static_max: Kib,
    /// The hypervisor's limit when done, in whole pages.
    pub limit: Kib,
    /// What the domain is to hold when its guest has followed: target and video memory.
    pub wanted: Kib,
    /// The populate-on-demand target to set, where there is one.
    pub pod: Option<Kib>,
    /// Whether `/vm/<uuid>/memory` follows the target (after `set`, as libxl does).
    pub vm_memory: bool,
    /// Whether the limit rises by more than was asked for: that much of it is xenstore's word, which must not
    /// be the guest's own then.
    pub on_trust: bool,
    /// What a user should know about it.
    pub notes: Vec<Note>,
}

impl Plan {
    /// The numbers as they will be.
    pub const fn goal(&self) -> Numbers {
        Numbers { target: Some(self.target), static_max: Some(self.static_max), limit: self.limit }
    }

    /// Makes it a plan to leave everything as it is.
    pub(crate) fn leave_alone(&mut self) {
        self.target = self.old.target.unwrap_or(self.target);
        self.static_max = self.old.static_max.unwrap_or(self.static_max);
        self.limit = self.old.limit;
        self.notes.clear();
    }

    /// Whether all is as it was asked for already.
    pub fn changes_nothing(&self) -> bool {
        self.old == self.goal()
    }
}

/// What `wish` comes to for a domain that is as `reading` says.
///
/// # Errors
/// [`Refusal`]: nothing may be changed.
pub fn plan(reading: &Reading, wish: &Wish) -> Result<Plan, Refusal> {
    let mut notes = Vec::new();
    let (target, static_max) = present(reading, &mut notes)?;
    let (size, new) = match wish {
        Wish::Mend => return mended(reading, target, static_max, notes),
        Wish::Set { size, raise_max, force } => {
            let new_target = new_target(reading, target, *size)?;
            floors(reading, target, new_target, *force)?;
            let new_max = ceiling(reading, new_target, static_max, *raise_max, &mut notes)?;
            let limit = reading.need(new_target).ok_or(Refusal::BeyondXen)?;
            (size, Numbers { target: Some(new_target), static_max: Some(new_max), limit })
        }
        Wish::Max { size } => {
            let max = stepped(static_max, size.amount)?;
            if max < target {
                return Err(Refusal::BelowTarget { max, target });
            }
            let asked = max.plus(SLACK).ok_or(Refusal::BeyondXen)?;
            let need = reading.need(target).ok_or(Refusal::BeyondXen)?;
            // libxl forgets video memory here, and can leave a guest that cannot allocate any more.
            if need > asked {
                notes.push(Note::LimitAboveMax { limit: need, max });
            }
            let limit = need.max(asked);
            (size, Numbers { target: Some(target), static_max: Some(max), limit })
        }
    };
    let (target, static_max) = (new.target.unwrap_or(target), new.static_max.unwrap_or(static_max));
    let limit = Kib::from_pages(new.limit.pages());
    if limit >= UNLIMITED {
        return Err(Refusal::BeyondXen);
    }
    let granted = match size.amount {
        Amount::To(size) => size.plus(SLACK),
        Amount::Up(more) => reading.info.limit.plus(more),
        Amount::Down(_) => Some(reading.info.limit),
    };
    if size.cut != 0 {
        notes.push(Note::Cut { bytes: size.cut });
    }
    if reading.info.limit == UNLIMITED && reading.is_dom0() {
        notes.push(Note::Capped { limit });
    }
    if reading.info.paused && reading.info.current > limit {
        notes.push(Note::Paused { current: reading.info.current });
    }
    let set = matches!(wish, Wish::Set { .. });
    Ok(Plan {
        old: reading.numbers(),
        target,
        static_max,
        limit,
        wanted: target.offset(reading.video.into()).unwrap_or(target),
        // As libxl since 4.21: never for PV, never for dom0. Arm's hypervisor answers ENOSYS.
        pod: (set && reading.info.hvm && !reading.is_dom0() && cfg!(target_arch = "x86_64"))
            .then(|| target.plus(SLACK).map(|pod| Kib::from_pages(pod.pages())))
            .flatten(),
        vm_memory: set,
        on_trust: granted.is_some_and(|granted| limit > granted),
        notes,
    })
}

/// The keys of dom0's that are missing, and a limit that its target can live with. Never a lower limit,
/// nor one for a target that is above the maximum: which of the two is wrong, nobody knows.
fn mended(
    reading: &Reading,
    target: Kib,
    static_max: Kib,
    notes: Vec<Note>,
) -> Result<Plan, Refusal> {
    let filled_in = !notes.is_empty();
    let in_order = target <= static_max;
    if filled_in && !in_order {
        let most = static_max.offset(reading.video.into()).unwrap_or(static_max);
        return Err(Refusal::AboveMax { target, static_max, most });
    }
    let filled = Reading { target: Some(target), ..*reading };
    let lacks = filled.lacks().filter(|_| in_order);
    if lacks.is_some_and(|limit| limit >= UNLIMITED) {
        return Err(Refusal::BeyondXen);
    }
    let limit = lacks.unwrap_or(reading.info.limit);
    Ok(Plan {
        old: reading.numbers(),
        target,
        static_max,
        limit,
        wanted: target.offset(reading.video.into()).unwrap_or(target),
        // Memory that is populated on demand is there already, or was never granted.
        pod: None,
        vm_memory: false,
        on_trust: limit > reading.info.limit,
        notes,
    })
}

/// Target and static-max as they count. dom0's may be missing: nobody writes them before its memory
/// is set for the first time. Filled in as `libxl__fill_dom0_memory_info` does, and one by one.
fn present(reading: &Reading, notes: &mut Vec<Note>) -> Result<(Kib, Kib), Refusal> {
    match (reading.target, reading.static_max) {
        (Some(target), Some(static_max)) => Ok((target, static_max)),
        (target, static_max) if reading.is_dom0() => {
            notes.push(Note::FilledIn {
                target: target.is_none(),
                static_max: static_max.is_none(),
            });
            Ok((target.unwrap_or(reading.info.current), static_max.unwrap_or(reading.info.limit)))
        }
        (None, _) => Err(Refusal::NoKey { key: "memory/target" }),
        (_, None) => Err(Refusal::NoKey { key: "memory/static-max" }),
    }
}

/// `from`, changed as `amount` says.
fn stepped(from: Kib, amount: Amount) -> Result<Kib, Refusal> {
    match amount {
        Amount::To(size) => Ok(size),
        Amount::Up(more) => from.plus(more).ok_or(Refusal::BeyondXen),
        Amount::Down(less) => {
            from.minus(less).filter(|rest| rest.0 > 0).ok_or(Refusal::BelowZero { less, from })
        }
    }
}

/// The target that `size` comes to. An absolute size includes video memory, a step does not touch it.
fn new_target(reading: &Reading, target: Kib, size: Size) -> Result<Kib, Refusal> {
    let stepped = stepped(target, size.amount)?;
    if !matches!(size.amount, Amount::To(_)) {
        return Ok(stepped);
    }
    let video = i64::from(reading.video);
    stepped
        .offset(video.saturating_neg())
        .filter(|target| target.0 > 0)
        .ok_or_else(|| Refusal::BelowVideo { size: stepped, video: Kib(video.unsigned_abs()) })
}

/// Nothing shrinks to where it cannot live.
fn floors(reading: &Reading, old: Kib, new: Kib, force: bool) -> Result<(), Refusal> {
    if reading.is_dom0() {
        if new < DOM0_FLOOR {
            return Err(Refusal::Dom0Floor { target: new });
        }
    } else if new < FLOOR && new < old && !force {
        return Err(Refusal::Floor { target: new });
    }
    Ok(())
}

/// static-max as it will be: at least the target, if it may be raised.
fn ceiling(
    reading: &Reading,
    target: Kib,
    static_max: Kib,
    raise: bool,
    notes: &mut Vec<Note>,
) -> Result<Kib, Refusal> {
    if target <= static_max {
        return Ok(static_max);
    }
    if raise {
        notes.push(Note::RaisedMax { from: static_max, to: target });
        return Ok(target);
    }
    let most = static_max.offset(reading.video.into()).unwrap_or(static_max);
    Err(Refusal::AboveMax { target, static_max, most })
}

#[cfg(test)]
mod tests;
