//! The moments at which a kill could leave something half done.
//!
//! Owns nothing but their names. In the program they are nothing; a test ends its own process at one of them.

/// Something in the folder is about to change.
#[cfg(not(test))]
pub(super) const fn step() {}

/// The environment variable that says at which step a process kills itself.
#[cfg(test)]
pub(super) const KILL_AT: &str = "XMEM_TEST_SIM_KILL_AT";

/// Something in the folder is about to change: ends the process as `kill -9` does, if it was told to.
#[cfg(test)]
pub(super) fn step() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static STEPS: AtomicUsize = AtomicUsize::new(0);
    let Some(at) = std::env::var_os(KILL_AT) else { return };
    if at.to_str() == Some(&*STEPS.fetch_add(1, Ordering::Relaxed).to_string()) {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
            .unwrap();
    }
}
