//! The keys of the JSON objects.
#![expect(clippy::struct_field_names, reason = "fields are named as the keys")]

use std::time::Duration;

use serde::Serialize;
use xen::hypervisor::{HostMemory, UNLIMITED};
use xen::{DomId, Kib};
use xmem_core::change::{ChangeStatus, Outcome};
use xmem_core::domain::Domain;
use xmem_core::failure::{Aftermath, Failure};
use xmem_core::memory::Numbers;
use xmem_core::recovery::Recovery;
use xmem_core::survey::Row;
use xmem_core::wait::{WaitReason, WaitReport};

use crate::program::Program;
use crate::report::{table, text};

/// An object: the common head, and a body.
#[derive(Serialize)]
pub(crate) struct Envelope<B> {
    pub(crate) schema: u32,
    pub(crate) command: &'static str,
    pub(crate) simulated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time: Option<String>,
    #[serde(flatten)]
    pub(crate) domain: Option<DomainKeys>,
    #[serde(flatten)]
    pub(crate) body: B,
}

#[derive(Serialize)]
pub(crate) struct DomainKeys {
    pub(crate) domid: u16,
    pub(crate) name: Option<String>,
    pub(crate) uuid: Option<String>,
}

impl From<DomId> for DomainKeys {
    /// The keys of a domain whose identity alone is known.
    fn from(domid: DomId) -> Self {
        Self { domid: domid.get(), name: None, uuid: None }
    }
}

