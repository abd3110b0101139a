//! Results for programs: schema 2, described by docs/json-schema.json. Sizes are KiB with the unit in the key; keys are
//! only ever added; a number that does not exist is null.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use xen::escape::Escaped;
use xen::hypervisor::{HostMemory, UNLIMITED};
use xen::{DomId, Identity, Kib};
use xmem_core::change::{ChangeStatus, Outcome};
use xmem_core::domain::Domain;
use xmem_core::failure::{Aftermath, Failure};
use xmem_core::memory::Numbers;
use xmem_core::survey::{Row, Survey};
use xmem_core::wait::{Progress, WaitEnd, WaitReason, WaitReport};

use super::{Report, text};
use crate::exit::Exit;
use crate::usage::Usage;

const SCHEMA: u32 = 2;

/// What makes the objects of a report.
pub(super) struct Json<'r> {
    pub(super) report: &'r Report,
}

/// Lines of JSON, or why there are none.
type Lines = serde_json::Result<Vec<String>>;

/// An object: the head that all of them have, and a body.
#[derive(Serialize)]
struct Envelope<B> {
    schema: u32,
    command: &'static str,
    simulated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(flatten)]
    domain: Option<DomainKeys>,
    #[serde(flatten)]
    body: B,
}

#[derive(Serialize)]
pub(super) struct DomainKeys {
    domid: u16,
    name: Option<String>,
    uuid: Option<String>,
}

impl From<DomId> for DomainKeys {
    /// Those of a domain of which nothing else is known.
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
struct Change {
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    would_change: Option<bool>,
    dry_run: bool,
    state: &'static str,
    old: Sizes,
    new: Sizes,
    current_kib: Kib,
    notes: Vec<Note>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait: Option<Wait>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorKeys>,
}

#[derive(Serialize)]
struct Sizes {
    target_kib: Option<Kib>,
    size_kib: Option<Kib>,
    static_max_kib: Option<Kib>,
    limit_kib: Option<Kib>,
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

/// `kib`, unless it means that there is no limit.
fn limited(kib: Option<Kib>) -> Option<Kib> {
    kib.filter(|kib| *kib != UNLIMITED)
}

#[derive(Serialize)]
pub(super) struct Note {
    pub(super) kind: &'static str,
    pub(super) text: String,
}

#[derive(Serialize)]
struct Wait {
    end: &'static str,
    took_ms: u64,
    current_kib: Kib,
    wanted_kib: Kib,
    moved: bool,
    nudged: bool,
    reasons: Vec<&'static str>,
}

#[derive(Serialize)]
struct Failed {
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<bool>,
    error: ErrorKeys,
}

#[derive(Serialize)]
struct ErrorKeys {
    kind: &'static str,
    exit_code: u8,
    message: String,
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
}

#[derive(Serialize)]
struct ProgressKeys {
    event: &'static str,
    at_ms: u64,
    from_kib: Kib,
    current_kib: Kib,
    wanted_kib: Kib,
}

#[derive(Serialize)]
struct Listed {
    r#type: &'static str,
    state: &'static str,
    device_model_of: Option<u16>,
    current_kib: Kib,
    outstanding_kib: Kib,
    target_kib: Option<Kib>,
    size_kib: Option<Kib>,
    limit_kib: Option<Kib>,
    static_max_kib: Option<Kib>,
    videoram_kib: Option<i32>,
    used_kib: Option<Kib>,
    notes: Vec<Note>,
}

#[derive(Serialize)]
struct Gone {
    gone: bool,
}

#[derive(Serialize)]
struct Host {
    host: HostKeys,
}

#[derive(Serialize)]
struct HostKeys {
    total_kib: Kib,
    free_kib: Kib,
    claimed_kib: Kib,
}

impl Json<'_> {
    /// One object.
    pub(super) fn object(
        &self,
        domain: Option<DomainKeys>,
        body: impl Serialize,
    ) -> serde_json::Result<String> {
        self.envelope(domain, None, body)
    }

