//! From what was read and what is asked to the numbers to write, or to a refusal. Pure.
//!
//! libxl's arithmetic (`libxl_set_memory_target` and `libxl_domain_setmaxmem`, `tools/libs/light/libxl_mem.c`) and xmem's
//! safety rules.

mod note;
mod refusal;

use xen::Kib;
use xen::hypervisor::HostMemory;

pub use self::note::Note;
pub use self::refusal::Refusal;
use crate::memory::{Memory, Numbers};
use crate::size::Size;

/// What libxl adds to every limit (`LIBXL_MAXMEM_CONSTANT`, `tools/libs/light/libxl_internal.h`).
pub const SLACK: Kib = Kib::from_mib(1);
/// How far a guest may be from what it should hold and still count as having reached it: a page-table page or a device's
/// rings more or less.
pub const TOLERANCE: Kib = Kib::from_mib(1);
/// The least target of dom0 (`LIBXL_MIN_DOM0_MEM`).
pub const DOM0_MINIMUM: Kib = Kib::from_mib(128);
/// The least target to which a domU is shrunk without force.
pub const GUEST_MINIMUM: Kib = Kib::from_mib(32);

/// What is asked of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryRequest {
    /// Set the target, and the limit with it.
    Set {
        /// The new size, video memory included.
        size: Size,
        /// Raise static-max if the target would be above it.
        raise_max: bool,
        /// Do what a safety rule would refuse.
        force: bool,
    },
    /// Set static-max, and the limit with it.
    Max {
        /// The new maximum.
        size: Size,
        /// Do what a safety rule would refuse.
        force: bool,
    },
    /// Fix what is out of step and has only one possible fix.
    Repair,
}

/// What the plan has to respect besides the domain itself. What is not known constrains nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings {
    /// The host's memory.
    pub host: Option<HostMemory>,
    /// Memory of the host that must stay free.
    pub keep_free: Option<Kib>,
    /// The control domain's kernel.
    pub dom0: xen::Dom0,
}

/// What will be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The numbers as they are.
    pub old: Numbers,
    /// The numbers as they will be: target and maximum are never `None`, the limit is in whole pages.
    pub new: Numbers,
    /// Video memory in KiB; -1 from builders that mean none.
    pub video: i32,
    /// What the domain holds once its guest has followed: target and video memory.
    pub wanted: Kib,
    /// The populate-on-demand target to set, if any.
    pub pod: Option<Kib>,
    /// Whether `/vm/<uuid>/memory` follows the target, as after libxl's mem-set.
    pub writes_vm_memory: bool,
    /// Whether the limit rises by more than was asked for, because of nodes in xenstore: then the guest must not be able
    /// to write them.
    pub relies_on_store: bool,
    /// What a user should know about it.
    pub notes: Vec<Note>,
}

impl Plan {
    /// Whether everything is already as it was asked for.
    pub fn changes_nothing(&self) -> bool {
        self.old == self.new
    }

    /// The size that this plan sets, video memory included: what `set` takes.
    pub const fn size(&self) -> Kib {
        self.wanted
    }
}

/// The plan that `request` comes to for a domain with this `memory`.
///
/// # Errors
/// [`Refusal`]: nothing may be changed.
pub fn plan(
    memory: &Memory,
    request: &MemoryRequest,
    around: &Surroundings,
) -> Result<Plan, Refusal> {
    let _ = (memory, request, around);
    todo!()
}
