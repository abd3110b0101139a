//! The memory that the host has left for the next change: what is available, minus what must stay free and what this
//! run has promised to guests that have not taken it yet.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use xen::hypervisor::HypervisorError;
use xen::{Host, Identity, Interrupt, Kib, Mib};

use super::planning::others;
use super::{ApplyOptions, Step};
use crate::failure::Cause;
use crate::plan::TOLERANCE;

/// How often the host's memory is read during a wait.
const INTERVAL: Duration = Duration::from_millis(200);

/// The memory that the host has for the remaining steps.
pub(super) struct Ledger<'s> {
    host: &'s dyn Host,
    options: &'s ApplyOptions,
    /// The guests that grow already, if memory must stay free, and the memory that each will hold.
    others: Option<Vec<(Identity, Kib)>>,
    /// The domains already changed, and the memory that each will hold.
    promised: Vec<(Identity, Kib)>,
    last: Option<Reading>,
    /// The least balance since more became free, minus later promises.
    least: Option<i128>,
    /// The time without more memory, over all steps. Counted in sleeps, not by a clock, so that a stop (Ctrl-Z) does not
    /// count as waiting.
    idle: Duration,
}

/// The share of the needed memory that a domain gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// All of it.
    Whole,
    /// A part: it can hold this much.
    Part(Kib),
}

/// A reading of all guests. A lower bound when stale: memory a guest has taken since is subtracted twice.
#[derive(Clone, Copy)]
struct Reading {
    /// The host's available memory, minus what must stay free: negative while that is not there. In KiB.
    free: i128,
    /// Memory promised to guests and not taken yet.
    promised: Kib,
    /// Memory that other guests are still taking, to reach targets that this run has not set.
    granted: Kib,
    /// Memory that guests will give back and have not yet.
    coming: Kib,
}

impl Reading {
    /// The rest of `free`: negative if it is not enough.
    fn balance(&self) -> i128 {
        [self.promised, self.granted].into_iter().fold(self.free, less)
    }

    fn left(&self) -> Kib {
        Kib(u64::try_from(self.balance()).unwrap_or_default())
    }
}

impl<'s> Ledger<'s> {
    /// A ledger without promises.
    pub(super) const fn new(host: &'s dyn Host, options: &'s ApplyOptions) -> Self {
        Self {
            host,
            options,
            others: None,
            promised: Vec::new(),
            last: None,
            least: None,
            idle: Duration::ZERO,
        }
    }