    /// The same with the time.
    fn dated(&self, domain: Option<DomainKeys>, body: impl Serialize) -> serde_json::Result<String> {
        let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        self.envelope(domain, Some(now), body)
    }

    fn envelope(
        &self,
        domain: Option<DomainKeys>,
        time: Option<String>,
        body: impl Serialize,
    ) -> serde_json::Result<String> {
        let Report { command, simulated, .. } = *self.report;
        line(&Envelope { schema: SCHEMA, command, simulated, time, domain, body })
    }

    /// Whether the command is about a change, so that its failures say what became of it.
    fn is_change(&self) -> bool {
        matches!(self.report.command, "set" | "max" | "apply" | "reclaim")
    }

    /// A change that was made, planned, or not needed.
    pub(super) fn outcome(&self, outcome: &Outcome, line: Option<usize>) -> Lines {
        Ok(vec![self.object(Some((&outcome.domain).into()), change(outcome, line, false))?])
    }

    /// The same, with how the wait ended that followed it.
    pub(super) fn waited(
        &self,
        outcome: &Outcome,
        line: Option<usize>,
        wait: &WaitReport,
        hint: Option<String>,
    ) -> Lines {
        let mut body = change(outcome, line, true);
        body.wait = Some(Wait {
            end: wait.end.word(),
            took_ms: millis(wait.took),
            current_kib: wait.info.current,
            wanted_kib: wait.wanted,
            moved: wait.moved,
            nudged: wait.woken,
            reasons: wait.reasons.iter().map(WaitReason::word).collect(),
        });
        body.error = (!matches!(wait.end, WaitEnd::Reached)).then(|| ErrorKeys {
            kind: wait.end.word(),
            exit_code: Exit::from(wait).code(),
            message: text::shortened(&text::waited(outcome, wait)),
            hint,
            state: match &wait.end {
                WaitEnd::Failed(failure) => failure.aftermath.word(),
                _ if outcome.status == ChangeStatus::Changed => Some("changed"),
                _ => Some("unchanged"),
            },
        });
        Ok(vec![self.object(Some((&outcome.domain).into()), body)?])
    }

    /// One look at a guest on its way.
    pub(super) fn progress(&self, domain: &Domain, progress: &Progress) -> Lines {
        let body = ProgressKeys {
            event: "progress",
            at_ms: millis(progress.at),
            from_kib: progress.from,
            current_kib: progress.current,
            wanted_kib: progress.wanted,
        };
        Ok(vec![self.dated(Some(domain.into()), body)?])
    }

    /// A failure.
    pub(super) fn failure(
        &self,
        failure: &Failure,
        line: Option<usize>,
        hint: Option<String>,
    ) -> Lines {
        let state = failure.aftermath.word();
        let body = Failed {
            line,
            changed: state.map(|_| matches!(failure.aftermath, Aftermath::OnePageOff { .. })),
            error: ErrorKeys {
                kind: failure.cause.kind(),
                exit_code: Exit::from(failure).code(),
                message: text::shortened(&failure.to_string()),
                hint,
                state,
            },
        };
        Ok(vec![self.object(failure.domain.as_ref().map(DomainKeys::from), body)?])
    }

    /// Wrong usage.
    pub(super) fn usage(&self, usage: &Usage, line: Option<usize>) -> Lines {
        self.untouched(line, "usage", Exit::Usage, usage.to_string(), usage.hint.clone())
    }

    /// A failure of the operating system beside Xen.
    pub(super) fn os_error(&self, message: &str, hint: Option<String>) -> Lines {
        self.untouched(None, "os", Exit::Failed, message.to_owned(), hint)
    }

    fn untouched(
        &self,
        line: Option<usize>,
        kind: &'static str,
        exit: Exit,
        message: String,
        hint: Option<String>,
    ) -> Lines {
        let state = self.is_change().then_some("unchanged");
        let error = ErrorKeys { kind, exit_code: exit.code(), message, hint, state };
        let changed = self.is_change().then_some(false);
        Ok(vec![self.object(None, Failed { line, changed, error })?])
    }

