//! The plan of a change: the numbers to write, or a refusal. Pure.
//!
//! libxl's arithmetic (`libxl_set_memory_target` and `libxl_domain_setmaxmem`, `tools/libs/light/libxl_mem.c`) and
//! xmem's safety rules.

mod compute;
mod note;
mod present;
mod refusal;
mod safety;

use xen::hypervisor::{HostMemory, Pod, UNLIMITED};
use xen::{Dom0, Kib};

pub use self::note::Note;
pub(crate) use self::note::not_counting;
pub use self::refusal::Refusal;
pub(crate) use self::safety::{Questions, misreads_first_target};
pub use crate::memory::SLACK;
use crate::memory::{Memory, Numbers, size_of};
use crate::size::{Amount, Size};

/// The distance from its target within which a guest has reached it: some page-table pages or a device's rings.
pub const TOLERANCE: Kib = Kib::from_mib(1);
/// The least size of dom0 (`LIBXL_MIN_DOM0_MEM`).
pub const DOM0_MINIMUM: Kib = Kib::from_mib(128);
/// The least size to which a domU is shrunk without force.
pub const GUEST_MINIMUM: Kib = Kib::from_mib(32);

/// The least size of a shrinking guest without `force`: [`GUEST_MINIMUM`] and its `video` memory, which it cannot use.
pub const fn guest_minimum(video: Kib) -> Kib {
    Kib(GUEST_MINIMUM.0.saturating_add(video.0))
}
/// A growing domain that leaves the host less than this gets a note: dom0's backends and the IOMMU's page tables need
/// some memory.
pub const HOST_RESERVE: Kib = Kib::from_mib(128);

/// A request for a domain's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryRequest {
    /// Set the target, and the limit with it.
    Set {
        /// The new size, video memory included.
        size: Size,
        /// Raise static-max to the size if it is lower, as `max` would.
        raise_max: bool,
        /// Override the safety rules that can be overridden.
        force: bool,
    },
    /// Set the target if a condition holds under the domain's lock. Otherwise nothing changes.
    SetIf {
        /// The condition.
        condition: Condition,
        /// The new size, video memory included.
        size: Size,
        /// The new limit.
        limit: LimitRule,
        /// Override the safety rules that can be overridden.
        force: bool,
    },
    /// Set static-max, and the limit with it.
    Max {
        /// The new maximum.
        size: Size,
        /// Override the safety rules that can be overridden.
        force: bool,
    },
    /// Correct numbers that are out of step and have only one possible fix.
    Repair,
}

/// The condition of [`MemoryRequest::SetIf`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// The domain's size becomes smaller.
    Lowers,
    /// The target in xenstore is still this one: no other program has set another.
    TargetIs(Kib),
}

/// The new limit of [`MemoryRequest::SetIf`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitRule {
    /// It follows the size, as after libxl's mem-set.
    Follows,
    /// It stays, unless the target needs more.
    Stays,
    /// It becomes `to` if it is still `from`, and otherwise stays; in either case unless the target needs more.
    Restored {
        /// The limit that this run set.
        from: Kib,
        /// The limit before.
        to: Kib,
    },
}

impl MemoryRequest {
    /// The size in the request.
    pub const fn size(&self) -> Option<Size> {
        match self {
            Self::Set { size, .. } | Self::SetIf { size, .. } | Self::Max { size, .. } => {
                Some(*size)
            }
            Self::Repair => None,
        }
    }

    /// Whether it overrides the safety rules that can be overridden.
    const fn is_forced(&self) -> bool {
        match self {
            Self::Set { force, .. } | Self::SetIf { force, .. } | Self::Max { force, .. } => *force,
            Self::Repair => false,
        }
    }

    /// Whether it sets the target.
    pub const fn is_set(&self) -> bool {
        matches!(self, Self::Set { .. } | Self::SetIf { .. })
    }

    /// Whether it can set a size below `held`, the domain's memory. Only then does the memory that its guest uses matter.
    pub(crate) const fn may_go_below(&self, held: Kib) -> bool {
        match self {
            Self::Set { size, .. } | Self::SetIf { size, .. } => match size.amount {
                Amount::To(size) => size.0 < held.0,
                // Video memory can be -1.
                Amount::Target(target) => target.0 <= held.0,
                Amount::Up(_) => false,
                Amount::Down(_) | Amount::Percent(_) | Amount::Maximum => true,
            },
            Self::Max { .. } | Self::Repair => false,
        }
    }