    /// Blocks until enough memory is available for `step`, patience runs out without more becoming free, or an
    /// interrupt is pending. After that, later steps fail at once, until more becomes free. A step that does
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
        // Reading all guests for each step would cost the square of their number.
        if let Some(last) = &mut self.last {
            last.free = last.free.min(free(self.host, self.options.keep_free)?);
            let needs = step.needs(held(self.host, step.domain.identity)?);
            if needs <= last.left() {
                return Ok(Grant::Whole);
            }
        }
        loop {
            let (reading, held) = self.read(step.domain.identity)?;
            let (left, needs) = (reading.left(), step.needs(held));
            let balance = reading.balance();
            // The guests and the host are not read at the same moment: some pages more are no progress.
            if self.least.is_some_and(|least| balance.saturating_sub(least) > TOLERANCE.0.into()) {
                self.idle = Duration::ZERO;
                self.least = Some(balance);
            }
            self.least = Some(self.least.map_or(balance, |least| least.min(balance)));
            if needs <= left {
                return Ok(Grant::Whole);
            }
            let is_over = self.idle >= self.options.patience;
            if self.options.partial && (is_over || reading.coming == Kib(0)) {
                return Ok(Grant::Part(Kib(held.0.saturating_add(left.0))));
            }
            if is_over {
                let keep_free = self.options.keep_free.unwrap_or_default();
                let granted = reading.granted;
                return Err(Cause::NoMemory { needs, free: left, keep_free, granted });
            }
            let (needs, left, domain) = (Mib(needs), Mib(left), &step.domain);
            interrupt.waiting_for(&format_args!("{needs} MiB for {domain}, {left} MiB free"));
            let pause = INTERVAL.min(self.options.patience);
            if interrupt.sleep(pause) {
                return Err(Cause::Interrupted);
            }
            self.idle = self.idle.saturating_add(pause);
        }
    }

    /// Records that the domain `identity`, which held `held`, will hold `wanted`: the difference is not available to
    /// others.
    pub(super) fn promise(&mut self, identity: Identity, held: Kib, wanted: Kib) {
        self.promised.push((identity, wanted));
        let lacks = wanted.minus(held).unwrap_or_default();
        if let Some(last) = &mut self.last {
            last.promised = Kib(last.promised.0.saturating_add(lacks.0));
        }
        self.least = self.least.map(|least| less(least, lacks));
    }

    /// The guests that grow already. Read once: their targets are not this run's.
    fn take_others(&mut self) -> Result<Vec<(Identity, Kib)>, Cause> {
        if let Some(others) = self.others.take() {
            return Ok(others);
        }
        if self.options.keep_free.is_none() {
            return Ok(Vec::new());
        }
        let others = others(self.host, |_| false)?.into_iter();
        let growing = others.filter(|guest| guest.takes() > Kib(0));
        Ok(growing.map(|guest| (guest.identity, guest.size)).collect())
    }

    /// Reads all guests. Returns also the memory of the domain `identity`.
    fn read(&mut self, identity: Identity) -> Result<(Reading, Kib), Cause> {
        let others = self.take_others()?;
        let infos = self.host.hypervisor().domains()?;
        let held: HashMap<Identity, Kib> =
            infos.iter().map(|info| (info.identity, info.current)).collect();
        let held = |identity| held.get(&identity).copied();
        let (mut promised, mut coming) = (0_u64, 0_u64);
        for (identity, wanted) in &self.promised {
            // A domain that is gone neither takes nor gives memory.
            let Some(held) = held(*identity) else { continue };
            promised = promised.saturating_add(wanted.minus(held).unwrap_or_default().0);
            let above = held.minus(*wanted).filter(|above| *above > TOLERANCE);
            coming = coming.saturating_add(above.unwrap_or_default().0);
        }
        // The growth of the other domains of this run is counted by its promises, and by its needs.
        let counted: HashSet<Identity> =
            self.promised.iter().map(|(identity, _)| *identity).chain([identity]).collect();
        let others_ahead = others.iter().filter(|(identity, _)| !counted.contains(identity));
        let granted = others_ahead.fold(0_u64, |sum, (identity, size)| {
            let takes = held(*identity).and_then(|held| size.minus(held));
            sum.saturating_add(takes.unwrap_or_default().0)
        });
        self.others = Some(others);
        let free = free(self.host, self.options.keep_free)?;
        let (promised, granted, coming) = (Kib(promised), Kib(granted), Kib(coming));
        let reading = Reading { free, promised, granted, coming };
        self.last = Some(reading);
        Ok((reading, held(identity).unwrap_or_default()))
    }
}

/// The host's available memory, minus what must stay free.
fn free(host: &dyn Host, keep_free: Option<Kib>) -> Result<i128, HypervisorError> {
    let available = host.hypervisor().host_memory()?.available();
    Ok(less(available.0.into(), keep_free.unwrap_or_default()))
}

fn less(from: i128, kib: Kib) -> i128 {
    from.saturating_sub(kib.0.into())
}

/// The memory that the domain `identity` holds now.
fn held(host: &dyn Host, identity: Identity) -> Result<Kib, HypervisorError> {
    let info = host.hypervisor().domain(identity.domid)?;
    Ok(info.filter(|info| info.identity == identity).map_or(Kib(0), |info| info.current))
}
