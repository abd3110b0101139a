//! Notes about a plan or a change, on what a user might not expect.

use std::fmt;
use std::path::PathBuf;

use xen::escape::escaped_path;
use xen::hypervisor::UNLIMITED;
use xen::{DomId, Kib, Mib};

use super::safety::{direct_mapped, first_dom0_target, growth, shrinks};
use super::{HOST_RESERVE, MemoryRequest, Plan, Refusal, Surroundings, TOLERANCE};
use crate::memory::{GuestType, Limit, Manager, Memory};
use crate::state::State;

/// Something that a user might not expect of a plan or a change. The sentences hold before the change and after it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the sentences say what the fields are")]
pub enum Note {
    /// The size was rounded down to whole pages.
    Rounded { bytes: u64 },
    /// dom0 had no `memory/target` or no `memory/static-max`; they are filled in as libxl does.
    FilledIn { target: bool, static_max: bool },
    /// dom0 had no limit and gets one.
    FirstLimit { limit: Kib },
    /// The limit stays above the requested maximum, since target and video memory need it.
    LimitAboveMax { limit: Kib, max: Kib },
    /// The target is less than the size by the video memory.
    VideoMemory { size: Kib, target: Kib },
    /// An HVM guest's maximum rises, but its device model keeps the old one.
    DeviceModelMaximum,
    /// The host has less free memory than the domain would grow by.
    HostShort { needs: Kib, available: Kib, keep_free: Kib, granted: Kib },
    /// The host has little memory left once the domain has grown.
    LeavesLittle { free: Kib, granted: Kib },
    /// The domain is paused and holds more than its new limit.
    Paused { current: Kib },
    /// The domain is suspended.
    Suspended,
    /// The domain has shut down or crashed.
    Stopped(State),
    /// The domain is being migrated to the same host.
    Migrating { to: DomId },
    /// A daemon manages the domain's memory.
    Managed(Manager),
    /// On Arm, libxl cannot rebuild a guest whose size is below its maximum: it gives the guest all of the maximum, under a
    /// limit that goes with the target.
    LostAtReboot { domid: DomId, size: Kib },
    /// A domain that runs the device model of domain `of` is shrunk by force.
    DeviceModel { of: DomId },
    /// Nothing changes, although the limit is out of step.
    LimitTooLow { domid: DomId, limit: Kib, needs: Kib },
    /// The guest is shrunk below what it reports as used.
    BelowUsed { used: Kib, size: Kib },
    /// The guest is shrunk by force while it is still giving back its boot memory.
    Populating { outstanding: Kib },
    /// A direct-mapped dom0 is shrunk by force.
    DirectMapped,
    /// A PVH dom0 gets its first target by force, under a kernel that misreads it.
    Dom0Kernel { kernel: Option<(u32, u32)> },
    /// The host does not have enough for the requested size.
    Partial { asked: Kib, got: Kib },
    /// A limit in a batch is neither the present one nor that of the target.
    LimitIgnored { said: Kib, limit: Kib },
    /// The change was made, but its intent record could not be removed.
    RecordLeft { path: PathBuf, why: String },
}

