//! `xmem reclaim`: the share of each domain, and the result.

use serde::Serialize;
use xen::{Kib, Mib};
use xmem_core::change::{ChangeStatus, Outcome};
use xmem_core::domain::Domain;
use xmem_core::reclaim::{
    Donor, DonorSelection, Exclusion, FloorReason, ReclaimEnd, ReclaimPlan, ReclaimReport,
    ReclaimRequest,
};
use xmem_core::wait::{WaitEnd, WaitReport};

use super::json::{ErrorKeys, NoteKeys, WaitKeys};
use super::{Report, text};
use crate::exit::Exit;
use crate::hints;
use crate::remedy::Remedy;

#[derive(Serialize)]
struct DonorKeys {
    event: &'static str,
    state: &'static str,
    current_kib: Kib,
    size_kib: Kib,
    floor_kib: Kib,
    floor_reason: &'static str,
    /// The share that it is asked for.
    gives_kib: Kib,
    /// The reason why it gives nothing.
    excluded: Option<String>,
    notes: Vec<NoteKeys>,
}

#[derive(Serialize)]
struct WaitedKeys {
    event: &'static str,
    wait: WaitKeys,
}

#[derive(Serialize)]
struct RestoredKeys {
    event: &'static str,
    changed: bool,
    size_kib: Kib,
}

#[derive(Serialize)]
struct ReclaimKeys {
    reclaim: Totals,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorKeys>,
}

#[derive(Serialize)]
struct Totals {
    end: &'static str,
    goal_kib: Kib,
    available_kib: Kib,
    /// The most that the host could have, as planned.
    possible_kib: Option<Kib>,
}

/// The changes of a reclaim that failed.
#[derive(Debug, Default)]
pub(crate) struct FailedChanges {
    /// The kind of the first one's cause.
    kind: Option<&'static str>,
    exits: Vec<Exit>,
}

impl FailedChanges {
    /// Adds one, whose cause is of `kind`.
    pub(crate) fn add(&mut self, kind: &'static str, exit: Exit) {
        self.kind.get_or_insert(kind);
        self.exits.push(exit);
    }

    /// Whether a domain may be out of step.
    fn left_out_of_step(&self) -> bool {
        self.exits.contains(&Exit::OutOfStep)
    }
}

/// How to get more memory. A floor that `--floor` can lower holds back some, unless its guest is excluded.
fn more<'a>(
    from: &DonorSelection,
    donors: impl IntoIterator<Item = (&'a Donor, &'a Option<Exclusion>)>,
) -> Option<String> {
    let (mut is_floor, mut is_stuck) = (false, false);
    for (donor, exclusion) in donors {
        let can_be_lower = matches!(donor.floor.reason, FloorReason::Asked | FloorReason::Half);
        is_floor |= exclusion.is_none() && can_be_lower;
        is_stuck |= *exclusion == Some(Exclusion::GaveLess);
    }
    let stuck =
        "the guests are stuck: check that they run and that their balloon drivers are loaded";
    Some(match (from, is_floor, is_stuck) {
        (DonorSelection::All, true, _) => "lower the floors (--floor)".to_owned(),
        (DonorSelection::All, false, true) => stuck.to_owned(),
        (DonorSelection::All, false, false) => return None,
        (DonorSelection::Named(_), true, _) => {
            "name more domains, or lower their floors (--floor)".to_owned()
        }
        (DonorSelection::Named(_), false, true) => format!("{stuck}, or name other domains"),
        (DonorSelection::Named(_), false, false) => "name more domains".to_owned(),
    })
}

/// `9216 of 10240 MiB available`, and the part of that goal which must stay free.
fn of_goal(available: Kib, goal: Kib, request: &ReclaimRequest) -> String {
    let keep_free = request.keep_free.map_or_else(String::new, |keep_free| {
        let size = Mib(keep_free);
        format!(", including {size} MiB to keep free (--keep-free or XMEM_KEEP_FREE)")
    });
    format!("{} of {} MiB available{keep_free}", Mib(available), Mib(goal))
}

