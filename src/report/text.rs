//! Results as sentences.

use std::error::Error;
use std::time::Duration;

use xen::escape::{Escaped, beginning, escaped_path};
use xen::hypervisor::UNLIMITED;
use xen::{Kib, Mib};
use xmem_core::change::{ChangeStatus, Outcome};
use xmem_core::failure::{Aftermath, Failure};
use xmem_core::memory::Numbers;
use xmem_core::plan::TOLERANCE;
use xmem_core::recovery::Recovery;
use xmem_core::state::State;
use xmem_core::wait::{Progress, WaitEnd, WaitReason, WaitReport};

/// How much of an error is shown.
const LONGEST_ERROR: usize = 2000;

/// Something worth knowing about a change.
pub(super) struct NoteText {
    /// Which one: stable, for programs.
    pub(super) kind: &'static str,
    pub(super) text: String,
}

/// `web (7): target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB`.
pub(super) fn outcome(outcome: &Outcome) -> String {
    let plan = &outcome.plan;
    let lead = match outcome.status {
        ChangeStatus::Changed => "",
        ChangeStatus::Unchanged => "already at ",
        ChangeStatus::DryRun if plan.changes_nothing() => "would change nothing: ",
        ChangeStatus::DryRun => "would change: ",
    };
    let mut parts = Vec::new();
    if plan.writes_vm_memory || plan.old.target != plan.new.target {
        // Only then is the size another number than the target.
        if plan.video > 0 {
            let size = |target: Option<Kib>| target.and_then(|it| it.offset(plan.video.into()));
            parts.push(step("size", size(plan.old.target), size(plan.new.target)));
        }
        parts.push(step("target", plan.old.target, plan.new.target));
    }
    if !plan.writes_vm_memory || plan.old.static_max != plan.new.static_max {
        parts.push(step("maximum", plan.old.static_max, plan.new.static_max));
    }
    parts.push(step("limit", Some(plan.old.limit), Some(plan.new.limit)));
    format!("{}: {lead}{}", outcome.domain, parts.join(", "))
}

/// `target 1024 MiB -> 512 MiB`, or `target 512 MiB` if it stays.
pub(super) fn step(what: &str, old: Option<Kib>, new: Option<Kib>) -> String {
    let (old, new) = (shown(old), shown(new));
    if old == new { format!("{what} {new}") } else { format!("{what} {old} -> {new}") }
}

fn shown(kib: Option<Kib>) -> String {
    match kib {
        None | Some(UNLIMITED) => "none".to_owned(),
        Some(kib) => kib.to_string(),
    }
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

/// What else there is to know about a change; `waits` if its guest is waited for.
pub(super) fn notes(outcome: &Outcome, waits: bool) -> Vec<NoteText> {
    let note = |kind, text| NoteText { kind, text };
    let mut notes = Vec::new();
    if let Some(left) = &outcome.recovery {
        notes.push(note("recovery", recovery(left)));
    }
    let of_plan = outcome.plan.notes.iter();
    notes.extend(of_plan.map(|it| note(super::json::note_kind(it), it.to_string())));
    let (current, wanted) = (outcome.info.current, outcome.plan.wanted);
    let is_elsewhere = current.0.abs_diff(wanted.0) > TOLERANCE.0;
    if outcome.status == ChangeStatus::Unchanged
        && outcome.plan.writes_vm_memory
        && !waits
        && is_elsewhere
        && outcome.state == State::Running
    {
        let text = format!(
            "the guest holds {} MiB, not {} MiB; --wait nudges its balloon driver",
            Mib(current),
            Mib(wanted)
        );
        notes.push(note("not-reached", text));
    }
    notes
}

/// What a killed run left, and what became of it.
pub(super) fn recovery(recovery: &Recovery) -> String {
    match recovery {
        Recovery::Completed(limit) => {
            format!(
                "an earlier xmem was killed after its commit; the limit is {limit}, as intended"
            )
        }
        Recovery::RolledBack(limit) => {
            format!(
                "an earlier xmem was killed before its commit; the limit was rolled back to {limit}"
            )
        }
        Recovery::Superseded(limit) => format!(
            "an earlier xmem was killed, and the memory has been set since; the limit is {limit}"
        ),
        Recovery::SetAside { path, why } => {
            format!(
                "a record that xmem does not understand ({why}) was moved to {}",
                escaped_path(path)
            )
        }
        Recovery::Pending(path) => format!(
            "an earlier xmem was killed ({}); the next change completes it or rolls it back",
            escaped_path(path)
        ),
        _ => "an earlier xmem was killed".to_owned(),
    }
}

/// One line: the domain, what happened with all its reasons, the state that is left.
pub(crate) fn failure(failure: &Failure) -> String {
    let domain = failure.domain.as_ref().map_or_else(String::new, |domain| format!("{domain}: "));
    domain + &unnamed(failure)
}

/// The same where the domain is named already.
fn unnamed(failure: &Failure) -> String {
    let state = match &failure.aftermath {
        Aftermath::Unchanged => "; nothing changed".to_owned(),
        Aftermath::Recovered(left) => format!("; nothing else changed: {}", recovery(left)),
        Aftermath::RolledBack { limit } => format!("; rolled back: the limit is {limit}"),
        Aftermath::OnePageOff { target } => {
            format!("; the target is {target}, one page off, where it was set to nudge the driver")
        }
        Aftermath::OutOfStep { limit, why, .. } => {
            let limit =
                limit.map_or_else(String::new, |limit| format!("; the limit is now {limit}"));
            format!("; target and limit may be out of step: {why}{limit}")
        }
        _ => String::new(),
    };
    chain(&failure.cause) + &state
}

/// An error with all its reasons, outermost first.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    shortened(&text)
}

