//! Findings about a domain or a host: what it is, what it means, and its fix.
//!
//! [`diagnose`] judges one domain and is pure. One cause is one finding: its consequences are not reported.

mod judge;

use std::path::PathBuf;

use xen::lock::Holder;
use xen::{DomId, Kib};

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
    /// The fix.
    pub fix: Option<Fix>,
}

/// What an admin can do about a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fix {
    /// [`repair`](crate::check::repair) fixes it: in this domain, or without one among the files of all.
    Repair(Option<DomId>),
    /// Wait until this process releases the lock.
    AwaitLock(Holder),
    /// Wait, and look whether the guest's balloon driver works.
    AwaitGuest,
    /// Unpause the domain, if nothing keeps it paused on purpose.
    Unpause(DomId),
    /// Find the program that wrote this node, and write it anew.
    Rewrite(String),
    /// First fix this node.
    First(String),
    /// Write this node, if its value is known.
    Write(String),
    /// Remove these nodes.
    RemoveNodes(String),
    /// Find out what put this into the place of a lock, and remove it.
    RemoveUnknown(PathBuf),
    /// Read this record, and remove it.
    RemoveRecord(PathBuf),
    /// Set the maximum if the target is right, or the size if the maximum is right. A size that would be refused is missing.
    Choose {
        /// The domain.
        domid: DomId,
        /// The maximum to set.
        max: Option<Kib>,
        /// The size to set.
        size: Option<Kib>,
    },
    /// Set this size, if nothing needs the higher limit.
    LowerLimit {
        /// The domain.
        domid: DomId,
        /// The size to set.
        size: Kib,
    },
    /// Set the present size again, and nudge the balloon driver.
    SetAgain {
        /// The domain.
        domid: DomId,
        /// The size to set.
        size: Kib,
    },
    /// Set the size that the domain should have. The guest itself may write the one that it has.
    SetSize(DomId),
    /// Change the domain through its memory manager.
    UseManager,
    /// Use xenstored's socket instead of the device.
    UseSocket,
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
        Self { kind, severity, message, meaning, fix: None }
    }

    /// A finding that is out of step.
    pub(crate) fn out_of_step(
        kind: DiagnosisKind,
        message: impl Into<String>,
        meaning: &'static str,
    ) -> Self {
        Self { severity: Severity::OutOfStep, ..Self::notice(kind, message, meaning) }
    }

    /// The same with a fix.
    #[must_use]
    pub(crate) fn with_fix(self, fix: Fix) -> Self {
        Self { fix: Some(fix), ..self }
    }

    /// Whether [`repair`](crate::check::repair) fixes it.
    pub const fn is_repairable(&self) -> bool {
        matches!(self.fix, Some(Fix::Repair(_)))
    }

    /// Whether it is out of step, and not a notice.
    pub fn is_out_of_step(&self) -> bool {
        self.severity == Severity::OutOfStep
    }
}