impl Note {
    /// The note's name: stable, for programs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Rounded { .. } => "rounded",
            Self::FilledIn { .. } => "filled-in",
            Self::FirstLimit { .. } => "first-limit",
            Self::LimitAboveMax { .. } => "limit-above-max",
            Self::VideoMemory { .. } => "video-memory",
            Self::DeviceModelMaximum => "device-model-maximum",
            Self::HostShort { .. } => "host-short",
            Self::LeavesLittle { .. } => "host-left",
            Self::Paused { .. } => "paused",
            Self::Suspended => "suspended",
            Self::Stopped(state) => state.word(),
            Self::Migrating { .. } => "migrating",
            Self::Managed(_) => "managed",
            Self::LostAtReboot { .. } => "lost-at-reboot",
            Self::DeviceModel { .. } => "device-model",
            Self::LimitTooLow { .. } => "limit-too-low",
            Self::BelowUsed { .. } => "below-used",
            Self::Populating { .. } => "populating",
            Self::DirectMapped => "direct-mapped",
            Self::Dom0Kernel { .. } => "dom0-kernel",
            Self::Partial { .. } => "partial",
            Self::LimitIgnored { .. } => "limit-ignored",
            Self::RecordLeft { .. } => "record-left",
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rounded { bytes } => {
                let s = if *bytes == 1 { "" } else { "s" };
                write!(f, "the size was rounded down by {bytes} byte{s} to whole 4 KiB pages")
            }
            Self::FilledIn { target, static_max } => {
                let keys = match (target, static_max) {
                    (true, true) => "memory/target and memory/static-max",
                    (true, false) => "memory/target",
                    (false, _) => "memory/static-max",
                };
                write!(f, "xenstore had no {keys}: filled in from dom0's present memory and limit")
            }
            Self::FirstLimit { limit } => {
                write!(f, "dom0 gets a limit in the hypervisor for the first time: {limit}")
            }
            Self::LimitAboveMax { limit, max } => {
                write!(f, "the limit is {limit}: target and video memory need more than {max}")
            }
            Self::VideoMemory { size, target } => {
                write!(f, "a size of {size} includes video memory: the target is {target}")
            }
            Self::DeviceModelMaximum => {
                f.write_str("the device model keeps the old maximum until the guest is restarted")
            }
            Self::HostShort { needs, available, keep_free, granted } => {
                let (needs, available) = (Mib(*needs), Mib(*available));
                let less = not_counting(*keep_free, *granted);
                write!(
                    f,
                    "growing by {needs} MiB, but the host has only {available} MiB free{less}"
                )
            }
            Self::LeavesLittle { free, granted } => {
                let less = not_counting(Kib(0), *granted);
                write!(f, "leaves the host {} MiB free{less}", Mib(*free))
            }
            Self::Paused { current } => {
                write!(
                    f,
                    "the domain is paused: it keeps {} MiB until it runs again",
                    Mib(*current)
                )
            }
            Self::Suspended => f.write_str(
                "the domain is suspended, to be saved or migrated: a change made now can be lost",
            ),
            Self::Stopped(state) => {
                write!(f, "the domain is {state}: its guest no longer balloons")
            }
            Self::Migrating { to } => write!(
                f,
                "the domain is being migrated (domain {to} receives it): a change made now can be lost"
            ),
            Self::Managed(manager) => {
                write!(f, "the domain's memory is managed by {manager}, which may overwrite this")
            }
            Self::LostAtReboot { .. } => f.write_str(
                "on Arm, libxl cannot start the guest again at a reboot while its size is below its maximum"
            ),
            Self::DeviceModel { of } => {
                write!(
                    f,
                    "the domain runs the device model of domain {of}: if it dies, that guest dies"
                )
            }
            Self::LimitTooLow { limit, needs, .. } => {
                write!(f, "out of step: the limit is {limit}, and the target needs {needs}")
            }
            Self::BelowUsed { used, size } => write!(
                f,
                "the guest reports that it uses {} MiB: with {} MiB it may swap, or run out of memory",
                Mib(*used),
                Mib(*size)
            ),
            Self::Populating { outstanding } => write!(
                f,
                "the guest has not yet given back its boot memory (populate on demand: {} MiB outstanding)",
                Mib(*outstanding)
            ),
            Self::DirectMapped => Refusal::DirectMapped.fmt(f),
            Self::Dom0Kernel { kernel } => Refusal::Dom0Kernel { kernel: *kernel }.fmt(f),
            Self::Partial { asked, got } => {
                write!(f, "the host does not have enough for {asked}: the size is {got}")
            }
            Self::LimitIgnored { said, limit } => {
                write!(
                    f,
                    "limit_kib ({}) is not set: the limit follows the target and is {}",
                    Limit(*said),
                    Limit(*limit)
                )
            }
            Self::RecordLeft { path, why } => {
                write!(f, "the intent record {} could not be removed: {why}", escaped_path(path))
            }
        }
    }
}

/// `, not counting the 1024 MiB to keep free and the 400 MiB that other guests are still taking`, without a part that is
/// zero.
pub(crate) fn not_counting(keep_free: Kib, granted: Kib) -> String {
    let parts = [(keep_free, "to keep free"), (granted, "that other guests are still taking")];
    let parts = parts.into_iter().filter(|(size, _)| *size > Kib(0));
    let parts: Vec<String> =
        parts.map(|(size, what)| format!("the {} MiB {what}", Mib(size))).collect();
    if parts.is_empty() { String::new() } else { format!(", not counting {}", parts.join(" and ")) }
}

