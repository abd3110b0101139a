//! The change: how target and limit are kept in step, from top to bottom.
//!
//! Owns the order of things, and nothing else: what is written comes from [`plan`], how a lock is
//! taken from [`lock`](crate::lock). The types keep the order: only a held domain gives out a
//! transaction, only a reading a plan, only a plan a change; and a change that is dropped is undone.
//!
//! What libxl does, and where this goes further: libxl holds the userdata lock over its transaction
//! and the setmaxmem call as well (commit 5f33fa2bca of 2015), but leaves the limit changed when
//! anything fails after it. Here, whatever fails is put back before the lock is released.

mod nudge;

use std::fmt;
use std::io;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use tracing::{debug, error, warn};

pub use self::nudge::nudge;
use crate::domain::{Domain, DomainRef, Name};
use crate::error::{After, Cause, Failure, chain};
use crate::host::Host;
use crate::hypervisor::{DomainInfo, Hypervisor as _, HypervisorError};
use crate::intent::{Found, IntentFile, Numbers};
use crate::lock::Lock;
use crate::nodes::{Nodes, Stored, name_path};
use crate::plan::{Note, Plan, Reading, TOLERANCE, Wish, plan};
use crate::resolve::resolve;
use crate::settle::{Earlier, Stand, settlement};
use crate::signals::{HoldOff, Signals};
use crate::size::Kib;
use crate::xenstore::{Answer, Batch, StoreError, Xs as _, XsTransaction, XsTransactionSpan as _};

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
    // 1. Which domain?
    let store = host.connect().map_err(|error| Failed::from(error).of(None))?;
    let mut domain = resolve(&store, host.hypervisor(), &request.domain)
        .map_err(|error| Failed::from(error).of(None))?;
    locked_change(host, &store, request, &mut domain, signals).map_err(|failed| {
        if domain.name.is_none() {
            // Only for the message: that it has no name is as good.
            domain.name =
                store.read(&name_path(domain.identity.domid)).ok().map(|name| Name(name.into()));
        }
        failed.of(Some(domain))
    })
}