    /// Whether repeating it can change the domain a second time: a relative size, or a share of the maximum that sets
    /// the maximum.
    pub const fn is_relative(&self) -> bool {
        match self {
            Self::Set { size, .. } | Self::SetIf { size, .. } => size.amount.is_step(),
            Self::Max { size, .. } => {
                size.amount.is_step() || matches!(size.amount, Amount::Percent(_))
            }
            Self::Repair => false,
        }
    }

    /// The absolute value of `plan`, made for this request: the size or the maximum to repeat it with.
    pub fn absolute(&self, plan: &Plan) -> Option<Kib> {
        match self {
            Self::Set { .. } | Self::SetIf { .. } => Some(plan.size()),
            Self::Max { .. } => plan.new.static_max,
            Self::Repair => None,
        }
    }
}

/// What a plan depends on besides the domain. An unknown value constrains nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings {
    /// The host's memory.
    pub host: Option<HostMemory>,
    /// Memory of the host that must stay free.
    pub keep_free: Option<Kib>,
    /// Memory that other domains were granted and have not taken yet: not free.
    pub granted: Kib,
    /// The domain's populate-on-demand state.
    pub pod: Option<Pod>,
    /// The control domain's kernel.
    pub dom0: Dom0,
}

/// The numbers before and after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The numbers as they are.
    pub old: Numbers,
    /// The numbers after the change, the limit in whole pages. Target and maximum are present, unless nothing changes.
    pub new: Numbers,
    /// Video memory in KiB; -1 from some builders, meaning none.
    pub video: i32,
    /// The size once the guest has reached its target: target and video memory.
    pub wanted: Kib,
    /// The populate-on-demand target to set, if any.
    pub pod: Option<Kib>,
    /// Whether it is a `set`: it sets the target and, as libxl's mem-set, `/vm/<uuid>/memory`.
    pub sets_target: bool,
    /// Whether nodes in xenstore raise the limit by more than the request: then the guest must not be able to write
    /// them.
    pub relies_on_store: bool,
    /// Notes for the user.
    pub notes: Vec<Note>,
}

impl Plan {
    /// Whether it changes nothing.
    pub fn changes_nothing(&self) -> bool {
        self.old == self.new
    }

    /// The size before, video memory included. Zero without a target.
    pub fn old_size(&self) -> Kib {
        self.old.target.map_or(Kib(0), |target| size_of(target, self.video))
    }

    /// The maximum before; `None` also if it is unlimited, as dom0's is at first.
    fn old_maximum(&self) -> Option<Kib> {
        self.old.static_max.filter(|max| *max < UNLIMITED)
    }

    /// The size that this plan sets, video memory included: what `set` takes.
    pub const fn size(&self) -> Kib {
        self.wanted
    }

    /// Turns it into a plan that changes nothing.
    pub fn leave_alone(&mut self) {
        self.new = self.old;
        self.wanted = self.old.target.map_or(self.wanted, |target| size_of(target, self.video));
        self.pod = None;
        self.relies_on_store = false;
        self.notes.clear();
    }
}

/// The plan of `request` for a domain with this `memory`.
///
/// # Errors
/// [`Refusal`]: nothing may be changed.
pub fn plan(
    memory: &Memory,
    request: &MemoryRequest,
    around: &Surroundings,
) -> Result<Plan, Refusal> {
    finish(draft(memory, request)?, memory, request, around)
}

/// The plan of a [`draft`]: checked against the safety rules, and with its notes.
///
/// # Errors
/// As [`plan`].
pub(crate) fn finish(
    mut plan: Plan,
    memory: &Memory,
    request: &MemoryRequest,
    around: &Surroundings,
) -> Result<Plan, Refusal> {
    if !plan.changes_nothing() {
        safety::check(memory, request, around, &plan)?;
    }
    note::add(memory, request, around, &mut plan);
    Ok(plan)
}

/// The numbers of `request`, before any safety rule is applied.
///
/// # Errors
/// [`Refusal`]: there are none.
pub(crate) fn draft(memory: &Memory, request: &MemoryRequest) -> Result<Plan, Refusal> {
    match *request {
        MemoryRequest::Set { size, raise_max, .. } => compute::set(memory, size, raise_max),
        MemoryRequest::SetIf { condition, size, limit, .. } => {
            compute::set_if(memory, condition, size, limit)
        }
        MemoryRequest::Max { size, .. } => compute::max(memory, size),
        MemoryRequest::Repair => compute::repair(memory),
    }
}

#[cfg(test)]
mod tests;
