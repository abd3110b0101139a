//! The change: the steps that keep target and limit in step, in order.
//!
//! The types enforce the order. Only a locked domain gives out a transaction, and only its plan a pending change. A
//! pending change that is dropped is rolled back.
//!
//! libxl too holds the userdata lock over its transaction and the setmaxmem call (commit 5f33fa2bca of 2015). But it
//! leaves the limit changed if a later step fails. Here, any failure is rolled back before the lock is released.

mod held_off;
mod locked;
mod nudge;
mod pending;
mod planned;
mod transaction;

use std::fmt;
use std::thread;
use std::time::Duration;

use tracing::{debug, warn};
use xen::hypervisor::DomainInfo;
use xen::xenstore::Store;
use xen::{DomId, Host, Interrupt, Kib};

pub(crate) use self::held_off::HeldOff;
use self::locked::{Failed, LockedDomain, living};
pub use self::nudge::{Away, nudge_away, nudge_back};
use self::pending::Commit;
pub(crate) use self::planned::plan_among;
pub use self::planned::plan_on;
use crate::domain::{Domain, DomainRef, Name};
use crate::failure::{Aftermath, Cause, Failure, chain};
use crate::memory::{Memory, Numbers};
use crate::plan::{MemoryRequest, Note, Plan};
use crate::recovery::{LimitStep, Recovery};
use crate::resolve::{DomainIndex, ResolveError, by_domid, names, resolve};
use crate::state::State;

/// The number of tries of a change whose commit conflicts. oxenstored's test mode fails one commit in three: 16 in a
/// row is then less likely than 1 in 40 million.
const TRIES: u32 = 16;
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A request to change a domain's memory.
#[derive(Clone, Debug)]
pub struct ChangeRequest {
    /// The domain.
    pub domain: DomainRef,
    /// The new size or maximum.
    pub memory: MemoryRequest,
    /// Memory of the host that must stay free.
    pub keep_free: Option<KeepFree>,
    /// Stop after the plan, without taking the lock.
    pub dry_run: bool,
    /// The timeout for the domain's lock.
    pub lock_timeout: Duration,
}

/// Memory of the host that must stay free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepFree {
    /// The amount.
    pub size: Kib,
    /// Whether growth that other domains were granted and have not taken yet counts as not free. If the domain grows, this
    /// costs a list of all domains, and a batch of reads of their targets.
    pub counts_granted: bool,
}

/// A change that succeeded.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The domain.
    pub domain: Domain,
    /// Its state.
    pub state: State,
    /// Its state in the hypervisor before the change: read under the lock, unless nothing was to be changed.
    pub info: DomainInfo,
    /// The plan.
    pub plan: Plan,
    /// Whether the plan was carried out.
    pub status: ChangeStatus,
    /// The recovery from a killed run.
    pub recovery: Option<Recovery>,
    /// The limit before the run. A recovery, or a rollback after a conflict, can have changed it before the plan.
    pub first_limit: Kib,
}

impl Outcome {
    /// The numbers before the run.
    pub fn old(&self) -> Numbers {
        Numbers { limit: self.first_limit, ..self.plan.old }
    }

    /// Whether the run changed anything.
    pub fn is_change(&self) -> bool {
        self.status == ChangeStatus::Changed || self.old() != self.plan.old
    }
}

/// How a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeStatus {
    /// The change was made.
    Changed,
    /// Nothing had to change.
    Unchanged,
    /// Nothing was asked for: the domain was not touched, and its driver is not to be nudged.
    LeftAlone,
    /// It was only planned. The plan says whether it would change anything.
    DryRun,
}

/// Makes changes one after the other, over one connection to xenstore for as long as it lasts.
pub struct ChangeSession<'h> {
    host: &'h dyn Host,
    store: Option<Box<dyn Store>>,
}

impl fmt::Debug for ChangeSession<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeSession")
            .field("connected", &self.store.is_some())
            .finish_non_exhaustive()
    }
}

impl<'h> ChangeSession<'h> {
    /// A session without a connection.
    pub const fn new(host: &'h dyn Host) -> Self {
        Self { host, store: None }
    }

    /// Changes a domain's memory as `request` says, or leaves it as it was.
    ///
    /// `interrupt` can end it before step 6, with nothing changed. From there on it is finished or rolled back first.
    ///
    /// # Errors
    /// [`Failure`]: what stopped it, and the state that is left.
    pub fn change(
        &mut self,
        request: &ChangeRequest,
        interrupt: &dyn Interrupt,
    ) -> Result<Outcome, Failure> {
        // A change can succeed even though its connection broke.
        let store = match self.store.take().filter(|store| store.is_usable()) {
            Some(store) => store,
            None => self.host.connect().map_err(|error| {
                let known = match &request.domain {
                    DomainRef::Same(domain) => Some(domain.clone()),
                    _ => None,
                };
                Failure::unchanged(known, error)
            })?,
        };
        let change = Change { host: self.host, store: &*store, request, interrupt };
        let result = change.run();
        self.store = Some(store);
        result
    }
}