impl Report {
    /// A dry run's plan.
    pub(crate) fn reclaim_plan(&self, plan: &ReclaimPlan, request: &ReclaimRequest) -> Exit {
        if self.style.json {
            self.donors("would-give", plan);
        } else if !self.style.quiet {
            let lines: Vec<String> = plan
                .donors
                .iter()
                .zip(&plan.shares)
                .map(|(donor, share)| giving(donor, *share))
                .collect();
            self.print_lines(&lines);
            for Donor { domain, recovery, .. } in &plan.donors {
                if let Some(recovery) = recovery {
                    self.note(&format!("{domain}: {recovery}"));
                }
            }
        }
        let possible = plan.possible();
        if !plan.is_enough() {
            let hint = more(&request.from, plan.donors.iter().map(|it| (it, &it.exclusion)));
            return self.not_enough(plan.goal, plan.available, possible, request, hint);
        }
        if self.style.json {
            let totals = Totals {
                end: "planned",
                goal_kib: plan.goal,
                available_kib: plan.available,
                possible_kib: Some(possible),
            };
            self.json(|json| {
                json.object(None, ReclaimKeys { reclaim: totals, error: None }).map(Some)
            });
        } else if !self.style.quiet {
            let goal = Mib(plan.goal);
            let text = if plan.available >= plan.goal {
                format!("the host has {} MiB available already", Mib(plan.available))
            } else {
                format!(
                    "the host has {} MiB available, and would have {goal} MiB",
                    Mib(plan.available)
                )
            };
            self.print(&(text + self.mark()));
        }
        Exit::Done
    }

    /// A plan about to be carried out.
    pub(crate) fn reclaim_planned(&self, plan: &ReclaimPlan) {
        if self.style.json {
            self.donors("gives", plan);
        }
    }

    fn donors(&self, event: &'static str, plan: &ReclaimPlan) {
        self.json(|json| {
            let pairs = plan.donors.iter().zip(&plan.shares);
            let line = |(donor, share): (&Donor, &Kib)| {
                let keys = DonorKeys {
                    event,
                    state: donor.state.word(),
                    current_kib: donor.held,
                    size_kib: donor.size,
                    floor_kib: donor.floor.size,
                    floor_reason: floor_reason(donor.floor.reason),
                    gives_kib: *share,
                    excluded: donor.exclusion.as_ref().map(ToString::to_string),
                    notes: donor.recovery.iter().map(NoteKeys::from).collect(),
                };
                json.dated(Some((&donor.domain).into()), keys)
            };
            pairs.map(line).collect::<serde_json::Result<Vec<_>>>()
        });
    }

    /// A guest's target was lowered, or was as low already, and it is waited for.
    pub(crate) fn lowered(&self, outcome: &Outcome) {
        if self.style.json {
            self.json(|json| json.outcome(outcome, None, true));
        } else if !self.style.quiet {
            self.changed(outcome, true, true);
        }
    }

    /// A guest's wait is over.
    pub(crate) fn gave(&self, domain: Option<&Domain>, wait: &WaitReport) {
        let Some(domain) = domain else { return };
        if self.style.json {
            let keys = WaitedKeys { event: "waited", wait: WaitKeys::from(wait) };
            self.json(|json| json.dated(Some(domain.into()), keys).map(Some));
        } else if !matches!(
            wait.end,
            // The last line reports it.
            WaitEnd::Reached | WaitEnd::Interrupted | WaitEnd::NotNeeded
        ) {
            self.note(&format!("{domain}: {wait}"));
        }
    }

    /// A guest's old target was restored.
    pub(crate) fn restored(&self, outcome: &Outcome) {
        let changed = outcome.status == ChangeStatus::Changed;
        if self.style.json {
            let size_kib = outcome.plan.size();
            let keys = RestoredKeys { event: "restored", changed, size_kib };
            self.json(|json| json.dated(Some((&outcome.domain).into()), keys).map(Some));
        } else if !self.style.quiet {
            let text = if changed {
                format!("restored: {}", text::outcome(outcome))
            } else {
                format!(
                    "{}: not restored: another program has set its target since",
                    outcome.domain
                )
            };
            self.print(&(text + self.mark()));
        }
    }

