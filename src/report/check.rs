//! `xmem check`: findings, their meaning, and their fix or repair.

use serde::Serialize;
use xmem_core::check::{CheckReport, Finding, RepairAction, RepairOutcome};
use xmem_core::recovery::Recovery;

use super::json::{DomainKeys, Json};
use super::{Report, text};
use crate::fixes;

/// The result of a check, and of a repair.
#[derive(Debug)]
pub(crate) struct Checked<'a> {
    /// The domains that were checked.
    pub(crate) report: &'a CheckReport,
    pub(crate) findings: &'a [(Finding, RepairOutcome)],
    /// Whether the host was checked again after a repair.
    pub(crate) is_final: bool,
}

/// The counts of the summary.
#[derive(Serialize)]
struct Summary {
    domains: usize,
    checked: usize,
    locked: usize,
    building: usize,
    out_of_step: usize,
    notices: usize,
    repaired: usize,
}

#[derive(Serialize)]
struct FindingKeys {
    kind: &'static str,
    out_of_step: bool,
    message: String,
    meaning: &'static str,
    fix: Option<String>,
    repaired: bool,
    repair: Option<String>,
}

#[derive(Serialize)]
struct SummaryKeys {
    summary: Summary,
}

/// Whether a finding is still there.
pub(crate) const fn is_open(outcome: &RepairOutcome) -> bool {
    matches!(outcome, RepairOutcome::NotRepaired | RepairOutcome::WouldRepair(_))
}

impl Summary {
    fn of(checked: &Checked<'_>) -> Self {
        let count = |is: &dyn Fn(&Finding, &RepairOutcome) -> bool| {
            checked.findings.iter().filter(|(finding, outcome)| is(finding, outcome)).count()
        };
        let is_grave = |finding: &Finding| finding.diagnosis.is_out_of_step();
        let CheckReport { rows, locked, building, .. } = checked.report;
        let domains = rows.len();
        Self {
            domains,
            checked: checked.report.checked(),
            locked: *locked,
            building: *building,
            out_of_step: count(&|finding, outcome| is_open(outcome) && is_grave(finding)),
            notices: count(&|finding, outcome| is_open(outcome) && !is_grave(finding)),
            repaired: count(&|_, outcome| matches!(outcome, RepairOutcome::Repaired(_))),
        }
    }

    fn text(&self) -> String {
        let s = |count: usize| if count == 1 { "" } else { "s" };
        let mut head = format!("{} domain{}", self.domains, s(self.domains));
        let left_out = [(self.locked, "locked"), (self.building, "being built")];
        let left_out: Vec<String> = left_out
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, why)| format!("{count} {why}"))
            .collect();
        if !left_out.is_empty() {
            head = format!("{head} ({} checked, {})", self.checked, left_out.join(", "));
        }
        let mut parts = vec![match self.out_of_step {
            0 if self.checked == 0 && self.domains > 0 => "nothing was checked".to_owned(),
            0 => "nothing out of step".to_owned(),
            count => format!("{count} finding{} out of step", s(count)),
        }];
        if self.notices > 0 {
            parts.push(format!("{} notice{}", self.notices, s(self.notices)));
        }
        if self.repaired > 0 {
            parts.push(format!("{} repaired", self.repaired));
        }
        format!("{head}: {}", parts.join(", "))
    }
}

impl Report {
    /// Each finding.
    pub(crate) fn findings(&self, checked: &Checked<'_>) {
        if self.style.json {
            self.json(|json| {
                checked
                    .findings
                    .iter()
                    .map(|it| finding(self, &json, it))
                    .collect::<serde_json::Result<Vec<_>>>()
            });
        } else if !self.style.quiet {
            let lines: Vec<String> =
                checked.findings.iter().flat_map(|it| sentences(self, it)).collect();
            self.print_lines(&lines);
        }
    }

    /// The summary.
    pub(crate) fn summary(&self, checked: &Checked<'_>) {
        let summary = Summary::of(checked);
        if self.style.json {
            self.json(|json| json.object(None, SummaryKeys { summary }).map(Some));
        } else if !self.style.quiet {
            let unchecked = if checked.is_final { "" } else { "; not checked again" };
            self.print(&format!("{}{unchecked}{}", summary.text(), self.mark()));
        }
    }
}

/// Three lines: the finding, its meaning, its fix.
fn sentences(report: &Report, (finding, outcome): &(Finding, RepairOutcome)) -> Vec<String> {
    let diagnosis = &finding.diagnosis;
    let domain = match (&finding.domain, finding.domid) {
        (Some(domain), _) => domain.to_string(),
        (None, Some(domid)) => format!("domain {domid}"),
        (None, None) => "host".to_owned(),
    };
    let mut lines = vec![
        format!("{domain}: {}", text::finding(diagnosis)),
        format!("    meaning: {}", diagnosis.meaning),
    ];
    lines.extend(match outcome {
        RepairOutcome::NotRepaired => diagnosis
            .fix
            .as_ref()
            .map(|fix| format!("    {}", report.remedy("fix", &fixes::fix(fix, &report.program)))),
        RepairOutcome::Resolved => Some("    now: resolved".to_owned()),
        RepairOutcome::WouldRepair(action) => {
            Some(format!("    would repair: {}", repair(action, false)))
        }
        RepairOutcome::Repaired(action) => Some(format!("    repaired: {}", repair(action, true))),
    });
    lines
}

fn finding(
    report: &Report,
    json: &Json<'_>,
    (finding, outcome): &(Finding, RepairOutcome),
) -> serde_json::Result<String> {
    let diagnosis = &finding.diagnosis;
    let domain = finding.domain.as_ref().map(DomainKeys::from);
    json.object(
        domain.or_else(|| finding.domid.map(DomainKeys::from)),
        FindingKeys {
            kind: diagnosis.kind.word(),
            out_of_step: diagnosis.is_out_of_step(),
            message: text::shortened(&diagnosis.message),
            meaning: diagnosis.meaning,
            fix: diagnosis.fix.as_ref().map(|fix| fixes::fix(fix, &report.program).text),
            repaired: matches!(outcome, RepairOutcome::Repaired(_)),
            repair: match outcome {
                RepairOutcome::WouldRepair(action) => Some(repair(action, false)),
                RepairOutcome::Repaired(action) => Some(repair(action, true)),
                RepairOutcome::NotRepaired | RepairOutcome::Resolved => None,
            },
        },
    )
}

/// What was repaired, or would be.
fn repair(action: &RepairAction, done: bool) -> String {
    let (old, new, recovery) = match action {
        RepairAction::Removed => return "removed".to_owned(),
        RepairAction::Numbers { old, new, recovery } => (old, new, recovery),
    };
    let mut parts = text::changed_numbers(*old, *new);
    parts.extend(recovery.as_ref().map(|recovery| match recovery {
        recovery if done => recovery.to_string(),
        Recovery::SetAside { .. } => "its record is moved out of the way".to_owned(),
        _ => "its record is removed".to_owned(),
    }));
    if parts.is_empty() {
        parts.push("the numbers were right already".to_owned());
    }
    parts.join("; ")
}
