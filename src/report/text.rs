//! Results as sentences.

use std::time::Duration;

use xen::escape::beginning;
use xen::hypervisor::UNLIMITED;
use xen::{Kib, Mib};
use xmem_core::change::{ChangeStatus, Outcome};
use xmem_core::diagnosis::Diagnosis;
use xmem_core::failure::{Failure, chain};
use xmem_core::memory::{Limit, Numbers};
use xmem_core::plan::TOLERANCE;
use xmem_core::state::State;
use xmem_core::wait::{Progress, WaitEnd, WaitReport};

use crate::hints;
use crate::program::Program;

/// The most characters of an error that are shown.
const LONGEST_ERROR: usize = 2000;

/// A note about a change.
pub(crate) struct NoteText {
    /// Its kind: stable, for programs.
    pub(super) kind: &'static str,
    pub(super) text: String,
}

/// `web (7): target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB`.
pub(super) fn outcome(outcome: &Outcome) -> String {
    let plan = &outcome.plan;
    let lead = match outcome.status {
        _ if outcome.is_change() => "",
        ChangeStatus::DryRun if !plan.changes_nothing() => "would change: ",
        _ => "already at ",
    };
    let mut parts = Vec::new();
    if plan.sets_target || plan.old.target != plan.new.target {
        // Only then do size and target differ.
        if plan.video > 0 {
            let size = |target: Option<Kib>| target.and_then(|it| it.offset(plan.video.into()));
            parts.push(step("size", size(plan.old.target), size(plan.new.target)));
        }
        parts.push(step("target", plan.old.target, plan.new.target));
    }
    if !plan.sets_target || plan.old.static_max != plan.new.static_max {
        parts.push(step("maximum", plan.old.static_max, plan.new.static_max));
    }
    parts.push(step("limit", Some(outcome.old().limit), Some(plan.new.limit)));
    format!("{}: {lead}{}", outcome.domain, parts.join(", "))
}

/// `target 1024 MiB -> 512 MiB`, or `target 512 MiB` if it stays.
pub(super) fn step(what: &str, old: Option<Kib>, new: Option<Kib>) -> String {
    let (old, new) = (shown(old), shown(new));
    if old == new { format!("{what} {new}") } else { format!("{what} {old} -> {new}") }
}

fn shown(kib: Option<Kib>) -> String {
    Limit(kib.unwrap_or(UNLIMITED)).to_string()
}

/// Each number that changes.
pub(super) fn changed_numbers(old: Numbers, new: Numbers) -> Vec<String> {
    [
        ("target", old.target, new.target),
        ("maximum", old.static_max, new.static_max),
        ("limit", Some(old.limit), Some(new.limit)),
    ]
    .into_iter()
    .filter(|(_, old, new)| old != new)
    .map(|(what, old, new)| step(what, old, new))
    .collect()
}

/// The notes about a change; `waits` if its guest is waited for. Commands in them name the host of `program`.
pub(super) fn notes(outcome: &Outcome, waits: bool, program: &Program) -> Vec<NoteText> {
    let note = |kind, text| NoteText { kind, text };
    let mut notes = Vec::new();
    notes.extend(outcome.recovery.iter().map(|it| note(it.kind(), it.to_string())));
    notes.extend(outcome.plan.notes.iter().map(|it| {
        let hint = hints::note(it, program).map_or_else(String::new, |hint| format!("; {hint}"));
        note(it.kind(), format!("{it}{hint}"))
    }));
    let (current, wanted) = (outcome.info.current, outcome.plan.wanted);
    let is_elsewhere = current.0.abs_diff(wanted.0) > TOLERANCE.0;
    if outcome.status != ChangeStatus::Changed
        && outcome.plan.changes_nothing()
        && outcome.plan.sets_target
        && !waits
        && is_elsewhere
        && outcome.state == State::Running
    {
        let (has, wanted) = (Mib(current), Mib(wanted));
        let text = format!("the guest has {has} MiB, not {wanted} MiB; --wait waits for it");
        notes.push(note("not-reached", text));
    }
    notes
}

/// The note about a balloon driver that could not be nudged.
pub(super) fn not_nudged(failure: &Failure) -> NoteText {
    let why = match failure.state() {
        Some("unchanged") => chain(&failure.cause),
        _ => failure.reason(),
    };
    let why = shortened(&why);
    let text = format!("its balloon driver could not be nudged: {why}");
    NoteText { kind: "not-nudged", text }
}

/// An error with all its causes, shortened, and without the numbers that Rust adds to the operating system's errors.
pub(crate) fn shortened(text: &str) -> String {
    let (text, cut) = beginning(text, LONGEST_ERROR);
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(" (os error ") {
        shown.push_str(before);
        rest = after.split_once(')').map_or("", |(_number, after)| after);
    }
    format!("{shown}{rest}{cut}")
}

/// A finding as a sentence, with its severity.
pub(super) fn finding(diagnosis: &Diagnosis) -> String {
    let lead = if diagnosis.is_out_of_step() { "out of step: " } else { "" };
    format!("{lead}{}", shortened(&diagnosis.message))
}

/// The end of a wait as a sentence: `web (7): has 512 MiB after 2.1 s`.
pub(super) fn waited(outcome: &Outcome, wait: &WaitReport) -> String {
    let is_long = wait.took >= Duration::from_millis(50);
    let took = match wait.end {
        WaitEnd::Reached if is_long => format!(" after {}", seconds(wait.took)),
        _ => String::new(),
    };
    format!("{}: {wait}{took}", outcome.domain)
}

/// `has 800 MiB, 288 MiB to go`.
pub(super) fn way(progress: &Progress) -> String {
    let distance = Kib(progress.current.0.abs_diff(progress.wanted.0));
    let state = match progress.state {
        State::Running => String::new(),
        state => format!(" ({})", state.word()),
    };
    format!("has {} MiB, {}{state}", Mib(progress.current), to_go(distance))
}

/// `288 MiB to go`.
pub(super) fn to_go(distance: Kib) -> String {
    format!("{} MiB to go", Mib(distance))
}

/// A duration as `2.1 s`, or `300 ms` if it is less than a second.
pub(super) fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(1) && !time.is_zero() {
        format!("{} ms", time.as_millis())
    } else {
        let tenths = time.as_millis() / 100;
        match (tenths / 10, tenths % 10) {
            (whole, 0) => format!("{whole} s"),
            (whole, tenth) => format!("{whole}.{tenth} s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_note_about_a_nudge_has_no_number_of_an_error() {
        let source = io::Error::from_raw_os_error(111);
        let cause = xmem_core::failure::Cause::StateDir { path: "/var/lib/xen".into(), source };
        let text = not_nudged(&Failure::unchanged(None, cause)).text;
        assert!(text.ends_with("/var/lib/xen: Connection refused"), "{text}");
    }
}