/// What `wish` would come to for a domain as it is now, read without a lock: for a look ahead, never
/// for writing.
///
/// # Errors
/// [`Failure`]: what would stop it, as far as can be seen.
pub fn preview<H: Host>(
    host: &H,
    store: &H::Store,
    domain: &DomainRef,
    wish: &Wish,
) -> Result<(Domain, DomainInfo, Plan), Failure> {
    let mut domain =
        resolve(store, host.hypervisor(), domain).map_err(|error| Failed::from(error).of(None))?;
    let read = || -> Result<(DomainInfo, Stored), Cause> {
        let info = host.hypervisor().domain(domain.identity.domid)?.ok_or(Cause::Gone)?;
        Ok((info, Nodes::of(domain.identity).read(store)?))
    };
    let (info, stored) = match read() {
        Ok(read) => read,
        Err(cause) => return Err(Failed::from(cause).of(Some(domain))),
    };
    domain.name.clone_from(&stored.name);
    match plan(&Reading::of(info, &stored), wish) {
        Ok(plan) => Ok((domain, info, plan)),
        Err(refusal) => Err(Failed::from(Cause::Refused(refusal)).of(Some(domain))),
    }
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
    // What was settled stays settled, also when the change itself does not come about.
    let done = attempts(&mut held, request, domain, signals, earlier.as_ref());
    done.map_err(|failed| match earlier {
        Some(earlier) if failed.after == After::Unchanged && !request.dry_run => {
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
        let mut plan = plan(&open.reading, &request.wish).map_err(Cause::Refused)?;
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
        let (limit, earlier) = settlement(&reading, &intent);
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
    /// Everything but the commit. What fails is undone.
    fn carry_out(self, plan: Plan) -> Result<Ready<'a, 'h, H>, Failed> {
        let Self { held, span, reading, .. } = self;
        held.intent.write(plan.old, plan.goal())?;
        let mut change = Change { held, plan, reading, limit_touched: false, settled: false };
        match change.prepare(&span) {
            Ok(()) => Ok(Ready { change, span }),
            Err(cause) => {
                drop(span);
                Err(change.undo(cause))
            }
        }
    }
}

/// A change that only wants its commit.
struct Ready<'a, 'h, H: Host> {
    change: Change<'a, 'h, H>,
    span: Span<H>,
}

/// A change that is half made: nothing of it is visible in xenstore, and the limit may be the new one
/// already. Dropped, it is undone.
struct Change<'a, 'h, H: Host> {
    held: &'a Held<'h, H>,
    plan: Plan,
    reading: Reading,
    limit_touched: bool,
    settled: bool,
}

/// What became of a commit.
enum Commit {
    Done(Plan),
    /// Somebody without the lock was first. This is the limit that was left.
    Conflict {
        limit: Kib,
    },
}

impl<H: Host> Ready<'_, '_, H> {
    /// Makes it visible, or puts it back.
    fn commit(self) -> Result<Commit, Failed> {
        let Self { mut change, span } = self;
        let Err(error) = span.commit() else { return Ok(Commit::Done(change.finish())) };
        match StoreError::of(&error) {
            Some(StoreError::Answered { answer: Answer::Again, .. }) => {
                let limit = change.give_way()?;
                debug!(domain = %change.held.domain, %limit, "conflict at the commit; put back");
                Ok(Commit::Conflict { limit })
            }
            // It was never sent.
            Some(StoreError::Unsendable { .. } | StoreError::Unusable { .. }) => {
                Err(change.undo(error.into()))
            }
            // It may answer yet, and nobody knows when: there is no use in asking it.
            Some(StoreError::Deadline { .. }) => Err(change.unknown(error.into())),
            _ => change.find_out(error),
        }
    }
}

impl<H: Host> Change<'_, '_, H> {
    /// The writes are acknowledged before the limit is touched.
    fn prepare(&mut self, span: &Span<H>) -> Result<(), Cause> {
        let Self { held, plan, .. } = self;
        let new = plan.goal();
        let changed = |old: Option<Kib>, new: Option<Kib>| if old == new { None } else { new };
        let Numbers { target, static_max, .. } = plan.old;
        let only_limit = (target, static_max) == (new.target, new.static_max);
        let writes = held.nodes.writes(
            // `set` writes its target even if it is the same, as libxl does; and so does a change of the
            // limit alone, so that it meets any other writer of the target at its commit.
            if plan.vm_memory || only_limit {
                new.target
            } else {
                changed(plan.old.target, new.target)
            },
            changed(plan.old.static_max, new.static_max),
            plan.vm_memory.then_some(plan.target),
        );
        let writes: Vec<(&str, &str)> =
            writes.iter().map(|(path, value)| (*path, value.as_str())).collect();
        span.write_each(&writes)?;
        debug!(domain = %held.domain, ?writes, "written in the transaction");

        // From here on, until it is known otherwise: a call that fails may have had its effect.
        self.limit_touched = true;
        held.set_limit(plan.limit)?;
        debug!(domain = %held.domain, from = %plan.old.limit, to = %plan.limit, "limit set");
        if let Some(pod) = plan.pod {
            held.set_pod_target(pod)?;
        }
        if held.lock.still_held().map_err(|source| Cause::Os { what: "the lock", source })? {
            Ok(())
        } else {
            Err(Cause::LockLost)
        }
    }

    /// The connection died during the commit, or the daemon's answer was neither yes nor a conflict
    /// (oxenstored says EIO to whatever it stumbled over, also after it has committed). A daemon takes
    /// what a connection has sent before it reads from one that is made later, so a new connection
    /// sees how it ended.
    fn find_out(mut self, error: io::Error) -> Result<Commit, Failed> {
        warn!(domain = %self.held.domain, %error, "no clear answer to the commit; looking what came of it");
        let stored = self
            .held
            .host
            .connect()
            .map_err(Cause::from)
            .and_then(|store| Ok(self.held.nodes.read(&store)?));
        let stored = match stored {
            Ok(stored) => stored,
            Err(again) => {
                warn!(domain = %self.held.domain, error = %chain(&again), "no answer");
                return Err(self.unknown(error.into()));
            }
        };
        self.reading.target = stored.target;
        self.reading.static_max = stored.static_max;
        match Stand::of(&self.reading, self.plan.old, self.plan.goal()) {
            Stand::New => Ok(Commit::Done(self.finish())),
            Stand::Old => Err(self.undo(error.into())),
            Stand::Neither => Err(self.unknown(error.into())),
        }
    }

    /// It stands. The intent goes.
    fn finish(&mut self) -> Plan {
        self.settled = true;
        debug!(domain = %self.held.domain, "committed");
        self.remove_intent();
        self.plan.clone()
    }

    /// Puts it back, because of `cause`.
    fn undo(mut self, cause: Cause) -> Failed {
        match self.put_back() {
            Ok(after) => Failed { cause, after },
            Err(failed) => failed,
        }
    }

    /// Sets the limit that was there. The transaction is over, or aborted, by now.
    ///
    /// The PoD target is not set again: the hypervisor only ever grows a PoD cache
    /// (`p2m_pod_set_mem_target`, `xen/arch/x86/mm/p2m-pod.c`), so the call would do nothing, and what
    /// was added stays until the guest uses it or balloons down.
    fn put_back(&mut self) -> Result<After, Failed> {
        self.settled = true;
        let limit = self.plan.old.limit;
        let after = if self.limit_touched {
            match self.held.set_limit(limit).map_err(Cause::from) {
                Ok(()) => After::PutBack { limit },
                // What is gone needs no limit, and what was refused from the start is as it was.
                Err(Cause::Gone) => After::Unchanged,
                Err(_) if self.held.has_limit(limit) => After::Unchanged,
                Err(cause) => {
                    let why = format!("the old limit of {limit} could not be put back");
                    return Err(self.out_of_step(cause, None, why));
                }
            }
        } else {
            After::Unchanged
        };
        self.remove_intent();
        Ok(after)
    }

    /// Puts it back after somebody else's commit, who may have set a limit of their own meanwhile, for a
    /// target of their own: what is put back is not below what that target needs.
    fn give_way(&mut self) -> Result<Kib, Failed> {
        // What cannot be read now will not be read at the next try either, and is told then.
        if let Ok(stored) = self.held.nodes.read(self.held.store) {
            let theirs = Reading { target: stored.target, video: stored.video, ..self.reading };
            self.plan.old.limit = self.plan.old.limit.max(theirs.least_limit());
        }
        self.put_back()?;
        Ok(self.plan.old.limit)
    }

    /// Nobody knows whether it stands. The larger limit is left in place, under which the guest can
    /// live with either target, and the intent, by which the next run finds out.
    fn unknown(mut self, cause: Cause) -> Failed {
        self.settled = true;
        let limit = self.plan.old.limit.max(self.plan.limit);
        let why =
            format!("whether the new target of {} was committed is not known", self.plan.target);
        match self.held.set_limit(limit) {
            Ok(()) => self.out_of_step(cause, Some(limit), why),
            Err(error) => self.out_of_step(cause, None, format!("{why}, and {}", chain(&error))),
        }
    }

    fn out_of_step(&self, cause: Cause, limit: Option<Kib>, why: String) -> Failed {
        let intent = self.held.intent.path().to_owned();
        Failed { cause, after: After::OutOfStep { limit, why, intent } }
    }

    /// An intent that stays behind a change that has ended is harmless, since the store shows one of
    /// its sides; but it should not be.
    fn remove_intent(&self) {
        if let Err(error) = self.held.intent.remove() {
            warn!(domain = %self.held.domain, "{}; the next xmem will", chain(&error));
        }
    }
}

impl<H: Host> Drop for Change<'_, '_, H> {
    fn drop(&mut self) {
        if !self.settled
            && let Err(failed) = self.put_back()
        {
            error!(domain = %self.held.domain, "{}", chain(&failed.cause));
        }
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