/// As much of an error as is shown.
pub(super) fn shortened(text: &str) -> String {
    let (text, cut) = beginning(text, LONGEST_ERROR);
    format!("{text}{cut}")
}

/// `web (7): holds 512 MiB after 2.1 s`, or why not.
pub(super) fn waited(outcome: &Outcome, wait: &WaitReport) -> String {
    let reasons: String =
        wait.reasons.iter().map(|it| format!("; {}", reason(outcome, it))).collect();
    format!("{}: {}{reasons}", outcome.domain, wait_end(outcome, wait))
}

fn wait_end(outcome: &Outcome, wait: &WaitReport) -> String {
    let (current, wanted) = (Mib(wait.info.current), Mib(wait.wanted));
    let set = match outcome.status {
        ChangeStatus::Changed => "the target is set",
        _ => "the target was set already",
    };
    let place = format!("{set}, but the guest holds {current} of {wanted} MiB");
    match &wait.end {
        WaitEnd::Reached => {
            let took = if wait.took >= Duration::from_millis(50) {
                format!(" after {}", seconds(wait.took))
            } else {
                String::new()
            };
            format!("holds {current} MiB{took}")
        }
        WaitEnd::Stuck => {
            let patience = seconds(wait.policy.patience);
            format!("{place} and has made no progress for {patience}")
        }
        WaitEnd::TimedOut => {
            format!("{place} after {}", seconds(wait.policy.at_most.unwrap_or(wait.took)))
        }
        WaitEnd::TargetChanged { now: Some(now) } => format!(
            "another program changed the target: it is now {now}, not {}; the guest holds {current} MiB",
            wait.target
        ),
        WaitEnd::TargetChanged { now: None } => format!(
            "another program removed the target of {}; the guest holds {current} MiB",
            wait.target
        ),
        WaitEnd::Gone { successor: None } => "the domain went away during the wait".to_owned(),
        WaitEnd::Gone { successor: Some(domid) } => {
            format!(
                "the domain went away during the wait; a domain of the same name is there as {domid} (rebooted?)"
            )
        }
        WaitEnd::Stopped(state) => format!("{place}: it has {}", stopped(*state)),
        WaitEnd::Interrupted => format!(
            "interrupted; the target stays set and the guest continues towards it (now {current} of {wanted} MiB)"
        ),
        WaitEnd::Failed(error) => {
            format!("{place}; nudging its balloon driver failed: {}", unnamed(error))
        }
        WaitEnd::Unreachable(cause) => {
            format!("{place} when last seen: {}", chain(cause))
        }
        _ => place,
    }
}

const fn stopped(state: State) -> &'static str {
    match state {
        State::Crashed => "crashed",
        State::Dying => "been destroyed",
        _ => "shut down",
    }
}

fn reason(outcome: &Outcome, reason: &WaitReason) -> String {
    match reason {
        WaitReason::State(State::Building) => "it is still being created or received".to_owned(),
        WaitReason::State(state) => format!("it is {}", state.word()),
        WaitReason::Limit(limit) => format!("its limit is only {limit}"),
        WaitReason::HostShort { needs, available: Kib(0) } => {
            format!("it needs {} MiB more, but the host has none free", Mib(*needs))
        }
        WaitReason::HostShort { needs, available } => format!(
            "it needs {} MiB more, but the host has only {} MiB free",
            Mib(*needs),
            Mib(*available)
        ),
        WaitReason::NoDriver => "no balloon driver appears to be running".to_owned(),
        WaitReason::GuestNeedsMemory => "it seems unable to free more".to_owned(),
        WaitReason::NoHotplug => "it seems unable to grow further".to_owned(),
        WaitReason::Dom0Sysfs(target) => {
            format!("its driver's own target in sysfs was set to {target} by hand")
        }
        WaitReason::DirectMapped => {
            format!(
                "{} is mapped 1:1 and keeps its pages (Arm)",
                Escaped(&outcome.domain.to_string())
            )
        }
        _ => "it did not follow".to_owned(),
    }
}

/// `holds 800 MiB, 288 MiB to go`.
pub(super) fn way(progress: &Progress) -> String {
    let distance = Kib(progress.current.0.abs_diff(progress.wanted.0));
    let state = match progress.state {
        State::Running => String::new(),
        state => format!(" ({})", state.word()),
    };
    format!("holds {} MiB, {}{state}", Mib(progress.current), to_go(distance))
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
