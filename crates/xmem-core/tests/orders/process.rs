//! One run of xmem: its calls, their failures, and its result.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use xen::hypervisor::Hypervisor;
use xen::userdata::FileName;
use xen::xenstore::{Store, StoreError};
use xen::{Host, Interrupt};
use xmem_core::change::{ChangeRequest, ChangeSession};
use xmem_core::domain::DomainRef;
use xmem_core::failure::{Aftermath, Cause};
use xmem_core::plan::MemoryRequest;
use xmem_sim::{Call, Fault, Faults, Observer, SimHost, Verdict};

use crate::injection::{CallType, FailureMode, Injection};
use crate::kill_switch::KillSwitch;
use crate::shared::{SharedHost, identity};

/// The result of a run, as it reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The change was made, or needless.
    Done,
    /// Refused; nothing changed.
    Refused,
    /// Failed; nothing changed, or rolled back.
    Undone,
    /// Out of step, or unknown.
    Unknown,
    /// Killed.
    Killed,
}

/// A run that is over.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) ended: Ended,
    /// All its calls.
    pub(crate) calls: Vec<CallType>,
    /// The number of its injections that happened.
    pub(crate) injections: usize,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Holds {
    #[default]
    NotYet,
    Now,
    NoMore,
}

/// A run.
struct Process {
    shared: Arc<SharedHost>,
    who: usize,
    dir: PathBuf,
    injections: Vec<Injection>,
    kill_switch: KillSwitch,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    calls: Vec<CallType>,
    happened: usize,
    holds: Holds,
    gone: bool,
    killed_after: bool,
}

/// Run number `who` on `shared`: a change to `memory`, with `injections`.
pub(crate) fn run(
    shared: &Arc<SharedHost>,
    who: usize,
    memory: MemoryRequest,
    injections: &[Injection],
) -> Report {
    let process = Arc::new(Process {
        shared: Arc::clone(shared),
        who,
        dir: shared.dir(who),
        injections: injections.to_vec(),
        kill_switch: KillSwitch::default(),
        progress: Mutex::default(),
    });
    let faults = Faults::from_iter([Fault::GuestIgnores]);
    let sim = SimHost::in_memory(&shared.world, &process.dir, faults);
    let observer: Arc<dyn Observer> = Arc::<Process>::clone(&process);
    let host = ProcessHost { sim: sim.observed_by(observer), process: Arc::clone(&process) };
    let request = ChangeRequest {
        domain: DomainRef::Id(identity().domid),
        memory,
        keep_free: None,
        dry_run: false,
        // A change that must wait for the file has not waited for its mirror.
        lock_timeout: Duration::ZERO,
    };
    let result = process.kill_switch.run(|| ChangeSession::new(&host).change(&request, &Patient));
    let ended = match result {
        None => Ended::Killed,
        Some(Ok(_)) => Ended::Done,
        Some(Err(failure)) => match (failure.cause, failure.aftermath) {
            (_, Aftermath::OutOfStep { .. }) => Ended::Unknown,
            (cause @ (Cause::Lock(_) | Cause::LockLost), _) => panic!("{cause}"),
            (cause, Aftermath::Unchanged | Aftermath::RolledBack { .. }) => match cause {
                Cause::Refused(_) => Ended::Refused,
                _ => Ended::Undone,
            },
            (cause, aftermath) => panic!("{cause}: {aftermath:?}"),
        },
    };
    process.follow_the_lock();
    let progress = process.progress();
    Report { ended, calls: progress.calls.clone(), injections: progress.happened }
}

impl Process {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap()
    }

    /// Releases the mirror once the lock's file is gone.
    fn follow_the_lock(&self) {
        let file = FileName::lock(identity()).in_dir(&self.dir);
        let holds = self.progress().holds;
        if holds == Holds::Now && (self.kill_switch.is_killed() || !file.exists()) {
            self.progress().holds = Holds::NoMore;
            self.shared.release();
        }
    }
}

impl Observer for Process {
    /// Lets other changes run, then makes the call without another switch.
    fn before(&self, call: &Call<'_>) -> Verdict {
        let kind = CallType::of(call);
        if self.kill_switch.is_killed() {
            return Verdict::Fail(kind.lost());
        }
        self.follow_the_lock();
        self.shared.switch(self.who);
        let at = self.progress().calls.len();
        self.progress().calls.push(kind.clone());
        let Some(injection) = self.injections.iter().find(|it| it.at == at && it.kind == kind)
        else {
            let gone = self.progress().gone;
            return if gone { Verdict::Fail(kind.lost()) } else { Verdict::Proceed };
        };
        self.progress().happened += 1;
        match injection.mode.clone() {
            FailureMode::Fails(failure) => Verdict::Fail(failure),
            FailureMode::DoneAndFails(failure) => Verdict::ProceedAndFail(failure),
            FailureMode::Gone { done } => {
                self.progress().gone = true;
                if done { Verdict::ProceedAndFail(kind.lost()) } else { Verdict::Fail(kind.lost()) }
            }
            FailureMode::Killed { done: false } => self.kill_switch.kill(&self.dir),
            FailureMode::Killed { done: true } => {
                self.progress().killed_after = true;
                Verdict::Proceed
            }
        }
    }

    fn after(&self, _: &Call<'_>) {
        let killed = self.progress().killed_after;
        if killed && !self.kill_switch.is_killed() {
            self.kill_switch.kill(&self.dir);
        }
    }
}

/// The host of one run.
struct ProcessHost {
    sim: SimHost,
    process: Arc<Process>,
}

impl Host for ProcessHost {
    fn connect(&self) -> Result<Box<dyn Store>, StoreError> {
        self.sim.connect()
    }

    fn hypervisor(&self) -> &dyn Hypervisor {
        self.sim.hypervisor()
    }

    /// Called when the lock is about to be taken: the moment to take its mirror.
    fn state_dir(&self) -> &Path {
        let holds = self.process.progress().holds;
        if holds == Holds::NotYet {
            self.process.shared.take(self.process.who);
            self.process.progress().holds = Holds::Now;
        }
        self.sim.state_dir()
    }
}

/// Never interrupts and never sleeps: the explorer decides which change runs.
struct Patient;

impl Interrupt for Patient {
    fn pending(&self) -> bool {
        false
    }

    fn sleep(&self, _: Duration) -> bool {
        false
    }
}
