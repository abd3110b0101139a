//! What can be wrong, or worth knowing, about a domain or a host: what it is, what it means, how to fix it.

use std::path::PathBuf;

use xen::lock::Holder;

/// A finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// Which one: stable, for programs.
    pub kind: DiagnosisKind,
    /// How grave it is.
    pub severity: Severity,
    /// What is so, without the domain's name.
    pub message: String,
    /// What it means.
    pub meaning: &'static str,
    /// What to do about it: a sentence or a command.
    pub fix: Option<String>,
    /// Whether `check --repair` fixes it.
    pub repairable: bool,
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Target, limit and maximum do not fit, or cannot be kept in step.
    OutOfStep,
    /// Worth knowing.
    Notice,
}

/// The findings there are.
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
