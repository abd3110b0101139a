//! The exit codes, and the one for each outcome.

use std::io;
use std::process::ExitCode;

use rustix::io::Errno;
use xen::hypervisor::HypervisorError;
use xen::lock::LockError;
use xen::xenstore::{Answer, StoreError};
use xmem_core::failure::{Aftermath, Cause, Failure};
use xmem_core::wait::{WaitEnd, WaitReport};

/// An exit code: scripts rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Success, or nothing to do.
    Done = 0,
    /// Failed; nothing changed, or rolled back.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    /// No such domain, or it went away.
    NoDomain = 3,
    /// Refused: a limit or a safety rule.
    Refused = 4,
    /// Timed out waiting for the domain's lock.
    LockTimeout = 5,
    /// Gave up after repeated xenstore conflicts; rolled back.
    Conflicts = 6,
    /// Permission denied, not a control domain, no Xen, or xenstored unreachable.
    NoAccess = 7,
    /// The change was made, but the guest did not reach the target.
    NotReached = 8,
    /// Out of step.
    OutOfStep = 9,
    /// Several domains with different outcomes: some failed, none is out of step.
    Mixed = 10,
}

impl Exit {
    /// The exit code of several outcomes: 9 if one is out of step, their own if they are equal, otherwise 10.
    pub(crate) fn of_all(outcomes: &[Self]) -> Self {
        match outcomes {
            [] => Self::Done,
            _ if outcomes.contains(&Self::OutOfStep) => Self::OutOfStep,
            [first, rest @ ..] if rest.iter().all(|exit| exit == first) => *first,
            _ => Self::Mixed,
        }
    }

    /// The number.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

impl From<&Failure> for Exit {
    fn from(failure: &Failure) -> Self {
        if matches!(failure.aftermath, Aftermath::OutOfStep { .. }) {
            return Self::OutOfStep;
        }
        match (Self::from(&failure.cause), &failure.cause) {
            // xenstored was there when the change began.
            (Self::NoAccess, Cause::Store(_)) if !is_untouched(&failure.aftermath) => Self::Failed,
            (exit, _) => exit,
        }
    }
}

impl From<&Cause> for Exit {
    fn from(cause: &Cause) -> Self {
        match cause {
            Cause::Resolve(_) | Cause::Gone | Cause::Dying => Self::NoDomain,
            Cause::State(_) | Cause::Refused(_) | Cause::NoMemory { .. } => Self::Refused,
            Cause::Duplicate { .. } => Self::Usage,
            Cause::Lock(LockError::Busy { .. }) => Self::LockTimeout,
            Cause::Conflicts { .. } => Self::Conflicts,
            cause if is_access(cause) => Self::NoAccess,
            _ => Self::Failed,
        }
    }
}

impl From<&WaitReport> for Exit {
    fn from(report: &WaitReport) -> Self {
        match &report.end {
            WaitEnd::Reached | WaitEnd::NotNeeded => Self::Done,
            WaitEnd::Gone { .. } => Self::NoDomain,
            WaitEnd::Failed(failure) if Self::from(&**failure) == Self::OutOfStep => {
                Self::OutOfStep
            }
            _ => Self::NotReached,
        }
    }
}

const fn is_untouched(aftermath: &Aftermath) -> bool {
    matches!(aftermath, Aftermath::Unchanged | Aftermath::ReadOnly)
}

/// Whether `cause` is that Xen is inaccessible.
fn is_access(cause: &Cause) -> bool {
    match cause {
        Cause::Store(error) => matches!(
            error,
            StoreError::Unreachable { .. }
                | StoreError::Deadline { .. }
                | StoreError::Closed { .. }
                | StoreError::Unusable { .. }
                | StoreError::Transport { .. }
                | StoreError::Answered { answer: Answer::Denied, .. }
        ),
        Cause::Hypervisor(error) => match error {
            HypervisorError::NoXen { .. }
            | HypervisorError::Device { .. }
            | HypervisorError::NoPage { .. }
            | HypervisorError::UnknownInterface { .. } => true,
            _ => matches!(error.errno(), Some(Errno::PERM | Errno::ACCESS | Errno::NOSYS)),
        },
        Cause::Lock(LockError::Os { source, .. }) | Cause::StateDir { source, .. } => {
            is_forbidden(source)
        }
        Cause::Intent(error) => is_forbidden(&error.source),
        _ => false,
    }
}

fn is_forbidden(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_outcomes_and_one_out_of_step_keep_their_exit_code() {
        for (outcomes, expected) in [
            (&[][..], Exit::Done),
            (&[Exit::LockTimeout], Exit::LockTimeout),
            (&[Exit::LockTimeout, Exit::LockTimeout], Exit::LockTimeout),
            (&[Exit::Done, Exit::LockTimeout], Exit::Mixed),
            (&[Exit::Refused, Exit::LockTimeout], Exit::Mixed),
            (&[Exit::Done, Exit::OutOfStep, Exit::LockTimeout], Exit::OutOfStep),
        ] {
            assert_eq!(Exit::of_all(outcomes), expected, "{outcomes:?}");
        }
    }
}
