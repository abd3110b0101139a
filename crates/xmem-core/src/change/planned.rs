//! Plans for a domain on its host. Reads the host's memory, the populate-on-demand state and dom0's kernel only if they
//! matter.

use tracing::debug;
use xen::Host;
use xen::hypervisor::HostMemory;
use xen::xenstore::{Nodes, Store};

use super::KeepFree;
use super::locked::check_state;
use crate::failure::{Cause, chain};
use crate::memory::{Memory, guest_may_write};
use crate::plan::{MemoryRequest, Plan, Questions, Refusal, Surroundings, draft, finish};
use crate::size::Amount;
use crate::underway::{Underway, sum, underway};

/// The plan of `request` for a domain with this `memory`, which was read through `nodes`. Reads the host's
/// memory if the domain grows, and its populate-on-demand state if it shrinks and can have one. Other domains are read
/// through `store`, so that their changes do not make a commit conflict.
///
/// # Errors
/// A [`Refusal`], a state that allows no change, or the host does not answer.
pub fn plan_on(
    host: &dyn Host,
    store: &dyn Store,
    nodes: &dyn Nodes,
    memory: &Memory,
    request: &MemoryRequest,
    keep_free: Option<KeepFree>,
) -> Result<Plan, Cause> {
    plan_in(host, nodes, memory, request, |questions| {
        surroundings(host, store, memory, keep_free, questions)
    })
}

/// The plan of `request` in known surroundings, for one of many domains. Reads only the domain's
/// populate-on-demand state, if it shrinks and can have one.
///
/// # Errors
/// As [`plan_on`].
pub(crate) fn plan_among(
    host: &dyn Host,
    nodes: &dyn Nodes,
    memory: &Memory,
    request: &MemoryRequest,
    around: &Surroundings,
) -> Result<Plan, Cause> {
    plan_in(host, nodes, memory, request, |_| Ok(*around))
}

/// The [draft]. A size above the domain's maximum that is above all of the host's memory too is refused for both.
fn draft_on(host: &dyn Host, memory: &Memory, request: &MemoryRequest) -> Result<Plan, Refusal> {
    draft(memory, request).map_err(|refusal| match refusal {
        Refusal::AboveMax { target: size, .. } if request.is_set() => {
            match host.hypervisor().host_memory() {
                Ok(HostMemory { total, .. }) if size > total => {
                    Refusal::Several(vec![refusal, Refusal::AboveHost { size, total }])
                }
                _ => refusal,
            }
        }
        refusal => refusal,
    })
}

/// The plan in the surroundings that `look` returns, to which the populate-on-demand state is added if it matters.
/// Refuses a plan by which a guest's own nodes would raise its limit.
fn plan_in(
    host: &dyn Host,
    nodes: &dyn Nodes,
    memory: &Memory,
    request: &MemoryRequest,
    look: impl FnOnce(Questions) -> Result<Surroundings, Cause>,
) -> Result<Plan, Cause> {
    check_state(host, memory)?;
    let draft = draft_on(host, memory, request)?;
    let questions = Questions::of(memory, request, &draft);
    let mut around = look(questions)?;
    if questions.pod {
        match host.hypervisor().pod(memory.domid()) {
            Ok(pod) => around.pod = Some(pod),
            Err(error) => {
                debug!(error = %chain(&error), "the populate-on-demand state is not known");
            }
        }
    }
    let plan = finish(draft, memory, request, &around)?;
    if plan.relies_on_store && guest_may_write(nodes, memory.domid())? {
        let is_absolute = request.size().is_some_and(|size| matches!(size.amount, Amount::To(_)));
        return Err(Refusal::GuestWritable { limit: plan.new.limit, is_absolute }.into());
    }
    Ok(plan)
}

fn surroundings(
    host: &dyn Host,
    store: &dyn Store,
    memory: &Memory,
    keep_free: Option<KeepFree>,
    questions: Questions,
) -> Result<Surroundings, Cause> {
    let size = keep_free.map(|keep_free| keep_free.size);
    let mut around = Surroundings { keep_free: size, ..Surroundings::default() };
    if questions.host {
        match host.hypervisor().host_memory() {
            Ok(memory) => around.host = Some(memory),
            Err(error) if keep_free.is_some() => return Err(error.into()),
            Err(error) => debug!(error = %chain(&error), "the host's memory is not known"),
        }
        if keep_free.is_some_and(|keep_free| keep_free.counts_granted) {
            let itself = memory.info.identity;
            let others = underway(host, store, |identity| identity == itself)?;
            around.granted = sum(&others, Underway::takes);
        }
    }
    if questions.dom0 {
        around.dom0 = host.dom0();
    }
    Ok(around)
}