    /// The end. A domain that may be out of step decides the exit code, whatever the end.
    pub(crate) fn reclaimed(
        &self,
        done: &ReclaimReport,
        failed: &FailedChanges,
        request: &ReclaimRequest,
    ) -> Exit {
        // Targets that were not restored stay lowered.
        let changed = done.donors.iter().any(|it| it.changed && !it.restored);
        let out_of_step = failed.left_out_of_step();
        let restored = done.donors.iter().any(|it| it.restored);
        let has = format!("the host has {}", of_goal(done.available, done.goal, request));
        let more = more(&request.from, done.donors.iter().map(|it| (&it.donor, &it.exclusion)));
        let targets = match (changed || out_of_step, restored) {
            (true, false) => "the targets stay set",
            (true, true) => "some targets stay set",
            (false, true) => "the old targets are restored",
            (false, false) => "nothing changed",
        };
        let (end, kind, message, exit, hint) = match &done.end {
            ReclaimEnd::Reached => {
                if self.style.json {
                    let reclaim = totals("reached", done, None);
                    self.json(|json| {
                        json.object(None, ReclaimKeys { reclaim, error: None }).map(Some)
                    });
                } else if !self.style.quiet {
                    let available = Mib(done.available);
                    self.print(&format!("the host has {available} MiB available{}", self.mark()));
                }
                return if out_of_step { Exit::OutOfStep } else { Exit::Done };
            }
            ReclaimEnd::NotEnough { possible } => {
                let show = "-n shows what each can give";
                let hint = more.map_or_else(|| show.to_owned(), |more| format!("{more}; {show}"));
                return self.not_enough(done.goal, done.available, *possible, request, Some(hint));
            }
            ReclaimEnd::FellShort => match failed.kind {
                Some(kind) if done.donors.iter().all(|it| it.asked.is_none()) => {
                    let message = format!("no target could be lowered: {has}");
                    ("fell-short", kind, message, Exit::of_all(&failed.exits), None)
                }
                _ => {
                    let message = format!("the domains gave less than planned; {targets}: {has}");
                    ("fell-short", "stuck", message, Exit::NotReached, more.map(Remedy::from))
                }
            },
            ReclaimEnd::Interrupted => {
                let message = format!("interrupted; {targets}: {has}");
                ("interrupted", "interrupted", message, Exit::NotReached, None)
            }
            ReclaimEnd::Unreachable(cause) => (
                "unreachable",
                cause.kind(),
                format!("{}; {targets}: {has} when last seen", xmem_core::failure::chain(cause)),
                Exit::from(cause),
                hints::cause(cause, &self.program),
            ),
            _ => ("fell-short", "stuck", has, Exit::NotReached, None),
        };
        let (exit, state) = match (out_of_step, changed) {
            (true, _) => (Exit::OutOfStep, "out-of-step"),
            (false, true) => (exit, "changed"),
            (false, false) if restored => (exit, "restored"),
            (false, false) => (exit, "unchanged"),
        };
        self.failed_reclaim(totals(end, done, None), kind, &message, exit, hint, state)
    }

    fn not_enough(
        &self,
        goal: Kib,
        available: Kib,
        possible: Kib,
        request: &ReclaimRequest,
        hint: Option<String>,
    ) -> Exit {
        let message = format!(
            "the domains cannot give enough: the host would have {}; nothing changed",
            of_goal(possible, goal, request)
        );
        let end = "not-enough";
        let reclaim =
            Totals { end, goal_kib: goal, available_kib: available, possible_kib: Some(possible) };
        self.failed_reclaim(
            reclaim,
            "no-memory",
            &message,
            Exit::Refused,
            hint.map(Remedy::from),
            "unchanged",
        )
    }

    fn failed_reclaim(
        &self,
        reclaim: Totals,
        kind: &'static str,
        message: &str,
        exit: Exit,
        hint: Option<Remedy>,
        state: &'static str,
    ) -> Exit {
        self.error(&format!("{message}{}", self.mark()), hint.as_ref());
        let message = text::shortened(message);
        if self.style.json {
            let (state, hint) = (Some(state), hint.map(|it| it.text));
            let error = ErrorKeys { kind, exit_code: exit.code(), message, hint, state };
            self.json(|json| {
                json.object(None, ReclaimKeys { reclaim, error: Some(error) }).map(Some)
            });
        }
        exit
    }
}

const fn totals(end: &'static str, done: &ReclaimReport, possible_kib: Option<Kib>) -> Totals {
    Totals { end, goal_kib: done.goal, available_kib: done.available, possible_kib }
}

const fn floor_reason(reason: FloorReason) -> &'static str {
    match reason {
        FloorReason::Asked => "asked",
        FloorReason::Used(_) => "used",
        FloorReason::Half => "half",
        _ => "minimum",
    }
}

/// `web (7): would give 512 MiB: 1024 MiB -> 512 MiB`.
fn giving(donor: &Donor, share: Kib) -> String {
    let domain = &donor.domain;
    if let Some(exclusion) = &donor.exclusion {
        return format!("{domain}: gives nothing: {exclusion}");
    }
    let why = match donor.floor.reason {
        FloorReason::Used(used) => format!("its guest uses {} MiB", Mib(used)),
        FloorReason::Asked => "--floor".to_owned(),
        FloorReason::Half => "half of its size; it does not report what it uses".to_owned(),
        _ => "the minimum for a guest".to_owned(),
    };
    let floor = format!("floor {} MiB: {why}", Mib(donor.floor.size));
    if share == Kib(0) {
        return format!("{domain}: would give nothing ({floor})");
    }
    let (from, to) = (donor.size, donor.size_after(share));
    format!("{domain}: would give {} MiB: size {from} -> {to} ({floor})", Mib(share))
}
