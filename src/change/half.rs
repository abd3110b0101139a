//! A change that is half made: written in its transaction, with the new limit set, and then committed
//! or put back.
//!
//! Owns what happens between the intent and its end. Whatever fails here leaves things as they were, or
//! says that it could not.

use std::io;

use tracing::{debug, error, warn};

use super::{Failed, Held, Span};
use crate::error::{After, Cause, chain};
use crate::host::Host;
use crate::intent::Numbers;
use crate::plan::{Plan, Reading};
use crate::settle::Stand;
use crate::size::Kib;
use crate::xenstore::{Answer, Batch as _, StoreError, XsTransactionSpan as _};

/// A change that only wants its commit.
pub(super) struct Ready<'a, 'h, H: Host> {
    half: Half<'a, 'h, H>,
    span: Span<H>,
}

/// A change that is half made: nothing of it is visible in xenstore, and the limit may be the new one
/// already. Dropped, it is undone.
pub(super) struct Half<'a, 'h, H: Host> {
    held: &'a Held<'h, H>,
    plan: Plan,
    reading: Reading,
    limit_touched: bool,
    settled: bool,
}

/// What became of a commit.
pub(super) enum Commit {
    Done(Plan),
    /// Somebody without the lock was first. This is the limit that was left.
    Conflict {
        limit: Kib,
    },
}

impl<H: Host> Ready<'_, '_, H> {
    /// Makes it visible, or puts it back.
    pub(super) fn commit(self) -> Result<Commit, Failed> {
        let Self { mut half, span } = self;
        let Err(error) = span.commit() else { return Ok(Commit::Done(half.finish())) };
        match StoreError::of(&error) {
            Some(StoreError::Answered { answer: Answer::Again, .. }) => {
                let limit = half.give_way()?;
                debug!(domain = %half.held.domain, %limit, "conflict at the commit; put back");
                Ok(Commit::Conflict { limit })
            }
            // It was never sent.
            Some(StoreError::Unsendable { .. } | StoreError::Unusable { .. }) => {
                Err(half.undo(error.into()))
            }
            // It may answer yet, and nobody knows when: there is no use in asking it.
            Some(StoreError::Deadline { .. }) => Err(half.unknown(error.into())),
            _ => half.find_out(error),
        }
    }
}

impl<'a, 'h, H: Host> Half<'a, 'h, H> {
    /// Nothing of it is made yet.
    pub(super) const fn new(held: &'a Held<'h, H>, plan: Plan, reading: Reading) -> Self {
        Self { held, plan, reading, limit_touched: false, settled: false }
    }

    /// Everything but the commit, in `span`. What fails is undone.
    pub(super) fn prepare(mut self, span: Span<H>) -> Result<Ready<'a, 'h, H>, Failed> {
        match self.write(&span) {
            Ok(()) => Ok(Ready { half: self, span }),
            Err(cause) => {
                drop(span);
                Err(self.undo(cause))
            }
        }
    }

    /// Writes what `plan` says, and sets its limits. The writes are acknowledged before the limit is touched.
    fn write(&mut self, span: &Span<H>) -> Result<(), Cause> {
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
            if self.lock_is_lost() {
                let why = format!("without the lock, the old limit of {limit} was not put back");
                return Err(self.out_of_step(Cause::LockLost, None, why));
            }
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
            let floor = self.held.floor(self.held.store, &theirs).unwrap_or_default();
            self.plan.old.limit = self.plan.old.limit.max(floor);
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
        if self.lock_is_lost() {
            return self.out_of_step(Cause::LockLost, None, why);
        }
        match self.held.set_limit(limit) {
            Ok(()) => self.out_of_step(cause, Some(limit), why),
            Err(error) => self.out_of_step(cause, None, format!("{why}, and {}", chain(&error))),
        }
    }

    /// Whoever has it now may have set a limit of their own, for a target of their own: none is set over it.
    fn lock_is_lost(&self) -> bool {
        matches!(self.held.lock.still_held(), Ok(false))
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

impl<H: Host> Drop for Half<'_, '_, H> {
    fn drop(&mut self) {
        if !self.settled
            && let Err(failed) = self.put_back()
        {
            error!(domain = %self.held.domain, "{}", chain(&failed.cause));
        }
    }
}