/// Adds to `plan` the notes about `request`.
pub(super) fn add(
    memory: &Memory,
    request: &MemoryRequest,
    around: &Surroundings,
    plan: &mut Plan,
) {
    let Some(size) = request.size() else { return };
    let is_set = request.is_set();
    let changes = !plan.changes_nothing();
    let limit = plan.new.limit;
    let mut notes = std::mem::take(&mut plan.notes);
    let mut note = |applies: bool, note: Note| {
        if applies {
            notes.push(note);
        }
    };
    note(size.cut != 0, Note::Rounded { bytes: size.cut });
    let had_no_limit = plan.old.limit == UNLIMITED && limit < UNLIMITED;
    note(had_no_limit && memory.is_dom0(), Note::FirstLimit { limit });
    if let (true, Some(target)) = (is_set && changes && plan.video > 0, plan.new.target) {
        note(!size.amount.is_step(), Note::VideoMemory { size: plan.wanted, target });
    }
    let raises_max = plan.new.static_max > plan.old.static_max;
    note(raises_max && memory.info.guest_type == GuestType::Hvm, Note::DeviceModelMaximum);
    if let (Some(needs), Some(available)) = (growth(memory, plan), around.available()) {
        let (keep_free, granted) = (Kib(0), around.granted);
        match available.minus(needs) {
            None => note(true, Note::HostShort { needs, available, keep_free, granted }),
            Some(free) => {
                note(changes && free < HOST_RESERVE, Note::LeavesLittle { free, granted });
            }
        }
    }
    // The target, since a guest cannot use its video memory.
    if let (Some(used), Some(target)) = (memory.used(), plan.new.target) {
        let is_below = target < used && shrinks(memory, plan);
        note(changes && is_below, Note::BelowUsed { used, size: target });
    }
    let current = memory.info.current;
    match State::of(memory) {
        State::Paused => {
            let differs = current.0.abs_diff(plan.wanted.0) > TOLERANCE.0;
            note(current > limit || is_set && differs, Note::Paused { current });
        }
        State::Suspended => note(is_set || changes, Note::Suspended),
        state @ (State::ShutDown | State::Crashed) => note(is_set, Note::Stopped(state)),
        _ => {}
    }
    if let Some(manager) = memory.manager {
        note(changes, Note::Managed(manager));
    }
    note(
        changes
            && (is_set || raises_max)
            && is_lost_at_reboot(cfg!(target_arch = "aarch64"), memory, plan),
        Note::LostAtReboot { domid: memory.info.identity.domid, size: plan.wanted },
    );
    if let Some(of) = memory.device_model_of {
        note(changes && shrinks(memory, plan), Note::DeviceModel { of });
    }
    if let Some(needs) = memory.missing_limit() {
        note(!changes, Note::LimitTooLow { domid: memory.info.identity.domid, limit, needs });
    }
    if let Some(outstanding) = around.outstanding_pod() {
        note(changes, Note::Populating { outstanding });
    }
    note(changes && direct_mapped(memory, around, plan).is_some(), Note::DirectMapped);
    let kernel = around.dom0.kernel;
    note(changes && first_dom0_target(memory, around).is_some(), Note::Dom0Kernel { kernel });
    plan.notes = notes;
}

fn is_lost_at_reboot(is_arm: bool, memory: &Memory, plan: &Plan) -> bool {
    is_arm && !memory.is_dom0() && Some(plan.wanted) < plan.new.static_max
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Numbers;

    #[test]
    fn a_guest_below_its_maximum_is_lost_at_a_reboot_on_arm() {
        let plan = |size, static_max| {
            let numbers = Numbers {
                target: Some(Kib(size)),
                static_max: Some(Kib(static_max)),
                limit: Kib(0),
            };
            Plan {
                old: numbers,
                new: numbers,
                video: 0,
                wanted: Kib(size),
                pod: None,
                sets_target: true,
                relies_on_store: false,
                notes: Vec::new(),
            }
        };
        let lost = |is_arm, domid, size| {
            is_lost_at_reboot(is_arm, &Memory::of(crate::testing::info(domid)), &plan(size, 1024))
        };
        assert!(lost(true, 7, 1020));
        assert!(!lost(true, 7, 1024) && !lost(true, 0, 1020) && !lost(false, 7, 1020));
    }
}
