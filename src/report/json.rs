//! Results for programs: schema 1. Sizes are KiB, with the unit in the key. Keys are only ever added.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use xmem::balloon::{Ending, Progress, Reason, Waited};
use xmem::change::{End, Outcome};
use xmem::domain::{Domain, Identity};
use xmem::error::{After, Exit, Failure};
use xmem::harmless::Harmless;
use xmem::intent::Numbers;
use xmem::overview::{Overview, Row};
use xmem::remark::Remark;
use xmem::size::Kib;

use super::{Nudge, Report, Usage, text};

pub(super) const SCHEMA: u32 = 1;

/// What every object begins with.
#[derive(Serialize)]
struct Head {
    schema: u32,
    command: &'static str,
    simulated: bool,
    #[serde(flatten)]
    domain: Option<Who>,
    changed: bool,
}

#[derive(Serialize)]
struct Who {
    domid: u16,
    name: Option<String>,
    uuid: String,
}

#[derive(Serialize)]
struct Done<'a> {
    #[serde(flatten)]
    head: Head,
    dry_run: bool,
    old: Numbers,
    new: Numbers,
    /// What the domain held just before.
    current_kib: Kib,
    notes: Vec<String>,
    /// With `--wait` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    wait: Option<Wait>,
    /// Why the guest is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Why<'a>>,
}

/// How a wait ended.
#[derive(Serialize)]
struct Wait {
    end: &'static str,
    took_ms: u64,
    /// What the domain holds now.
    current_kib: Kib,
    /// What it is to hold: target and video memory.
    wanted_kib: Kib,
    moved: bool,
    nudged: bool,
    reasons: Vec<&'static str>,
}

/// News of a wait. What has no `event` is a result.
#[derive(Serialize)]
struct News {
    schema: u32,
    command: &'static str,
    simulated: bool,
    #[serde(flatten)]
    who: Who,
    event: &'static str,
    at_ms: u64,
    from_kib: Kib,
    current_kib: Kib,
    wanted_kib: Kib,
}

#[derive(Serialize)]
struct Failed<'a> {
    #[serde(flatten)]
    head: Head,
    error: Why<'a>,
}

#[derive(Serialize)]
struct Why<'a> {
    kind: &'a str,
    exit_code: u8,
    message: String,
    hint: Option<String>,
    /// `unchanged`, `put-back`, `out-of-step`, and with `--wait` `changed` or `aside`.
    state: &'static str,
}

/// One domain of `xmem list`.
#[derive(Serialize)]
struct Listed {
    schema: u32,
    command: &'static str,
    simulated: bool,
    #[serde(flatten)]
    who: Who,
    #[serde(rename = "type")]
    kind: &'static str,
    current_kib: Kib,
    target_kib: Option<Kib>,
    limit_kib: Kib,
    static_max_kib: Option<Kib>,
    videoram_kib: i32,
    notes: Vec<Remarked>,
}

#[derive(Serialize)]
struct Remarked {
    kind: &'static str,
    text: String,
}

/// The last line of `xmem list`.
#[derive(Serialize)]
struct HostLine {
    schema: u32,
    command: &'static str,
    simulated: bool,
    host: HostNumbers,
}

#[derive(Serialize)]
struct HostNumbers {
    #[serde(rename = "total_kib")]
    total: Kib,
    #[serde(rename = "free_kib")]
    free: Kib,
    #[serde(rename = "claimed_kib")]
    claimed: Kib,
}

/// A line for each domain, and one for the host where it is known.
pub(super) fn overview(report: &Report, seen: &Overview) -> serde_json::Result<String> {
    let (command, simulated) = (report.command, report.simulated);
    let mut lines = Vec::new();
    for row in &seen.rows {
        lines.push(listed(report, row)?);
    }
    if let Ok(memory) = &seen.memory {
        let host = HostNumbers { total: memory.total, free: memory.free, claimed: memory.claimed };
        lines.push(line(&HostLine { schema: SCHEMA, command, simulated, host })?);
    }
    Ok(lines.join("\n"))
}

fn listed(report: &Report, row: &Row) -> serde_json::Result<String> {
    let note = |remark: &Remark| Remarked { kind: remark.kind(), text: remark.to_string() };
    line(&Listed {
        schema: SCHEMA,
        command: report.command,
        simulated: report.simulated,
        who: who(&row.domain),
        kind: row.kind.name(),
        current_kib: row.info.current,
        target_kib: row.target,
        limit_kib: row.info.limit,
        static_max_kib: row.static_max,
        videoram_kib: row.video,
        notes: row.remarks.iter().map(note).collect(),
    })
}

/// A domain that `xmem watch` has shown and that is there no more.
#[derive(Serialize)]
struct Leaving {
    schema: u32,
    command: &'static str,
    simulated: bool,
    #[serde(flatten)]
    who: Who,
    gone: bool,
}

