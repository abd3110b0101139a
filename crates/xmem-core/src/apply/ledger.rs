//! Whether the host has enough memory for the next change: what it has available, less what must stay free and what
//! guests were promised in this run and have not taken yet.

use std::collections::HashMap;
use std::time::Duration;

use xen::hypervisor::HypervisorError;
use xen::{Host, Identity, Interrupt, Kib, Mib};

use super::{ApplyOptions, Step};
use crate::failure::Cause;
use crate::plan::TOLERANCE;

/// How often the host's memory is read during a wait.
const INTERVAL: Duration = Duration::from_millis(200);

/// What the host has left for the steps to come.
pub(super) struct Ledger<'s> {
    host: &'s dyn Host,
    options: &'s ApplyOptions,
    /// The domains whose changes are made, and what each is to hold.
    promised: Vec<(Identity, Kib)>,
    last: Option<Look>,
}

/// How much of the memory that it needs a domain gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// All of it.
    Whole,
    /// So much that it can hold this.
    Part(Kib),
}

/// All guests at one time. May be stale: memory a guest has taken since is subtracted twice, as promised and as not free.
/// So what is left is a lower bound.
#[derive(Clone, Copy)]
struct Look {
    /// What the host has, less what must stay free.
    free: Kib,
    /// What the guests have not taken yet of what they were promised.
    promised: Kib,
    /// What guests have not given back yet of what they should.
    coming: Kib,
}

impl Look {
    fn left(&self) -> Kib {
        self.free.minus(self.promised).unwrap_or_default()
    }
}

impl<'s> Ledger<'s> {
    /// Nothing is promised yet.
    pub(super) const fn new(host: &'s dyn Host, options: &'s ApplyOptions) -> Self {
        Self { host, options, promised: Vec::new(), last: None }
    }

    /// Blocks until enough memory is available for `step`, progress stops, or an interrupt is pending. A step that does
    /// not grow its domain needs none.
    pub(super) fn wait_for(
        &mut self,
        step: &Step,
        interrupt: &dyn Interrupt,
    ) -> Result<Grant, Cause> {
        if interrupt.pending() {
            return Err(Cause::Interrupted);
        }
        if !step.grows() {
            return Ok(Grant::Whole);
        }
        // Without asking for all guests, which would cost as much as there are pairs of them.
        if let Some(last) = &mut self.last {
            last.free = last.free.min(free(self.host, self.options.keep_free)?);
            let needs = step.needs(held(self.host, step.domain.identity)?);
            if needs <= last.left() {
                return Ok(Grant::Whole);
            }
        }
        // How long none has come. Counted in sleeps, not by a clock: a stopped process (Ctrl-Z) loses no patience.
        let mut idle = Duration::ZERO;
        let mut last = None;
        loop {
            let (look, held) = self.look(step.domain.identity)?;
            let (left, needs) = (look.left(), step.needs(held));
            if needs <= left {
                return Ok(Grant::Whole);
            }
            if last.replace(left).is_some_and(|last| left > last) {
                idle = Duration::ZERO;
            }
            let is_over = idle >= self.options.patience;
            if self.options.partial && (is_over || look.coming == Kib(0)) {
                return Ok(Grant::Part(Kib(held.0.saturating_add(left.0))));
            }
            if is_over {
                return Err(Cause::NoMemory { needs, free: left });
            }
            let (needs, left, domain) = (Mib(needs), Mib(left), &step.domain);
            interrupt.waiting_for(&format_args!("{needs} MiB for {domain}, {left} MiB free"));
            let pause = INTERVAL.min(self.options.patience);
            if interrupt.sleep(pause) {
                return Err(Cause::Interrupted);
            }
            idle = idle.saturating_add(pause);
        }
    }

    /// The domain `identity` held `held` and is to hold `wanted` from now on: what it lacks is not there for others.
    pub(super) fn promise(&mut self, identity: Identity, held: Kib, wanted: Kib) {
        self.promised.push((identity, wanted));
        if let Some(last) = &mut self.last {
            let lacks = wanted.minus(held).unwrap_or_default();
            last.promised = Kib(last.promised.0.saturating_add(lacks.0));
        }
    }

    /// Looks at all guests. Returns also what the domain `identity` holds.
    fn look(&mut self, identity: Identity) -> Result<(Look, Kib), HypervisorError> {
        let infos = self.host.hypervisor().domains()?;
        let held: HashMap<Identity, Kib> =
            infos.iter().map(|info| (info.identity, info.current)).collect();
        let held = |identity| held.get(&identity).copied();
        let (mut promised, mut coming) = (0_u64, 0_u64);
        for (identity, wanted) in &self.promised {
            // A domain that is gone takes and gives nothing.
            let Some(held) = held(*identity) else { continue };
            promised = promised.saturating_add(wanted.minus(held).unwrap_or_default().0);
            let above = held.minus(*wanted).filter(|above| *above > TOLERANCE);
            coming = coming.saturating_add(above.unwrap_or_default().0);
        }
        let free = free(self.host, self.options.keep_free)?;
        let look = Look { free, promised: Kib(promised), coming: Kib(coming) };
        self.last = Some(look);
        Ok((look, held(identity).unwrap_or_default()))
    }
}

/// What the host has available, less what must stay free.
fn free(host: &dyn Host, keep_free: Option<Kib>) -> Result<Kib, HypervisorError> {
    let available = host.hypervisor().host_memory()?.available();
    Ok(available.minus(keep_free.unwrap_or_default()).unwrap_or_default())
}

/// What the domain `identity` holds now.
fn held(host: &dyn Host, identity: Identity) -> Result<Kib, HypervisorError> {
    let info = host.hypervisor().domain(identity.domid)?;
    Ok(info.filter(|info| info.identity == identity).map_or(Kib(0), |info| info.current))
}
