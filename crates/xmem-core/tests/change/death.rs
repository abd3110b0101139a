//! A process that is killed at one of its calls: it makes no other, and cleans nothing up.
//!
//! Its stack is unwound, so that its descriptors are closed as the kernel closes a dead process's, and whatever its
//! destructors do is undone: their calls have no effect, and the state directory becomes what it was at the death.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What a dead process's stack is unwound with.
struct Killed;

/// The files that a process left when it was killed; `None` while it lives.
#[derive(Clone, Default)]
pub(crate) struct Corpse(Arc<Mutex<Option<BTreeMap<PathBuf, Vec<u8>>>>>);

impl Corpse {
    /// Kills the process that works in `dir`.
    pub(crate) fn kill(&self, dir: &Path) -> ! {
        let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let left = files.map(|file| (file.clone(), fs::read(file).unwrap())).collect();
        *self.0.lock().unwrap() = Some(left);
        resume_unwind(Box::new(Killed))
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Runs a process that may be killed. `None`: it was.
    pub(crate) fn run<R>(&self, process: impl FnOnce() -> R) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(process)) {
            Ok(result) => Some(result),
            Err(payload) if payload.is::<Killed>() => {
                for (file, content) in self.0.lock().unwrap().iter().flatten() {
                    fs::write(file, content).unwrap();
                }
                None
            }
            Err(payload) => resume_unwind(payload),
        }
    }
}
