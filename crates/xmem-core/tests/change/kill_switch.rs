//! A process that is killed at one of its calls: it makes no further call and cleans nothing up.
//!
//! Its stack is unwound, which closes its descriptors as the kernel would. The effects of destructors are undone: their
//! calls do nothing, and the state directory is restored to its content at the kill.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The panic payload that unwinds a killed process's stack.
struct Killed;

/// Files with their contents.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Kills a process, and holds the files that it left then; `None` while it runs.
#[derive(Clone, Default)]
pub(crate) struct KillSwitch(Arc<Mutex<Option<Files>>>);

impl KillSwitch {
    /// Kills the process that works in `dir`.
    pub(crate) fn kill(&self, dir: &Path) -> ! {
        let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let left = files.map(|file| (file.clone(), fs::read(file).unwrap())).collect();
        *self.0.lock().unwrap() = Some(left);
        resume_unwind(Box::new(Killed))
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Runs a process that may be killed; `None` if it was.
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