/// A line for each domain that is not as it was `before`, and for each that is gone.
pub(super) fn news(
    report: &Report,
    before: &[Row],
    seen: &Overview,
) -> serde_json::Result<Vec<String>> {
    let (command, simulated) = (report.command, report.simulated);
    let by_identity = |rows: &'_ [Row]| -> HashMap<Identity, usize> {
        rows.iter().map(|row| row.domain.identity).zip(0..).collect()
    };
    let (old_ones, new_ones) = (by_identity(before), by_identity(&seen.rows));
    let is_gone = |old: &&Row| !new_ones.contains_key(&old.domain.identity);
    let gone = before.iter().filter(is_gone).map(|old| {
        let who = who(&old.domain);
        line(&Leaving { schema: SCHEMA, command, simulated, who, gone: true })
    });
    let old = |row: &Row| before.get(*old_ones.get(&row.domain.identity)?);
    let new = seen.rows.iter().filter(|row| old(row) != Some(*row));
    gone.chain(new.map(|row| listed(report, row))).collect()
}

fn who(domain: &Domain) -> Who {
    Who {
        domid: domain.identity.domid.get(),
        name: domain.name.as_ref().map(|name| name.0.clone()),
        uuid: domain.identity.uuid.to_string(),
    }
}

fn head(report: &Report, domain: Option<&Domain>, changed: bool) -> Head {
    Head {
        schema: SCHEMA,
        command: report.command,
        simulated: report.simulated,
        domain: domain.map(who),
        changed,
    }
}

/// One line of JSON.
pub(super) fn line(value: &impl Serialize) -> serde_json::Result<String> {
    let mut line = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut line, Escaping))?;
    String::from_utf8(line).map_err(serde::ser::Error::custom)
}

/// Escapes all that could steer a terminal, and not only what JSON wants escaped: a domain's name may
/// have U+009B in it, which some terminals take for the beginning of a command.
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        fragment.chars().try_for_each(|c| {
            if Harmless::is_harmful(c) {
                let mut units = [0; 2];
                c.encode_utf16(&mut units).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))
            } else {
                write!(out, "{c}")
            }
        })
    }
}

/// A change that was made, planned, or not needed. `changed` of a dry run is what it would be.
pub(super) fn outcome(report: &Report, outcome: &Outcome) -> serde_json::Result<String> {
    line(&done(report, outcome))
}

fn done(report: &Report, outcome: &Outcome) -> Done<'static> {
    Done {
        head: head(report, Some(&outcome.domain), outcome.end != End::Already),
        dry_run: outcome.end == End::DryRun,
        old: outcome.plan.old,
        new: outcome.plan.goal(),
        current_kib: outcome.info.current,
        notes: text::notes(outcome).collect(),
        wait: None,
        error: None,
    }
}

/// The same, with how the wait ended that followed it.
pub(super) fn waited(
    report: &Report,
    outcome: &Outcome,
    nudge: Nudge,
    waited: &Waited,
) -> serde_json::Result<String> {
    let mut done = done(report, outcome);
    done.notes.extend(text::nudge(nudge).map(str::to_owned));
    done.wait = Some(Wait {
        end: waited.end.kind(),
        took_ms: millis(waited.took),
        current_kib: waited.info.current,
        wanted_kib: waited.wanted,
        moved: waited.moved,
        nudged: nudge == Nudge::Done,
        reasons: waited.reasons.iter().map(Reason::kind).collect(),
    });
    done.error = (!matches!(waited.end, Ending::There)).then(|| Why {
        kind: waited.end.kind(),
        exit_code: waited.exit().into(),
        message: format!("{}: {waited}", outcome.domain),
        hint: waited.hint(),
        state: if outcome.end == End::Changed { "changed" } else { "unchanged" },
    });
    line(&done)
}

/// A look at a guest on its way.
pub(super) fn progress(
    report: &Report,
    domain: &Domain,
    progress: &Progress,
) -> serde_json::Result<String> {
    line(&News {
        schema: SCHEMA,
        command: report.command,
        simulated: report.simulated,
        who: who(domain),
        event: "progress",
        at_ms: millis(progress.at),
        from_kib: progress.from,
        current_kib: progress.current,
        wanted_kib: progress.wanted,
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A change that did not come about.
pub(super) fn failure(report: &Report, failure: &Failure) -> serde_json::Result<String> {
    let state = match failure.after {
        After::Unchanged | After::ReadOnly => "unchanged",
        After::Settled { .. } => "settled",
        After::PutBack { .. } => "put-back",
        After::OutOfStep { .. } => "out-of-step",
        After::Aside { .. } => "aside",
    };
    line(&Failed {
        head: head(report, failure.domain.as_ref(), false),
        error: Why {
            kind: failure.kind(),
            exit_code: failure.exit().into(),
            message: failure.to_string(),
            hint: failure.hint(),
            state,
        },
    })
}

/// Words that make no sense.
pub(super) fn usage(report: &Report, usage: &Usage) -> serde_json::Result<String> {
    line(&Failed {
        head: head(report, None, false),
        error: Why {
            kind: "usage",
            exit_code: Exit::Usage.into(),
            message: text::usage(usage),
            hint: Some(usage.hint.clone()),
            state: "unchanged",
        },
    })
}

/// A command line that was not understood as far as to know what is to be done.
pub(super) fn unparsed(message: &str) -> serde_json::Result<String> {
    line(&Failed {
        head: Head {
            schema: SCHEMA,
            command: "xmem",
            simulated: false,
            domain: None,
            changed: false,
        },
        error: Why {
            kind: "usage",
            exit_code: Exit::Usage.into(),
            message: message.to_owned(),
            hint: Some("see `xmem --help`".to_owned()),
            state: "unchanged",
        },
    })
}
