//! One run of xmem: the calls that it makes, what goes wrong with them, and how it ends.
//!
//! Owns the death of a run. A killed one cleans nothing up: from its death on no call of it has an
//! effect, and its folder is, when its stack has been unwound, as it was when it died. The kernel
//! unlocks the file that it had locked.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use xmem::change::{Request, change};
use xmem::domain::DomainRef;
use xmem::error::{After, Cause};
use xmem::lock;
use xmem::plan::Wish;
use xmem::signals::Signals;

use crate::host::ProcessHost;
use crate::mishap::{Call, How, Mishap, Trouble};
use crate::stage::Stage;
use crate::world::World;

/// How a run ended, by its own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It is done, or was so already.
    Done,
    /// Refused: it changed nothing.
    Refused,
    /// It failed, and changed nothing or put it back.
    Undone,
    /// It could not put it back, or does not know.
    Doubt,
    /// Killed.
    Died,
}

/// What a run tells when it is over.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) ended: Ended,
    /// All calls that it made.
    pub(crate) calls: Vec<Call>,
    /// How many of its mishaps came about.
    pub(crate) mishaps: usize,
}

/// What a dead run's stack is unwound with.
struct Died;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    NotYet,
    Now,
    NoMore,
}

/// A run.
pub(crate) struct Process {
    stage: Arc<Stage>,
    who: usize,
    folder: PathBuf,
    mishaps: Vec<Mishap>,
    happened: Cell<usize>,
    calls: RefCell<Vec<Call>>,
    holds: Cell<Holds>,
    gone: Cell<bool>,
    dead: Cell<bool>,
    /// The files that it left when it died.
    left: RefCell<BTreeMap<PathBuf, Vec<u8>>>,
}

impl Process {
    /// The run number `who` on `stage`: a change as `wish` says, with `mishaps`, from beginning to end.
    pub(crate) fn run(stage: &Arc<Stage>, who: usize, wish: &Wish, mishaps: &[Mishap]) -> Report {
        let process = Rc::new(Self {
            stage: Arc::clone(stage),
            who,
            folder: stage.folder(who),
            mishaps: mishaps.to_vec(),
            happened: Cell::new(0),
            calls: RefCell::default(),
            holds: Cell::new(Holds::NotYet),
            gone: Cell::new(false),
            dead: Cell::new(false),
            left: RefCell::default(),
        });
        let host = ProcessHost::new(&process);
        let request = Request {
            domain: DomainRef::Id(World::identity().domid),
            wish: *wish,
            dry_run: false,
            // Whoever has to wait for the file has not waited for its mirror.
            lock_timeout: Duration::ZERO,
        };
        let result =
            catch_unwind(AssertUnwindSafe(|| change(&host, &request, &mut Signals::default())));
        let ended = match result {
            Ok(Ok(_)) => Ended::Done,
            Ok(Err(failure)) => match (failure.cause, failure.after) {
                (_, After::OutOfStep { .. }) => Ended::Doubt,
                (Cause::Refused(_), After::Unchanged | After::Settled { .. }) => Ended::Refused,
                (cause @ (Cause::Lock(_) | Cause::LockLost), _) => panic!("{cause}"),
                (_, After::Unchanged | After::PutBack { .. } | After::Settled { .. }) => {
                    Ended::Undone
                }
                (cause, after) => panic!("{cause}: {after:?}"),
            },
            Err(payload) if payload.is::<Died>() => {
                process.bury();
                Ended::Died
            }
            Err(payload) => resume_unwind(payload),
        };
        process.follow_the_lock();
        let calls = process.calls.borrow().clone();
        Report { ended, calls, mishaps: process.happened.get() }
    }

    /// One call to the host: a moment for others, and then, at once, what it does.
    pub(crate) fn call<R>(
        &self,
        call: Call,
        act: impl FnOnce(&mut World) -> R,
    ) -> Result<R, Trouble> {
        if self.dead.get() {
            return Err(Trouble::Closed);
        }
        self.follow_the_lock();
        self.stage.switch(self.who);
        let at = self.calls.borrow().len();
        self.calls.borrow_mut().push(call);
        let fits = |mishap: &&Mishap| (mishap.at, mishap.call) == (at, call);
        let Some(mishap) = self.mishaps.iter().find(fits) else {
            return if self.gone.get() { Err(Trouble::Closed) } else { Ok(self.stage.act(act)) };
        };
        self.happened.set(self.happened.get() + 1);
        let (done, trouble) = match mishap.how {
            How::Fails(trouble) => (false, trouble),
            How::DoneAndFails(trouble) => (true, trouble),
            How::Gone { done } | How::Dies { done } => (done, Trouble::Closed),
        };
        if done {
            self.stage.act(act);
        }
        match mishap.how {
            How::Dies { .. } => self.die(),
            How::Gone { .. } => self.gone.set(true),
            How::Fails(_) | How::DoneAndFails(_) => {}
        }
        Err(trouble)
    }

    /// The state folder. It is asked for when the lock is to be taken, which is the time to take the
    /// mirror of it.
    pub(crate) fn state_dir(&self) -> &PathBuf {
        if self.holds.get() == Holds::NotYet {
            self.stage.take(self.who);
            self.holds.set(Holds::Now);
        }
        &self.folder
    }

    /// Gives the mirror back when the lock is not held any more, which shows in its file.
    fn follow_the_lock(&self) {
        let file = lock::path(&self.folder, World::identity());
        if self.holds.get() == Holds::Now && (self.dead.get() || !file.exists()) {
            self.holds.set(Holds::NoMore);
            self.stage.give_back();
        }
    }

    fn die(&self) -> ! {
        let files = fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path());
        *self.left.borrow_mut() =
            files.map(|file| (file.clone(), fs::read(&file).unwrap())).collect();
        self.dead.set(true);
        resume_unwind(Box::new(Died))
    }

    /// Makes the folder what it was when the run died. Nobody else has run since.
    fn bury(&self) {
        for (file, content) in self.left.take() {
            fs::write(file, content).unwrap();
        }
    }
}
