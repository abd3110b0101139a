//! Findings about a domain or a host: what it is, what it means, how to fix it.
//!
//! [`diagnose`] judges one domain and is pure. One cause is one finding: its consequences are not reported.

mod judge;

use std::path::PathBuf;

use xen::lock::Holder;

pub(crate) use self::judge::locked_fix;
pub use self::judge::{Facts, KilledChange, diagnose};

/// A finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// Its kind: stable, for programs.
    pub kind: DiagnosisKind,
    /// Its severity.
    pub severity: Severity,
    /// The fact, without the domain's name.
    pub message: String,
    /// What it means for the domain and its host.
    pub meaning: &'static str,
    /// The fix: a sentence or a command.
    pub fix: Option<String>,
    /// Whether `check --repair` fixes it.
    pub repairable: bool,
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Target, limit and maximum are inconsistent, or cannot be kept in step.
    OutOfStep,
    /// Worth knowing.
    Notice,
}

/// The kinds of findings.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is documented by its Diagnosis")]
pub enum DiagnosisKind {
    BadNode,
    TargetAboveMaximum,
    LimitTooLow,
    MissingKey,
    InterruptedChange { record: PathBuf, pid: Option<u32> },
    UnusableLock,
    LimitHigh,
    OverLimit,
    AboveTarget,
    BelowTarget,
    NoKeys,
    Managed,
    Paused,
    Suspended,
    ShutDown,
    Crashed,
    Building,
    Dying,
    Locked(Option<Holder>),
    Outstanding,
    Populating,
    DeviceModel,
    StaleLock,
    StaleRecord,
    SetAside,
    OrphanNodes,
    NotListed,
}

impl DiagnosisKind {
    /// The kind's name: stable, for programs.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::BadNode => "bad-node",
            Self::TargetAboveMaximum => "target-above-maximum",
            Self::LimitTooLow => "limit-too-low",
            Self::MissingKey => "missing-key",
            Self::InterruptedChange { .. } => "interrupted-change",
            Self::UnusableLock => "unusable-lock",
            Self::LimitHigh => "limit-high",
            Self::OverLimit => "over-limit",
            Self::AboveTarget => "above-target",
            Self::BelowTarget => "below-target",
            Self::NoKeys => "no-keys",
            Self::Managed => "managed",
            Self::Paused => "paused",
            Self::Suspended => "suspended",
            Self::ShutDown => "shut-down",
            Self::Crashed => "crashed",
            Self::Building => "building",
            Self::Dying => "dying",
            Self::Locked(_) => "locked",
            Self::Outstanding => "outstanding",
            Self::Populating => "populating",
            Self::DeviceModel => "device-model",
            Self::StaleLock => "stale-lock",
            Self::StaleRecord => "stale-record",
            Self::SetAside => "set-aside",
            Self::OrphanNodes => "orphan-nodes",
            Self::NotListed => "not-listed",
        }
    }

    /// Whether it is about the domain's state, which no earlier survey can confirm.
    pub(crate) const fn is_about_now(&self) -> bool {
        matches!(
            self,
            Self::Locked(_)
                | Self::Paused
                | Self::Suspended
                | Self::ShutDown
                | Self::Crashed
                | Self::Building
                | Self::Dying
        )
    }
}

impl Diagnosis {
    /// A notice.
    pub(crate) fn notice(
        kind: DiagnosisKind,
        message: impl Into<String>,
        meaning: &'static str,
    ) -> Self {
        let (message, severity) = (message.into(), Severity::Notice);
        Self { kind, severity, message, meaning, fix: None, repairable: false }
    }

    /// A finding that is out of step.
    pub(crate) fn out_of_step(
        kind: DiagnosisKind,
        message: impl Into<String>,
        meaning: &'static str,
    ) -> Self {
        Self { severity: Severity::OutOfStep, ..Self::notice(kind, message, meaning) }
    }

    /// The same with a fix for the admin.
    #[must_use]
    pub(crate) fn with_fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }

    /// The same, fixed by `check --repair`, which `command` runs.
    #[must_use]
    pub(crate) fn repaired_by(self, command: impl Into<String>) -> Self {
        Self { fix: Some(command.into()), repairable: true, ..self }
    }

    /// Whether it is out of step, and not a notice.
    pub fn is_out_of_step(&self) -> bool {
        self.severity == Severity::OutOfStep
    }
}