    /// A line for each domain, and one for the host if it is known.
    pub(super) fn survey(&self, survey: &Survey) -> Lines {
        let rows = survey.rows.iter().map(|row| self.object(Some((&row.domain).into()), listed(row)));
        let host = survey.host.as_ref().ok().map(|memory| self.object(None, host(memory)));
        rows.chain(host).collect()
    }

    /// A line for each domain that is not as it was `before`, for each that is gone, and for the host if that changed.
    pub(super) fn changes(&self, before: Option<&Survey>, now: &Survey) -> Lines {
        let old_rows: &[Row] = before.map_or(&[], |survey| &survey.rows);
        let by_identity = |rows: &[Row]| -> HashMap<Identity, usize> {
            rows.iter().map(|row| row.domain.identity).zip(0..).collect()
        };
        let (old_ones, new_ones) = (by_identity(old_rows), by_identity(&now.rows));
        let is_gone = |old: &&Row| !new_ones.contains_key(&old.domain.identity);
        let gone = old_rows
            .iter()
            .filter(is_gone)
            .map(|old| self.dated(Some((&old.domain).into()), Gone { gone: true }));
        let old = |row: &Row| old_rows.get(*old_ones.get(&row.domain.identity)?);
        let new = now
            .rows
            .iter()
            .filter(|row| old(row) != Some(*row))
            .map(|row| self.dated(Some((&row.domain).into()), listed(row)));
        let memory = |survey: &Survey| survey.host.as_ref().ok().copied();
        let host = memory(now)
            .filter(|memory_now| before.and_then(memory) != Some(*memory_now))
            .map(|memory| self.dated(None, host(&memory)));
        gone.chain(new).chain(host).collect()
    }
}

fn change(outcome: &Outcome, line: Option<usize>, waits: bool) -> Change {
    let plan = &outcome.plan;
    let dry_run = outcome.status == ChangeStatus::DryRun;
    let notes = text::notes(outcome, waits);
    Change {
        line,
        changed: outcome.status == ChangeStatus::Changed,
        would_change: dry_run.then(|| !plan.changes_nothing()),
        dry_run,
        state: outcome.state.word(),
        old: Sizes::new(plan.old, plan.video),
        new: Sizes::new(plan.new, plan.video),
        current_kib: outcome.info.current,
        notes: notes.into_iter().map(|it| Note { kind: it.kind, text: it.text }).collect(),
        wait: None,
        error: None,
    }
}

fn listed(row: &Row) -> Listed {
    let memory = &row.memory;
    let target = memory.target.clone().ok().flatten();
    let video = memory.video.clone().ok().flatten();
    Listed {
        r#type: super::table::guest_type(row),
        state: row.state.word(),
        device_model_of: memory.device_model_of.map(DomId::get),
        current_kib: memory.info.current,
        outstanding_kib: memory.info.outstanding,
        target_kib: target,
        size_kib: memory.size(),
        limit_kib: limited(Some(memory.info.limit)),
        static_max_kib: limited(memory.static_max.clone().ok().flatten()),
        videoram_kib: video,
        used_kib: row.used,
        notes: row
            .findings
            .iter()
            .map(|it| Note { kind: it.kind.word(), text: it.message.clone() })
            .collect(),
    }
}

const fn host(memory: &HostMemory) -> Host {
    Host {
        host: HostKeys {
            total_kib: memory.total,
            free_kib: memory.available(),
            claimed_kib: memory.claimed,
        },
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// One line of JSON.
fn line(value: &impl Serialize) -> serde_json::Result<String> {
    let mut line = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut line, Escaping))?;
    String::from_utf8(line).map_err(serde::ser::Error::custom)
}

/// Escapes everything that could steer a terminal, and not only what JSON requires: a domain's name may have U+009B in
/// it, which some terminals take for the beginning of a command.
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        fragment.chars().try_for_each(|c| {
            if Escaped::must_escape(c) {
                let mut units = [0; 2];
                c.encode_utf16(&mut units).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))
            } else {
                write!(out, "{c}")
            }
        })
    }
}