/// One change.
struct Change<'a> {
    host: &'a dyn Host,
    store: &'a dyn Store,
    request: &'a ChangeRequest,
    interrupt: &'a dyn Interrupt,
}

/// The domain, as far as it is known.
struct Subject {
    domain: Domain,
    /// The domain that receives it, if it is being migrated to this host.
    receiver: Option<DomId>,
    /// The size or maximum that the request asks for, in absolute terms.
    absolute: Option<Kib>,
    /// The recovery from a killed run.
    recovery: Option<Recovery>,
}

impl Subject {
    /// Records the absolute size of `request`, and adds the notes that the plan alone cannot have.
    fn note(&mut self, request: &MemoryRequest, plan: &mut Plan) {
        self.absolute = request.absolute(plan);
        if let (Some(to), false) = (self.receiver, plan.changes_nothing()) {
            plan.notes.push(Note::Migrating { to });
        }
        debug!(domain = %self.domain, old = %plan.old, new = %plan.new, "planned");
    }
}

impl Change<'_> {
    fn run(&self) -> Result<Outcome, Failure> {
        // 1. Which domain?
        let mut subject = self.resolve()?;
        let dry_run = self.request.dry_run;
        let result = if dry_run { self.preview(&mut subject) } else { self.locked(&mut subject) };
        result.map_err(|failed| {
            if subject.domain.name.is_none() {
                subject.domain.name = self.name(&subject.domain);
            }
            let Failed { cause, aftermath } = failed;
            let Subject { domain, absolute, recovery, .. } = subject;
            Failure { domain: Some(domain), cause, aftermath, recovery, absolute }
        })
    }

    fn resolve(&self) -> Result<Subject, Failure> {
        let wanted = &self.request.domain;
        let find = || -> Result<_, ResolveError> {
            if let DomainRef::Name(name) = wanted {
                let index = DomainIndex::read(self.host, self.store, [wanted])?;
                return Ok((index.find(wanted)?.0, index.receiver_of(name)));
            }
            Ok((resolve(self.host, self.store, wanted)?, None))
        };
        match find() {
            Ok((domain, receiver)) => {
                Ok(Subject { domain, receiver, absolute: None, recovery: None })
            }
            Err(error) => Err(match (wanted, error) {
                // It existed before.
                (DomainRef::Same(domain), ResolveError::NoSuchDomain { .. }) => {
                    Failure::unchanged(Some(domain.clone()), Cause::Gone)
                }
                (DomainRef::Same(domain), error) => Failure::unchanged(Some(domain.clone()), error),
                (_, error) => Failure::unchanged(None, error),
            }),
        }
    }

    /// The domain's name, for a message. The hypervisor is asked last: another domain may have taken over its domid.
    fn name(&self, domain: &Domain) -> Option<Name> {
        let name = names(self.store, &[domain.identity]).ok()?.pop()?;
        let same = DomainRef::Same(domain.clone());
        by_domid(self.host.hypervisor(), &same).ok()?.and(name)
    }

    fn locked(&self, subject: &mut Subject) -> Result<Outcome, Failed> {
        // 2. Its lock. 8. Dropping `locked` releases it.
        let mut locked = self.lock(&subject.domain)?;
        // 3. Recovery from a killed run.
        let recovered = locked.recover();
        subject.recovery = locked.recovery.take();
        recovered?;
        let before = locked.info.limit;
        self.attempts(&mut locked, subject).map_err(|failed| match failed.cause {
            Cause::LockLost => self.recover_again(subject, failed, before),
            _ => failed,
        })
    }

    /// The result that the change would have, read without the lock: a dry run waits for no lock.
    fn preview(&self, subject: &mut Subject) -> Result<Outcome, Failed> {
        let info = living(self.host, &subject.domain)?;
        let mut memory = Memory::read(self.store, info)?;
        Memory::read_reports(self.store, std::slice::from_mut(&mut memory))?;
        subject.domain.name.clone_from(&memory.name);
        let ChangeRequest { memory: request, keep_free, .. } = &self.request;
        let mut plan = plan_on(self.host, self.store, self.store, &memory, request, *keep_free)?;
        subject.note(request, &mut plan);
        let recovery = Recovery::pending(self.host.state_dir(), subject.domain.identity)?;
        let (domain, state) = (subject.domain.clone(), State::on(self.host, &memory));
        let status = ChangeStatus::DryRun;
        Ok(Outcome { domain, state, info, plan, status, recovery, first_limit: info.limit })
    }

    fn lock(&self, domain: &Domain) -> Result<LockedDomain<'_>, Failed> {
        LockedDomain::take(self.host, self.store, domain, self.request.lock_timeout, self.interrupt)
    }

    /// The failure of a change that lost its lock. Without the lock nothing could be rolled back; so the lock is taken
    /// again and the change recovered, as after a kill. Its limit was once `before`.
    fn recover_again(&self, subject: &mut Subject, failed: Failed, before: Kib) -> Failed {
        let again = self.lock(&subject.domain).and_then(|mut again| {
            again.recover()?;
            Ok(again.recovery.take())
        });
        let aftermath = match again {
            Ok(Some(Recovery::RolledBack(step) | Recovery::Superseded(step))) => {
                Aftermath::RolledBack { limit: step.to, before }
            }
            // A change of the limit alone: it was made by this run.
            Ok(Some(Recovery::Completed(step))) => {
                let step = LimitStep { from: before, ..step };
                subject.recovery = Some(Recovery::Completed(step));
                Aftermath::Unchanged
            }
            Ok(recovery) => {
                // None: another process held the lock meanwhile, and has recovered it.
                subject.recovery = recovery.or_else(|| subject.recovery.take());
                Aftermath::Unchanged
            }
            Err(Failed { cause, .. }) if cause.is_gone() => return cause.into(),
            Err(again) => {
                warn!(error = %chain(&again.cause), "cannot take the lost lock again");
                failed.aftermath
            }
        };
        Failed { aftermath, ..failed }
    }

    /// Steps 4 to 7, repeated after conflicts.
    fn attempts(
        &self,
        locked: &mut LockedDomain<'_>,
        subject: &mut Subject,
    ) -> Result<Outcome, Failed> {
        let before = locked.info.limit;
        // The state after the last conflict.
        let mut left = Aftermath::Unchanged;
        for attempt in 1..=TRIES {
            match self
                .attempt(locked, subject, attempt > 1)
                .map_err(|failed| failed.after(&left, before))?
            {
                Attempt::Ended(outcome) => return Ok(*outcome),
                Attempt::Conflict(aftermath) => left = aftermath,
            }
            locked.domain.name.clone_from(&subject.domain.name);
            pause(attempt);
        }
        Err(Failed::from(Cause::Conflicts { tries: TRIES }).after(&left, before))
    }

    fn attempt(
        &self,
        locked: &LockedDomain<'_>,
        subject: &mut Subject,
        is_retry: bool,
    ) -> Result<Attempt, Failed> {
        // 4. A transaction and its reads.
        let open = locked.open(&self.request.memory, is_retry)?;
        subject.domain.name.clone_from(&open.memory.name);
        let (state, info) = (State::on(self.host, &open.memory), open.memory.info);
        // 5. The plan.
        let mut planned = open.plan(&self.request.memory, self.request.keep_free)?;
        subject.note(&self.request.memory, &mut planned.plan);
        let outcome = |plan: Plan, status| {
            let (domain, recovery) = (subject.domain.clone(), subject.recovery.clone());
            let first_limit = locked.first_limit;
            let outcome = Outcome { domain, state, info, plan, status, recovery, first_limit };
            Attempt::Ended(Box::new(outcome))
        };
        if planned.plan.changes_nothing() {
            return Ok(outcome(planned.plan, ChangeStatus::Unchanged));
        }
        // The last moment at which an interrupt ends the run with nothing changed.
        if self.interrupt.pending() {
            return Err(Cause::Interrupted.into());
        }
        // 6. Intent, writes, limit, PoD target. 7. Commit.
        Ok(match planned.prepare()?.commit()? {
            Commit::Done(plan) => outcome(plan, ChangeStatus::Changed),
            Commit::Conflict(aftermath) => Attempt::Conflict(aftermath),
        })
    }
}

