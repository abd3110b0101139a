//! The change: how target and limit are kept in step, from top to bottom.
//!
//! Owns the order of things, and nothing else: what is written comes from [`plan`], how a lock is
//! taken from [`lock`](crate::lock). The types keep the order: only a held domain gives out a
//! transaction, only a reading a plan, only a plan a change; and a change that is dropped is undone.
//!
//! What libxl does, and where this goes further: libxl holds the userdata lock over its transaction
//! and the setmaxmem call as well (commit 5f33fa2bca of 2015), but leaves the limit changed when
//! anything fails after it. Here, whatever fails is put back before the lock is released.

mod half;
mod nudge;
mod series;

use std::fmt;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use tracing::{debug, warn};

use self::half::{Commit, Half, Ready};
pub use self::nudge::nudge;
pub use self::series::Series;
use crate::domain::{Domain, DomainRef, Name};
use crate::error::{After, Cause, Failure, chain};
use crate::host::Host;
use crate::hypervisor::{DomainInfo, Hypervisor as _, HypervisorError};
use crate::intent::{Found, IntentFile, Numbers};
use crate::lock::Lock;
use crate::nodes::{Nodes, name_path};
use crate::plan::{Note, Plan, Reading, Refusal, TOLERANCE, Wish, plan};
use crate::resolve::resolve;
use crate::settle::{Earlier, settlement};
use crate::signals::{HoldOff, Signals};
use crate::size::Kib;
use crate::xenstore::{Batch, Xs as _, XsTransaction};

/// How often a change is tried that meets another one at its commit. oxenstored's test mode fails one
/// commit in three: 16 in a row is then less likely than 1 in 40 million.
const TRIES: u32 = 16;
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Of which domain.
    pub domain: DomainRef,
    /// What.
    pub wish: Wish,
    /// Stop when the plan is made.
    pub dry_run: bool,
    /// How long to wait for the domain's lock.
    pub lock_timeout: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The domain.
    pub domain: Domain,
    /// What the hypervisor said of it, under the lock, before the change.
    pub info: DomainInfo,
    /// The plan.
    pub plan: Plan,
    /// Whether it was carried out.
    pub end: End,
    /// What was found of an earlier run, and what was done about it.
    pub earlier: Option<Earlier>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is done.
    Changed,
    /// All was so already.
    Already,
    /// It was only planned.
    DryRun,
}

/// Changes a domain's memory as `request` says, or leaves it as it was.
///
/// From step 2 on `signals` holds off those that would end the process; the caller lets them go when
/// it has told the result.
///
/// # Errors
/// [`Failure`]: what stopped it, and the state that is left.
pub fn change<H: Host>(
    host: &H,
    request: &Request,
    signals: &mut Signals,
) -> Result<Outcome, Failure> {
    Series::new(host).change(request, signals)
}

/// The same, over `store`.
fn change_over<H: Host>(
    host: &H,
    store: &H::Store,
    request: &Request,
    signals: &mut Signals,
) -> Result<Outcome, Failure> {
    // 1. Which domain?
    let mut domain = resolve(store, host.hypervisor(), &request.domain)
        .map_err(|error| Failed::from(error).of(None))?;
    locked_change(host, store, request, &mut domain, signals).map_err(|failed| {
        if domain.name.is_none() {
            // Only for the message: that it has no name is as good.
            domain.name =
                store.read(&name_path(domain.identity.domid)).ok().map(|name| Name(name.into()));
        }
        failed.of(Some(domain))
    })
}

/// The plan. A guest's own word never raises its limit.
pub(crate) fn believed(
    nodes: &Nodes,
    store: &impl Batch,
    reading: &Reading,
    wish: &Wish,
) -> Result<Plan, Cause> {
    let plan = plan(reading, wish)?;
    if plan.on_trust && nodes.are_its_own(store, reading.info.identity.domid)? {
        return Err(Refusal::GuestsWord { limit: plan.limit }.into());
    }
    Ok(plan)
}

fn locked_change<H: Host>(
    host: &H,
    store: &H::Store,
    request: &Request,
    domain: &mut Domain,
    signals: &mut Signals,
) -> Result<Outcome, Failed> {
    // 2. Its lock; 8. released when `held` goes, whatever happens.
    let signals = signals.hold_off().map_err(|source| Cause::Os { what: "signals", source })?;
    let mut held = Held::take(host, store, domain, request.lock_timeout, signals)?;
    // 3. What a killed run left.
    let earlier = if request.dry_run { held.unsettled()? } else { held.settle()? };
    let done = attempts(&mut held, request, domain, signals, earlier.as_ref());
    done.map_err(|failed| match (&failed, earlier) {
        (Failed { cause: Cause::LockLost, .. }, _) => {
            let again = Held::take(host, store, domain, request.lock_timeout, signals);
            failed.settled_by(again.and_then(|mut held| held.settle()))
        }
        // What was settled stays settled, also when the change itself does not come about.
        (Failed { after: After::Unchanged, .. }, Some(earlier)) if !request.dry_run => {
            Failed { after: After::Settled { earlier }, ..failed }
        }
        _ => failed,
    })
}

