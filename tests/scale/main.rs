//! Many domains: what `list`, `check`, `apply` and `check --repair` cost for each, counted on a scripted
//! host and on the sim. Counts are exact where times are not: what is asked of xenstored, in how many round
//! trips, how many hypercalls, how much memory; of the sim's files, how much is read and written.
#![expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]

#[cfg(test)]
mod counts;
#[cfg(test)]
mod host;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod promises;
#[cfg(test)]
mod runs;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod table;

/// One test at a time: they count what the whole process holds.
#[cfg(test)]
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
