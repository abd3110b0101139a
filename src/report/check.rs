//! `xmem check`: what is off, what it means, what mends it or has mended it.

use serde::Serialize;
use xmem::check::{Deed, Fate, Finding};
use xmem::hypervisor::UNLIMITED;
use xmem::intent::Numbers;
use xmem::settle::Earlier;
use xmem::size::Kib;

use super::Report;
use super::json::{SCHEMA, line};
use super::text::SIMULATED;

/// How many findings of each sort there are.
#[derive(Default, Serialize)]
struct Count {
    domains: usize,
    out_of_step: usize,
    information: usize,
    repaired: usize,
}

impl Count {
    fn of(domains: usize, found: &[(Finding, Fate)]) -> Self {
        let count = |is: &dyn Fn(&Finding, &Fate) -> bool| {
            found.iter().filter(|(finding, fate)| is(finding, fate)).count()
        };
        Self {
            domains,
            out_of_step: count(&|it, fate| fate.is_open() && it.is_out_of_step()),
            information: count(&|it, fate| fate.is_open() && !it.is_out_of_step()),
            repaired: count(&|_, fate| matches!(fate, Fate::Mended(_))),
        }
    }
}

/// Three lines for each finding, and one for all.
pub(super) fn text(domains: usize, found: &[(Finding, Fate)], simulated: bool) -> String {
    let mut lines = Vec::new();
    for (finding, fate) in found {
        lines.push(format!("{}: {finding}", who(finding)));
        lines.push(format!("    means: {}", finding.means()));
        lines.extend(match fate {
            Fate::Left => finding.mend().map(|mend| format!("    mend: {mend}")),
            Fate::Passed => Some("    now: it is not so any more".to_owned()),
            Fate::Would(deed) => Some(format!("    would repair: {}", done(deed, fate))),
            Fate::Mended(deed) => Some(format!("    repaired: {}", done(deed, fate))),
        });
    }
    let Count { domains, out_of_step, information, repaired } = Count::of(domains, found);
    let s = |count| if count == 1 { "" } else { "s" };
    let domains = format!("{domains} domain{}: ", s(domains));
    let parts = [
        (out_of_step == 0).then(|| "nothing is out of step".to_owned()),
        (out_of_step > 0).then(|| format!("{out_of_step} finding{} out of step", s(out_of_step))),
        (information > 0).then(|| format!("{information} worth knowing")),
        (repaired > 0).then(|| format!("{repaired} repaired")),
    ];
    let mut all = domains + &parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    if simulated {
        all.push_str(SIMULATED);
    }
    lines.push(all);
    lines.join("\n")
}

/// `web (7)`.
fn who(finding: &Finding) -> String {
    if matches!(finding, Finding::Unlisted) {
        return "xenstore".to_owned();
    }
    let domid = || format!("domain {}", finding.domid());
    finding.domain().map_or_else(domid, |domain| domain.to_string())
}

/// What was done, or would be.
fn done(deed: &Deed, fate: &Fate) -> String {
    let (old, new, earlier) = match deed {
        Deed::Removed => return "removed".to_owned(),
        Deed::Numbers { old, new, earlier } => (old, new, earlier),
    };
    let steps = steps(*old, *new).join(", ");
    let mut parts: Vec<String> =
        Some(steps).filter(|steps| !steps.is_empty()).into_iter().collect();
    parts.extend(earlier.as_ref().map(|earlier| match (fate, earlier) {
        (Fate::Mended(_), _) => earlier.to_string(),
        (_, Earlier::Foreign(..)) => "its record is moved out of the way".to_owned(),
        _ => "its record is removed".to_owned(),
    }));
    if parts.is_empty() {
        parts.push("it was as it should be already".to_owned());
    }
    parts.join("; ")
}

/// Each number that becomes another.
fn steps(old: Numbers, new: Numbers) -> Vec<String> {
    let show = |kib: Option<Kib>| match kib {
        None => "missing".to_owned(),
        Some(UNLIMITED) => "unlimited".to_owned(),
        Some(kib) => kib.to_string(),
    };
    [
        ("target", old.target, new.target),
        ("maximum", old.static_max, new.static_max),
        ("limit", Some(old.limit), Some(new.limit)),
    ]
    .into_iter()
    .filter(|(_, old, new)| old != new)
    .map(|(what, old, new)| format!("{what} {} -> {}", show(old), show(new)))
    .collect()
}

/// One finding.
#[derive(Serialize)]
struct Found {
    schema: u32,
    command: &'static str,
    simulated: bool,
    domid: u16,
    /// `null` when the domain has none, or is gone.
    name: Option<String>,
    /// `null` when the domain is gone, and nothing tells.
    uuid: Option<String>,
    kind: &'static str,
    out_of_step: bool,
    message: String,
    means: &'static str,
    mend: Option<String>,
    repaired: bool,
    /// What was done, or, where nothing is repaired, would be.
    repair: Option<String>,
}

/// The last line.
#[derive(Serialize)]
struct Last {
    schema: u32,
    command: &'static str,
    simulated: bool,
    summary: Count,
}

/// A line for each finding, and one for all.
pub(super) fn json(
    report: &Report,
    domains: usize,
    found: &[(Finding, Fate)],
) -> serde_json::Result<String> {
    let (schema, command, simulated) = (SCHEMA, report.command, report.simulated);
    let mut lines = Vec::new();
    for (finding, fate) in found {
        let domain = finding.domain();
        lines.push(line(&Found {
            schema,
            command,
            simulated,
            domid: finding.domid().get(),
            name: domain.as_ref().and_then(|domain| Some(domain.name.as_ref()?.0.clone())),
            uuid: domain.map(|domain| domain.identity.uuid.to_string()),
            kind: finding.kind(),
            out_of_step: finding.is_out_of_step(),
            message: finding.to_string(),
            means: finding.means(),
            mend: finding.mend(),
            repaired: matches!(fate, Fate::Mended(_)),
            repair: match fate {
                Fate::Would(deed) | Fate::Mended(deed) => Some(done(deed, fate)),
                Fate::Left | Fate::Passed => None,
            },
        })?);
    }
    let summary = Count::of(domains, found);
    lines.push(line(&Last { schema, command, simulated, summary })?);
    Ok(lines.join("\n"))
}