/// Steps 4 to 7, as often as it takes.
fn attempts<H: Host>(
    held: &mut Held<'_, H>,
    request: &Request,
    domain: &mut Domain,
    signals: &HoldOff,
    earlier: Option<&Earlier>,
) -> Result<Outcome, Failed> {
    for attempt in 1..=TRIES {
        // 4. A transaction, and what it reads.
        let open = held.open()?;
        domain.name.clone_from(&open.name);
        // 5. The plan.
        let mut plan = open.plan(&request.wish)?;
        let info = open.reading.info;
        plan.notes.extend(held.shortage(&plan));
        let outcome = |plan, end| Outcome {
            domain: domain.clone(),
            info,
            plan,
            end,
            earlier: earlier.cloned(),
        };
        debug!(%domain, attempt, old = %Shown(plan.old), new = %Shown(plan.goal()), "planned");
        if plan.changes_nothing() {
            return Ok(outcome(plan, End::Already));
        }
        if request.dry_run {
            return Ok(outcome(plan, End::DryRun));
        }
        // The last moment at which a signal ends the run with nothing changed.
        if signals.pending().map_err(|source| Cause::Os { what: "signals", source })? {
            return Err(Cause::Interrupted.into());
        }
        // 6. Intent, writes, limit, PoD target. 7. Commit.
        let limit = match open.carry_out(plan)?.commit()? {
            Commit::Done(plan) => return Ok(outcome(plan, End::Changed)),
            Commit::Conflict { limit } => limit,
        };
        held.info.limit = limit;
        pause(attempt);
    }
    Err(Cause::Conflicts { tries: TRIES }.into())
}

/// A failure, of a domain that the caller knows.
struct Failed {
    cause: Cause,
    after: After,
}

/// Whatever fails without another word has changed nothing.
impl<C: Into<Cause>> From<C> for Failed {
    fn from(cause: C) -> Self {
        Self { cause: cause.into(), after: After::Unchanged }
    }
}

impl Failed {
    /// The failure of a change that lost its lock on the way, once that was taken again and the change settled
    /// as any other that was cut off: without the lock, nothing of it could be put back.
    fn settled_by(self, again: Result<Option<Earlier>, Self>) -> Self {
        let after = match again {
            Ok(Some(Earlier::Undone(limit))) => After::PutBack { limit },
            Ok(Some(earlier)) => After::Settled { earlier },
            // Whoever had the lock meanwhile has settled it.
            Ok(None) => After::Unchanged,
            Err(Self { cause: Cause::Gone, .. }) => return Cause::Gone.into(),
            Err(again) => {
                warn!(error = %chain(&again.cause), "the lock was not to be had again");
                self.after
            }
        };
        Self { after, ..self }
    }

    fn of(self, domain: Option<Domain>) -> Failure {
        Failure { domain, cause: self.cause, after: self.after }
    }
}

/// A domain whose lock is held: nobody who respects libxl's lock changes it meanwhile.
struct Held<'h, H: Host> {
    host: &'h H,
    store: &'h H::Store,
    nodes: Nodes,
    intent: IntentFile,
    domain: Domain,
    info: DomainInfo,
    lock: Lock,
}

impl<'h, H: Host> Held<'h, H> {
    /// Takes the lock, then makes sure that it still is the lock of a living domain.
    fn take(
        host: &'h H,
        store: &'h H::Store,
        domain: &Domain,
        timeout: Duration,
        signals: &HoldOff,
    ) -> Result<Self, Failed> {
        let identity = domain.identity;
        let lock = Lock::take(host.state_dir(), identity, timeout, signals)?;
        debug!(%domain, "locked");
        // A domid can have been given to another domain while the lock was waited for; libxl does not
        // look at the UUID.
        let info = match host.hypervisor().domain(identity.domid)? {
            Some(info) if info.identity == identity && !info.dying => info,
            _ => return Err(Cause::Gone.into()),
        };
        Ok(Self {
            host,
            store,
            nodes: Nodes::of(identity),
            intent: IntentFile::new(host.state_dir(), identity),
            domain: domain.clone(),
            info,
            lock,
        })
    }

    /// Reads all there is to know through `store`.
    fn read(&self, store: &impl Batch) -> Result<(Reading, Option<Name>), Cause> {
        let stored = self.nodes.read(store)?;
        if stored.is_empty() && self.domain.identity.domid.get() != 0 {
            // `xl destroy` empties xenstore before it takes the lock to destroy the domain.
            return Err(Cause::Gone);
        }
        let reading = Reading::of(self.info, &stored);
        Ok((reading, stored.name))
    }

    /// Starts a transaction and reads in it. That the reads are part of it is what protects against
    /// a writer without the lock, and against writing into a dead domain's path: both make the
    /// commit fail.
    fn open(&self) -> Result<Open<'_, 'h, H>, Failed> {
        let span = self.store.transaction()?;
        let (reading, name) = self.read(&span)?;
        Ok(Open { held: self, span, reading, name })
    }

