//! Results for programs: schema 2, described by docs/json-schema.json. Sizes are KiB with the unit in the key; keys are
//! only ever added; an absent number is null.

mod keys;

use std::collections::HashMap;
use std::io;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use xen::Identity;
use xen::escape::Escaped;
use xmem_core::change::Outcome;
use xmem_core::domain::Domain;
use xmem_core::failure::Failure;
use xmem_core::survey::{Row, Survey};
use xmem_core::wait::{Progress, WaitEnd, WaitReport};

pub(super) use self::keys::{DomainKeys, ErrorKeys, NoteKeys, WaitKeys};
use self::keys::{Envelope, Failed, Gone, ProgressKeys, change, host, listed, millis};
use super::{Report, text};
use crate::exit::Exit;
use crate::remedy::Remedy;
use crate::usage::Usage;

const SCHEMA: u32 = 2;

/// Builds the objects of a report.
pub(super) struct Json<'r> {
    pub(super) report: &'r Report,
}

/// Lines of JSON, or the reason why there are none.
type Lines = serde_json::Result<Vec<String>>;

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
    pub(super) fn dated(
        &self,
        domain: Option<DomainKeys>,
        body: impl Serialize,
    ) -> serde_json::Result<String> {
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

    /// Whether the command makes changes, so that its failures report their state.
    fn is_change(&self) -> bool {
        matches!(self.report.command, "set" | "max" | "apply" | "reclaim")
    }

    /// A change that was made, planned, or not needed. `waits`: its guest is waited for.
    pub(super) fn outcome(&self, outcome: &Outcome, line: Option<usize>, waits: bool) -> Lines {
        Ok(vec![self.object(
            Some((&outcome.domain).into()),
            change(outcome, line, waits, &self.report.program),
        )?])
    }

    /// The same, with the end of the wait that followed it.
    pub(super) fn waited(
        &self,
        outcome: &Outcome,
        line: Option<usize>,
        wait: &WaitReport,
        not_nudged: Option<&Failure>,
        hint: Option<&Remedy>,
    ) -> Lines {
        let mut body = change(outcome, line, true, &self.report.program);
        if let WaitEnd::Failed(failure) = &wait.end {
            body.left_by(failure, outcome.plan.video);
        }
        body.notes.extend(not_nudged.map(|failure| text::not_nudged(failure).into()));
        body.wait = Some(WaitKeys::from(wait));
        body.error = (!matches!(wait.end, WaitEnd::Reached)).then(|| ErrorKeys {
            kind: wait.end.word(),
            exit_code: Exit::from(wait).code(),
            message: text::shortened(&text::waited(outcome, wait)),
            hint: hint.map(|it| it.text.clone()),
            state: match &wait.end {
                WaitEnd::Failed(failure) => failure.state(),
                _ if outcome.is_change() => Some("changed"),
                _ => Some("unchanged"),
            },
        });
        Ok(vec![self.object(Some((&outcome.domain).into()), body)?])
    }

    /// One poll of a guest.
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
        hint: Option<&Remedy>,
    ) -> Lines {
        let state = failure.state();
        let body = Failed {
            line,
            changed: state.map(|_| failure.is_change()),
            error: ErrorKeys {
                kind: failure.cause.kind(),
                exit_code: Exit::from(failure).code(),
                message: text::shortened(&failure.to_string()),
                hint: hint.map(|it| it.text.clone()),
                state,
            },
        };
        Ok(vec![self.object(failure.domain.as_ref().map(DomainKeys::from), body)?])
    }

    /// Wrong usage.
    pub(super) fn usage(&self, usage: &Usage, line: Option<usize>) -> Lines {
        self.untouched(line, "usage", Exit::Usage, &usage.to_string(), usage.hint.clone())
    }

    /// A failure of the operating system beside Xen.
    pub(super) fn os_error(&self, message: &str, hint: Option<String>) -> Lines {
        self.untouched(None, "os", Exit::Failed, message, hint)
    }

    fn untouched(
        &self,
        line: Option<usize>,
        kind: &'static str,
        exit: Exit,
        message: &str,
        hint: Option<String>,
    ) -> Lines {
        let state = self.is_change().then_some("unchanged");
        let message = text::shortened(message);
        let error = ErrorKeys { kind, exit_code: exit.code(), message, hint, state };
        let changed = self.is_change().then_some(false);
        Ok(vec![self.object(None, Failed { line, changed, error })?])
    }

    /// A line for each domain, and one for the host if it is known.
    pub(super) fn survey(&self, survey: &Survey) -> Lines {
        let rows =
            survey.rows.iter().map(|row| self.object(Some((&row.domain).into()), listed(row)));
        let host = survey.host.as_ref().ok().map(|memory| self.object(None, host(memory)));
        rows.chain(host).collect()
    }

    /// A line for each domain that changed since `before`, for each that is gone, and for the host if that changed.
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

/// One line of JSON.
fn line(value: &impl Serialize) -> serde_json::Result<String> {
    let mut line = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut line, Escaping))?;
    String::from_utf8(line).map_err(serde::ser::Error::custom)
}

/// Escapes every control character, not only those that JSON requires: a name may contain U+009B, which begins a
/// control sequence in some terminals.
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
