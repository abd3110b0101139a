//! `xmem set` and `xmem max`.

use xen::Host;
use xmem_core::change::{ChangeRequest, ChangeSession, KeepFree};
use xmem_core::plan::MemoryRequest;

use super::record;
use super::wait::{self, Waiting};
use crate::cli::{Change, Global, Max, Set};
use crate::exit::Exit;
use crate::report::Report;
use crate::signals::Signals;
use crate::usage::{self, Usage};
use crate::values;

/// A change, and the wait for its guest.
pub(super) struct Task {
    request: ChangeRequest,
    waiting: Option<Waiting>,
}

/// What `xmem set` asks for.
pub(super) fn set(args: &Set, global: &Global) -> Result<Task, Usage> {
    let Set { change, raise_max, wait, patience, keep_free } = args;
    // `--wait 5m web`: the time has become the domain.
    let is_time = matches!(wait.wait, Some(None)) && values::time(&change.domain).is_ok();
    let size = values::size_of(&change.domain, &change.size).map_err(|usage| {
        let hint = is_time.then(|| usage::wait_hint(&change.domain));
        Usage { hint: hint.or(usage.hint), ..usage }
    })?;
    let memory = MemoryRequest::Set { size, raise_max: *raise_max, force: change.force };
    let mut request = request(change, global, memory)?;
    request.keep_free = values::keep_free(keep_free.as_deref())?
        .map(|size| KeepFree { size, counts_granted: true });
    let waiting = Waiting::of(wait, patience.as_deref(), request.lock_timeout)?;
    Ok(Task { request, waiting: waiting.filter(|_| !change.dry_run) })
}

/// What `xmem max` asks for.
pub(super) fn max(args: &Max, global: &Global) -> Result<Task, Usage> {
    let Max { change } = args;
    let size = values::size_of(&change.domain, &change.size)?;
    let memory = MemoryRequest::Max { size, force: change.force };
    Ok(Task { request: request(change, global, memory)?, waiting: None })
}

fn request(
    change: &Change,
    global: &Global,
    memory: MemoryRequest,
) -> Result<ChangeRequest, Usage> {
    Ok(ChangeRequest {
        domain: values::domain(&change.domain)?,
        memory,
        keep_free: None,
        dry_run: change.dry_run,
        lock_timeout: values::lock_timeout(global.lock_timeout.as_deref())?,
    })
}

impl Task {
    pub(super) const fn changes(&self) -> bool {
        !self.request.dry_run
    }

    /// Changes, logs, waits if asked to, and reports. Signals are held off until the result is reported.
    pub(super) fn run(&self, host: &dyn Host, report: &Report) -> anyhow::Result<Exit> {
        let signals = Signals::held(report)?;
        let result = ChangeSession::new(host).change(&self.request, &signals);
        record(report, result.as_ref());
        Ok(match (result, self.waiting) {
            (Ok(outcome), Some(waiting)) => {
                report.before_wait(&outcome, None);
                Exit::of_all(&wait::run(host, &[(None, outcome)], waiting, &signals, report))
            }
            (Ok(outcome), None) => report.outcome(&outcome, None),
            (Err(failure), _) => report.failure(&failure, None),
        })
    }
}