    /// The least limit that the domain's target needs; none where it would have to be raised for a target
    /// that is the guest's own word.
    fn floor(&self, store: &impl Batch, reading: &Reading) -> Result<Kib, Cause> {
        let least = reading.least_limit();
        let is_its_word =
            least > self.info.limit && self.nodes.are_its_own(store, self.domain.identity.domid)?;
        Ok(if is_its_word { Kib(0) } else { least })
    }

    /// Says whether a killed run left something, and leaves it.
    fn unsettled(&self) -> Result<Option<Earlier>, Failed> {
        Ok(match self.intent.read()? {
            Found::Nothing => None,
            _ => Some(Earlier::Waiting(self.intent.path().to_owned())),
        })
    }

    /// Finishes or undoes what a killed run left.
    fn settle(&mut self) -> Result<Option<Earlier>, Failed> {
        let intent = match self.intent.read()? {
            Found::Nothing => return Ok(None),
            Found::Intent(intent) => intent,
            Found::Foreign { why } => {
                let aside = self.intent.set_aside()?;
                return Ok(Some(Earlier::Foreign(aside, why)));
            }
        };
        let (reading, _) = self.read(self.store)?;
        let floor = self.floor(self.store, &reading)?;
        let (limit, earlier) = settlement(&reading, floor, &intent);
        if limit != self.info.limit {
            self.set_limit(limit)?;
            self.info.limit = limit;
        }
        self.intent.remove()?;
        let earlier = earlier(limit);
        warn!(domain = %self.domain, "{earlier}");
        Ok(Some(earlier))
    }

    /// Whether the domain is to grow by more than the host has. It may be there in time: this is told,
    /// and forbids nothing.
    fn shortage(&self, plan: &Plan) -> Option<Note> {
        let missing = plan.wanted.minus(self.info.current).filter(|more| *more > TOLERANCE)?;
        if !plan.vm_memory {
            return None;
        }
        match self.host.hypervisor().host_memory() {
            Ok(memory) => {
                let available = memory.available();
                (available < missing).then_some(Note::HostShort { missing, available })
            }
            Err(error) => {
                debug!(domain = %self.domain, error = %chain(&error), "the host's free memory is not known");
                None
            }
        }
    }

    fn set_limit(&self, limit: Kib) -> Result<(), HypervisorError> {
        self.host.hypervisor().set_limit(self.domain.identity.domid, limit)
    }

    /// Whether the hypervisor says that this is the limit.
    fn has_limit(&self, limit: Kib) -> bool {
        let domain = self.host.hypervisor().domain(self.domain.identity.domid);
        domain.is_ok_and(|info| info.is_some_and(|info| info.limit == limit))
    }

    /// Sets the PoD target, where that means anything: with a device passed through, Xen refuses the
    /// call (ENOTEMPTY) also for a guest that has no populate-on-demand memory left.
    fn set_pod_target(&self, target: Kib) -> Result<(), HypervisorError> {
        let (hypervisor, domid) = (self.host.hypervisor(), self.domain.identity.domid);
        match hypervisor.set_pod_target(domid, target) {
            Err(error) if error.errno() == Some(Errno::NOTEMPTY) => {
                if hypervisor.pod(domid)?.entries > Kib(0) {
                    return Err(error);
                }
                debug!(domain = %self.domain, "no populate-on-demand memory, and a device: nothing to do");
            }
            result => {
                result?;
                debug!(domain = %self.domain, to = %target, "populate-on-demand target set");
            }
        }
        Ok(())
    }
}

/// A transaction, and what was read in it. Dropped, it is aborted.
struct Open<'a, 'h, H: Host> {
    held: &'a Held<'h, H>,
    span: Span<H>,
    reading: Reading,
    name: Option<Name>,
}

/// A transaction of a host's store.
type Span<H> = <<H as Host>::Store as XsTransaction>::Span;

impl<'a, 'h, H: Host> Open<'a, 'h, H> {
    /// The plan.
    fn plan(&self, wish: &Wish) -> Result<Plan, Cause> {
        believed(&self.held.nodes, &self.span, &self.reading, wish)
    }

    /// Everything but the commit. What fails is undone.
    fn carry_out(self, plan: Plan) -> Result<Ready<'a, 'h, H>, Failed> {
        let Self { held, span, reading, .. } = self;
        held.intent.write(plan.old, plan.goal())?;
        Half::new(held, plan, reading).prepare(span)
    }
}

/// A short rest, longer and more random each time, so that two that met do not meet again.
fn pause(attempt: u32) {
    let longest =
        Duration::from_millis(1_u64.checked_shl(attempt).unwrap_or(u64::MAX)).min(LONGEST_PAUSE);
    thread::sleep(longest.mul_f64(fastrand::f64()));
}

/// Three numbers, for the log.
struct Shown(Numbers);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Numbers { target, static_max, limit } = self.0;
        let node = |kib: Option<Kib>| kib.map_or_else(|| "none".to_owned(), |kib| kib.to_string());
        write!(f, "target {}, static-max {}, limit {limit}", node(target), node(static_max))
    }
}
