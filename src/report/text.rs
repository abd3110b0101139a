//! Results for people.

use std::fmt::Write as _;

use xmem::balloon::{Ending, Progress, Waited};
use xmem::change::{End, Outcome};
use xmem::harmless::{Harmless, beginning};
use xmem::intent::Numbers;
use xmem::size::{Kib, Mib};

use super::{Nudge, Usage};

/// What stands behind everything that is said of a simulated host.
pub(super) const SIMULATED: &str = " (simulated)";

/// How many characters of a word are repeated to who typed it.
const LONGEST_WORD: usize = 100;

/// How many of why it makes no sense: a reason can repeat a line of a batch.
const LONGEST_WHY: usize = 1000;

/// `web (7): target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB`.
pub(super) fn outcome(outcome: &Outcome, simulated: bool) -> String {
    let (old, new) = (outcome.plan.old, outcome.plan.goal());
    let lead = match outcome.end {
        End::Changed => "",
        End::Already => "already at ",
        End::DryRun => "would change: ",
    };
    let mut text =
        format!("{}: {lead}{}", outcome.domain, numbers(old, new, outcome.plan.vm_memory));
    if simulated {
        text.push_str(SIMULATED);
    }
    text
}

/// What else there is to know about it.
pub(super) fn notes(outcome: &Outcome) -> impl Iterator<Item = String> {
    let earlier = outcome.earlier.iter().map(ToString::to_string);
    earlier.chain(outcome.plan.notes.iter().map(ToString::to_string))
}

/// What was done for a guest that sleeps.
pub(super) const fn nudge(nudge: Nudge) -> Option<&'static str> {
    match nudge {
        Nudge::NotNeeded => None,
        Nudge::Done => Some(
            "the guest was not there: to wake its driver up, it was shown a target one page off",
        ),
        Nudge::Failed => {
            Some("the guest is not there, and its driver could not be woken up: see -v")
        }
    }
}

/// `web (7): holds 512 MiB, 2.1 s later`, or why not.
pub(super) fn waited(outcome: &Outcome, waited: &Waited, simulated: bool) -> String {
    let mut text = format!("{}: {waited}", outcome.domain);
    let took = waited.took.as_secs_f64();
    if matches!(waited.end, Ending::There) && took >= 0.05 {
        // Writing to a string cannot fail.
        let _ok = write!(text, " after {took:.1} s");
    }
    if simulated {
        text.push_str(SIMULATED);
    }
    text
}

/// `holds 800 MiB, 288 MiB to go`.
pub(super) fn way(progress: &Progress, simulated: bool) -> String {
    format!("holds {} MiB, {}", Mib(progress.current), to_go(progress.to_go(), simulated))
}

/// `288 MiB to go`.
pub(super) fn to_go(distance: Kib, simulated: bool) -> String {
    let mark = if simulated { SIMULATED } else { "" };
    format!("{} MiB to go{mark}", Mib(distance))
}

/// `3 of 12 guests on their way`.
pub(super) fn still(waiting: usize, all: usize) -> String {
    format!("{waiting} of {all} guests on their way")
}

/// `domain "": it is empty`.
pub(super) fn usage(usage: &Usage) -> String {
    let (text, text_cut) = beginning(&usage.text, LONGEST_WORD);
    let (why, why_cut) = beginning(&usage.why, LONGEST_WHY);
    format!("{} `{}{text_cut}`: {why}{why_cut}", usage.what, Harmless(text))
}

/// Each of the numbers that a command is about, and each that changes.
fn numbers(old: Numbers, new: Numbers, set: bool) -> String {
    let parts = [
        (set || old.target != new.target).then(|| step("target", old.target, new.target)),
        (!set || old.static_max != new.static_max)
            .then(|| step("maximum", old.static_max, new.static_max)),
        Some(step("limit", Some(old.limit), Some(new.limit))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn step(what: &str, old: Option<Kib>, new: Option<Kib>) -> String {
    let show = |kib: Option<Kib>| match kib {
        None => "none".to_owned(),
        Some(kib) if kib == xmem::hypervisor::UNLIMITED => "none".to_owned(),
        Some(kib) => kib.to_string(),
    };
    let (old, new) = (show(old), show(new));
    if old == new { format!("{what} {new}") } else { format!("{what} {old} -> {new}") }
}
