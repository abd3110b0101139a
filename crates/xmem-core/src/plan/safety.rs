//! The safety rules, which refuse some changes that libxl would make.

use xen::{Dom0, Kib};

use super::{DOM0_MINIMUM, MemoryRequest, Plan, Refusal, Surroundings, TOLERANCE, guest_minimum};
use crate::memory::{GuestType, Memory};

/// The first Linux whose balloon driver computes a PVH dom0's initial size correctly.
const FIXED_DOM0_KERNEL: (u32, u32) = (6, 15);

/// Refuses a plan that breaks a rule that `request` does not override ([`Refusal::can_be_forced`]).
pub(super) fn check(
    memory: &Memory,
    request: &MemoryRequest,
    around: &Surroundings,
    plan: &Plan,
) -> Result<(), Refusal> {
    let all = [
        first_dom0_target(memory, around),
        below_minimum(memory, request, plan),
        direct_mapped(memory, around, plan),
        device_model(memory, plan),
        populating(memory, around, plan),
        above_host(request, around, plan),
        reserve(memory, around, plan),
    ];
    let all: Vec<Refusal> = all.into_iter().flatten().collect();
    if let Some(absolute) = all.iter().find(|refusal| !refusal.can_be_forced()) {
        return Err(absolute.clone());
    }
    match all.as_slice() {
        [] => Ok(()),
        _ if request.is_forced() => Ok(()),
        [refusal] => Err(refusal.clone()),
        // All of them, since --force overrides all at once.
        _ => Err(Refusal::Several(all)),
    }
}

/// The driver of a PVH dom0 with an older kernel subtracts its boot memory from the first target that it sees.
pub(super) fn first_dom0_target(memory: &Memory, around: &Surroundings) -> Option<Refusal> {
    let is_first = matches!(memory.target, Ok(None));
    let kernel = around.dom0.kernel;
    (is_first && misreads_first_target(memory, around.dom0))
        .then_some(Refusal::Dom0Kernel { kernel })
}

/// Whether it is a dom0 whose kernel would misread its first target: PVH before Linux 6.15, or of an unknown version.
pub(crate) fn misreads_first_target(memory: &Memory, dom0: Dom0) -> bool {
    memory.is_dom0()
        && memory.info.guest_type != GuestType::Pv
        // On Arm, where dom0 is mapped 1:1, Linux counts its memory in another way.
        && !dom0.direct_mapped
        && dom0.kernel.is_none_or(|kernel| kernel < FIXED_DOM0_KERNEL)
}

fn below_minimum(memory: &Memory, request: &MemoryRequest, plan: &Plan) -> Option<Refusal> {
    let size = plan.wanted;
    if memory.is_dom0() {
        return (plan.sets_target && size < DOM0_MINIMUM).then_some(Refusal::Dom0Minimum { size });
    }
    // A relative size starts from a target that may make no sense, far below what the guest holds.
    let is_step = matches!(request, MemoryRequest::Set { size, .. } if size.amount.is_step());
    let falls = is_step && size.plus(TOLERANCE).is_some_and(|size| size < memory.info.current);
    let video = memory.video_memory();
    ((shrinks(memory, plan) || falls) && size < guest_minimum(video))
        .then_some(Refusal::GuestMinimum { size, video })
}

pub(super) fn direct_mapped(
    memory: &Memory,
    around: &Surroundings,
    plan: &Plan,
) -> Option<Refusal> {
    let is_mapped = memory.is_dom0() && around.dom0.direct_mapped;
    (shrinks(memory, plan) && is_mapped).then_some(Refusal::DirectMapped)
}

fn device_model(memory: &Memory, plan: &Plan) -> Option<Refusal> {
    let of = memory.device_model_of?;
    shrinks(memory, plan).then_some(Refusal::DeviceModel { of })
}

fn populating(memory: &Memory, around: &Surroundings, plan: &Plan) -> Option<Refusal> {
    let outstanding = around.outstanding_pod()?;
    shrinks(memory, plan).then_some(Refusal::Populating { outstanding })
}

/// Whether the domain shrinks.
pub(super) fn shrinks(memory: &Memory, plan: &Plan) -> bool {
    let size = memory.size().unwrap_or(memory.info.current);
    plan.sets_target && plan.wanted < size
}

/// Refuses `1T` where `1G` was meant. A shrinking domain may still be above the host's memory.
fn above_host(request: &MemoryRequest, around: &Surroundings, plan: &Plan) -> Option<Refusal> {
    let (old, new) = match request {
        _ if request.is_set() => (plan.old.target, plan.new.target),
        MemoryRequest::Max { .. } => (plan.old_maximum(), plan.new.static_max),
        _ => return None,
    };
    let total = around.host?.total;
    let size = request.absolute(plan)?;
    (new > old && size > total).then_some(Refusal::AboveHost { size, total })
}

/// Keeps the host's memory free. What a guest still takes to reach its old target was granted before.
fn reserve(memory: &Memory, around: &Surroundings, plan: &Plan) -> Option<Refusal> {
    if plan.new.target <= plan.old.target {
        return None;
    }
    let (needs, keep_free) = (growth(memory, plan)?, around.keep_free?);
    let (available, granted) = (around.available()?, around.granted);
    let left = available.minus(needs).unwrap_or_default();
    (left < keep_free).then_some(Refusal::KeepFree { needs, available, keep_free, granted })
}

/// Memory that the domain takes from the host to reach its new size. `None` if that is nothing.
pub(super) fn growth(memory: &Memory, plan: &Plan) -> Option<Kib> {
    let more = plan.wanted.minus(memory.info.current).filter(|more| *more > TOLERANCE)?;
    plan.sets_target.then_some(more)
}

impl Surroundings {
    /// The host's available memory, less what others were granted.
    pub(super) fn available(&self) -> Option<Kib> {
        Some(self.host?.available().minus(self.granted).unwrap_or_default())
    }

    /// Memory that the guest may still touch and that has no page yet, since it is still giving back its boot memory.
    pub(super) fn outstanding_pod(&self) -> Option<Kib> {
        let pod = self.pod?;
        pod.entries.minus(pod.cache).filter(|outstanding| *outstanding > Kib(0))
    }
}

/// The surroundings that matter to a plan: each costs a hypercall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Questions {
    /// The host's memory.
    pub(crate) host: bool,
    /// The populate-on-demand state.
    pub(crate) pod: bool,
    /// The control domain's kernel.
    pub(crate) dom0: bool,
}

impl Questions {
    /// The surroundings that matter to `plan`, a [draft](super::draft).
    pub(crate) fn of(memory: &Memory, request: &MemoryRequest, plan: &Plan) -> Self {
        let raises_max = plan.new.static_max > plan.old_maximum();
        let is_max = matches!(request, MemoryRequest::Max { .. });
        let changes = !plan.changes_nothing();
        Self {
            host: changes && (growth(memory, plan).is_some() || is_max && raises_max),
            pod: plan.pod.is_some() && shrinks(memory, plan),
            dom0: changes && memory.is_dom0(),
        }
    }
}