/// The end of one try.
enum Attempt {
    Ended(Box<Outcome>),
    /// Another program's commit came first. The state after rolling back.
    Conflict(Aftermath),
}

impl Failed {
    /// The failure of a later try, with the state in which the earlier ones `left` a limit that was once `before`.
    fn after(self, left: &Aftermath, before: Kib) -> Self {
        let aftermath = match (self.aftermath, left) {
            // A domain that is gone has no limit.
            (Aftermath::Unchanged, _) if self.cause.is_gone() => Aftermath::Unchanged,
            (Aftermath::Unchanged, left) => left.clone(),
            (aftermath, _) => aftermath,
        };
        let aftermath = match aftermath {
            Aftermath::RolledBack { limit, .. } => Aftermath::RolledBack { limit, before },
            aftermath => aftermath,
        };
        Self { aftermath, ..self }
    }
}

/// A pause that grows with each try and is random, so that two changes that conflicted do not conflict again. The lock
/// is held meanwhile: in [`Interrupt::sleep`], SIGTSTP could stop the process for any time.
fn pause(attempt: u32) {
    let longest =
        Duration::from_millis(1_u64.checked_shl(attempt).unwrap_or(u64::MAX)).min(LONGEST_PAUSE);
    thread::sleep(longest.mul_f64(fastrand::f64()));
}