impl From<&Domain> for DomainKeys {
    fn from(domain: &Domain) -> Self {
        Self {
            domid: domain.identity.domid.get(),
            name: domain.name.as_ref().map(|name| name.0.clone()),
            uuid: Some(domain.identity.uuid.to_string()),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Change {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<usize>,
    pub(crate) changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) would_change: Option<bool>,
    pub(crate) dry_run: bool,
    pub(crate) state: &'static str,
    pub(crate) old: Sizes,
    pub(crate) new: Sizes,
    pub(crate) current_kib: Kib,
    pub(crate) notes: Vec<NoteKeys>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wait: Option<WaitKeys>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<ErrorKeys>,
}

impl Change {
    /// Adds what `failure` to nudge the balloon driver left.
    pub(super) fn left_by(&mut self, failure: &Failure, video: i32) {
        self.changed |= failure.is_change();
        if let Aftermath::OnePageOff { target, limit } = failure.aftermath {
            self.new.limit_kib = limited(Some(limit));
            self.new.target_kib = Some(target);
            self.new.size_kib = target.offset(video.into());
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Sizes {
    pub(crate) target_kib: Option<Kib>,
    pub(crate) size_kib: Option<Kib>,
    pub(crate) static_max_kib: Option<Kib>,
    pub(crate) limit_kib: Option<Kib>,
}

impl Sizes {
    fn new(numbers: Numbers, video: i32) -> Self {
        Self {
            target_kib: numbers.target,
            size_kib: numbers.target.and_then(|target| target.offset(video.into())),
            static_max_kib: limited(numbers.static_max),
            limit_kib: limited(Some(numbers.limit)),
        }
    }
}

/// `kib`, unless it stands for "no limit".
fn limited(kib: Option<Kib>) -> Option<Kib> {
    kib.filter(|kib| *kib != UNLIMITED)
}

#[derive(Serialize)]
pub(crate) struct NoteKeys {
    pub(crate) kind: &'static str,
    pub(crate) text: String,
}

impl From<text::NoteText> for NoteKeys {
    fn from(text::NoteText { kind, text }: text::NoteText) -> Self {
        Self { kind, text }
    }
}

impl From<&Recovery> for NoteKeys {
    fn from(recovery: &Recovery) -> Self {
        Self { kind: recovery.kind(), text: recovery.to_string() }
    }
}

#[derive(Serialize)]
pub(crate) struct WaitKeys {
    pub(crate) end: &'static str,
    pub(crate) took_ms: u64,
    pub(crate) current_kib: Kib,
    pub(crate) wanted_kib: Kib,
    pub(crate) moved: bool,
    pub(crate) nudged: bool,
    pub(crate) reasons: Vec<&'static str>,
}

impl From<&WaitReport> for WaitKeys {
    fn from(wait: &WaitReport) -> Self {
        Self {
            end: wait.end.word(),
            took_ms: millis(wait.took),
            current_kib: wait.info.current,
            wanted_kib: wait.wanted,
            moved: wait.moved,
            nudged: wait.nudged,
            reasons: wait.reasons.iter().map(WaitReason::word).collect(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Failed {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) changed: Option<bool>,
    pub(crate) error: ErrorKeys,
}

#[derive(Serialize)]
pub(crate) struct ErrorKeys {
    pub(crate) kind: &'static str,
    pub(crate) exit_code: u8,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<&'static str>,
}

#[derive(Serialize)]
pub(crate) struct ProgressKeys {
    pub(crate) event: &'static str,
    pub(crate) at_ms: u64,
    pub(crate) from_kib: Kib,
    pub(crate) current_kib: Kib,
    pub(crate) wanted_kib: Kib,
}

#[derive(Serialize)]
pub(crate) struct Listed {
    pub(crate) r#type: &'static str,
    pub(crate) state: &'static str,
    pub(crate) device_model_of: Option<u16>,
    pub(crate) current_kib: Kib,
    pub(crate) outstanding_kib: Kib,
    pub(crate) target_kib: Option<Kib>,
    pub(crate) size_kib: Option<Kib>,
    pub(crate) limit_kib: Option<Kib>,
    pub(crate) static_max_kib: Option<Kib>,
    pub(crate) videoram_kib: Option<i32>,
    pub(crate) used_kib: Option<Kib>,
    pub(crate) notes: Vec<NoteKeys>,
}

#[derive(Serialize)]
pub(crate) struct Gone {
    pub(crate) gone: bool,
}

#[derive(Serialize)]
pub(crate) struct Host {
    pub(crate) host: HostKeys,
}

#[derive(Serialize)]
pub(crate) struct HostKeys {
    pub(crate) total_kib: Kib,
    pub(crate) free_kib: Kib,
    pub(crate) claimed_kib: Kib,
}

pub(super) fn change(
    outcome: &Outcome,
    line: Option<usize>,
    waits: bool,
    program: &Program,
) -> Change {
    let plan = &outcome.plan;
    let dry_run = outcome.status == ChangeStatus::DryRun;
    let notes = text::notes(outcome, waits, program);
    Change {
        line,
        changed: outcome.is_change(),
        would_change: dry_run.then(|| !plan.changes_nothing()),
        dry_run,
        state: outcome.state.word(),
        old: Sizes::new(outcome.old(), plan.video),
        new: Sizes::new(plan.new, plan.video),
        current_kib: outcome.info.current,
        notes: notes.into_iter().map(NoteKeys::from).collect(),
        wait: None,
        error: None,
    }
}

pub(super) fn listed(row: &Row) -> Listed {
    let memory = &row.memory;
    let target = memory.target.clone().ok().flatten();
    let video = memory.video.clone().ok().flatten();
    Listed {
        r#type: table::guest_type(row),
        state: row.state.word(),
        device_model_of: memory.device_model_of.map(DomId::get),
        current_kib: memory.info.current,
        outstanding_kib: memory.info.outstanding,
        target_kib: target,
        size_kib: memory.size(),
        limit_kib: limited(Some(memory.info.limit)),
        static_max_kib: limited(memory.static_max.clone().ok().flatten()),
        videoram_kib: video,
        used_kib: row.memory.used(),
        notes: row
            .findings
            .iter()
            .map(|it| NoteKeys { kind: it.kind.word(), text: text::shortened(&it.message) })
            .collect(),
    }
}

pub(super) const fn host(memory: &HostMemory) -> Host {
    Host {
        host: HostKeys {
            total_kib: memory.total,
            free_kib: memory.available(),
            claimed_kib: memory.claimed,
        },
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
