//! The words of the JSON output: stable, unlike the sentences. docs/json-schema.json lists them all.

use xen::lock::LockError;
use xmem_core::diagnosis::DiagnosisKind;
use xmem_core::failure::{Aftermath, Cause};
use xmem_core::plan;
use xmem_core::resolve::ResolveError;
use xmem_core::state::State;
use xmem_core::wait::{WaitEnd, WaitReason};

/// `error.kind` of a failure.
pub(super) const fn cause(cause: &Cause) -> &'static str {
    match cause {
        Cause::Resolve(ResolveError::Ambiguous { .. }) => "ambiguous-domain",
        Cause::Resolve(_) => "no-such-domain",
        Cause::Gone => "domain-gone",
        Cause::State(State::Building) => "domain-building",
        Cause::State(_) | Cause::Refused(_) => "refused",
        Cause::BadNode(_) => "bad-node",
        Cause::Lock(LockError::Busy { .. }) => "lock-busy",
        Cause::Lock(LockError::Interrupted) | Cause::Interrupted => "interrupted",
        Cause::Lock(_) => "lock",
        Cause::LockLost => "lock-lost",
        Cause::Store(_) => "xenstore",
        Cause::Hypervisor(_) => "hypervisor",
        Cause::Intent(_) => "intent",
        Cause::StateDir { .. } => "state-directory",
        Cause::Conflicts { .. } => "conflicts",
        Cause::Duplicate { .. } => "duplicate",
        Cause::NoMemory { .. } => "no-memory",
        _ => "os",
    }
}

/// `error.state`.
pub(super) const fn aftermath(aftermath: &Aftermath) -> &'static str {
    match aftermath {
        Aftermath::Recovered(_) => "recovered",
        Aftermath::RolledBack { .. } => "rolled-back",
        Aftermath::OnePageOff { .. } => "one-page-off",
        Aftermath::OutOfStep { .. } => "out-of-step",
        _ => "unchanged",
    }
}

pub(super) const fn is_untouched(aftermath: &Aftermath) -> bool {
    !matches!(aftermath, Aftermath::OnePageOff { .. } | Aftermath::OutOfStep { .. })
}

/// `wait.end`.
pub(super) const fn wait_end(end: &WaitEnd) -> &'static str {
    match end {
        WaitEnd::Reached => "reached",
        WaitEnd::Stuck => "stuck",
        WaitEnd::TimedOut => "timed-out",
        WaitEnd::TargetChanged { .. } => "target-changed",
        WaitEnd::Gone { .. } => "domain-gone",
        WaitEnd::Stopped(_) => "domain-stopped",
        WaitEnd::Interrupted => "interrupted",
        WaitEnd::Failed(failure) => cause(&failure.cause),
        _ => "unreachable",
    }
}

/// `wait.reasons`.
pub(super) const fn wait_reason(reason: &WaitReason) -> &'static str {
    match reason {
        WaitReason::State(state) => state.word(),
        WaitReason::Limit(_) => "limit",
        WaitReason::HostShort { .. } => "host-short",
        WaitReason::NoDriver => "no-driver",
        WaitReason::GuestNeedsMemory => "guest-needs-memory",
        WaitReason::NoHotplug => "no-hotplug",
        WaitReason::Dom0Sysfs(_) => "dom0-sysfs",
        _ => "direct-mapped",
    }
}

/// `notes[].kind` of a change.
pub(in crate::report) const fn note_kind(note: &plan::Note) -> &'static str {
    match note {
        plan::Note::Cut { .. } => "rounded-down",
        plan::Note::FilledIn { .. } => "filled-in",
        plan::Note::Capped { .. } => "dom0-limited",
        plan::Note::LimitAboveMax { .. } => "limit-above-maximum",
        plan::Note::RaisedMax { .. } => "maximum-raised",
        plan::Note::HostShort { .. } => "host-short",
        plan::Note::Paused { .. } => "paused",
    }
}

/// `kind` of a finding, and `notes[].kind` of a listed domain.
pub(in crate::report) const fn diagnosis_kind(kind: &DiagnosisKind) -> &'static str {
    match kind {
        DiagnosisKind::BadNode => "bad-node",
        DiagnosisKind::TargetAboveMaximum => "target-above-maximum",
        DiagnosisKind::LimitTooLow => "limit-too-low",
        DiagnosisKind::MissingKey => "missing-key",
        DiagnosisKind::InterruptedChange { .. } => "interrupted-change",
        DiagnosisKind::UnusableLock => "unusable-lock",
        DiagnosisKind::LimitHigh => "limit-high",
        DiagnosisKind::OverLimit => "over-limit",
        DiagnosisKind::AboveTarget => "above-target",
        DiagnosisKind::BelowTarget => "below-target",
        DiagnosisKind::NoKeys => "no-keys",
        DiagnosisKind::Managed => "managed",
        DiagnosisKind::Paused => "paused",
        DiagnosisKind::Suspended => "suspended",
        DiagnosisKind::ShutDown => "shut-down",
        DiagnosisKind::Crashed => "crashed",
        DiagnosisKind::Building => "building",
        DiagnosisKind::Dying => "dying",
        DiagnosisKind::Locked(_) => "locked",
        DiagnosisKind::Outstanding => "outstanding",
        DiagnosisKind::Populating => "populating",
        DiagnosisKind::DeviceModel => "device-model",
        DiagnosisKind::StaleLock => "stale-lock",
        DiagnosisKind::StaleRecord => "stale-record",
        DiagnosisKind::SetAside => "set-aside",
        DiagnosisKind::OrphanNodes => "orphan-nodes",
        DiagnosisKind::NotListed => "not-listed",
        _ => "other",
    }
}
