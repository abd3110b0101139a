//! `xmem list --format openmetrics`, for `node_exporter`'s textfile collector. Metrics are only ever added.

use std::fmt::Write as _;

use xen::Kib;
use xen::escape::Escaped;
use xen::hypervisor::UNLIMITED;
use xmem_core::survey::{Row, Survey};

/// A metric of a domain: its name, its help text, and its value; `None` if there is no number.
type Metric = (&'static str, &'static str, fn(&Row) -> Option<u64>);

const METRICS: [Metric; 8] = [
    ("xmem_domain_current_bytes", "Memory allocated to the domain.", |row| {
        bytes(Some(row.memory.info.current))
    }),
    ("xmem_domain_target_bytes", "Balloon target of the domain.", |row| {
        bytes(row.memory.target.clone().ok().flatten())
    }),
    ("xmem_domain_size_bytes", "Balloon target and video memory of the domain.", |row| {
        bytes(row.memory.size())
    }),
    (
        "xmem_domain_limit_bytes",
        "Hypervisor's limit of the domain; absent without a limit.",
        |row| bytes(Some(row.memory.info.limit)),
    ),
    (
        "xmem_domain_maximum_bytes",
        "Maximum (static-max) of the domain; absent without one.",
        |row| bytes(row.memory.static_max.clone().ok().flatten()),
    ),
    (
        "xmem_domain_outstanding_bytes",
        "Memory claimed for the domain and not yet allocated.",
        |row| bytes(Some(row.memory.info.outstanding)),
    ),
    (
        "xmem_domain_used_bytes",
        "Memory that the guest reports as used; absent if it does not.",
        |row| bytes(row.memory.used()),
    ),
    (
        "xmem_domain_out_of_step",
        "1 if target, limit and maximum are inconsistent; absent while the domain is locked or built.",
        |row| row.is_checked().then(|| row.is_out_of_step().into()),
    ),
];

/// All metrics, ended as OpenMetrics requires.
pub(super) fn metrics(survey: &Survey) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for (name, help, value) in METRICS {
        let samples: String = survey
            .rows
            .iter()
            .filter_map(|row| Some(format!("{name}{{{}}} {}\n", labels(row), value(row)?)))
            .collect();
        if !samples.is_empty() {
            let _ok = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{samples}");
        }
    }
    let name = "xmem_domain_state";
    let _ok = writeln!(text, "# HELP {name} 1 for the state of the domain.\n# TYPE {name} gauge");
    for row in &survey.rows {
        let labels = labels(row);
        let _ok = writeln!(text, "{name}{{{labels},state=\"{}\"}} 1", row.state.word());
    }
    if let Ok(memory) = &survey.host {
        for (name, help, kib) in [
            ("xmem_host_total_bytes", "All memory that Xen manages.", memory.total),
            ("xmem_host_free_bytes", "Memory that domains can be given.", memory.available()),
            ("xmem_host_claimed_bytes", "Free memory that is claimed by domains.", memory.claimed),
        ] {
            let value = kib.0.saturating_mul(1024);
            let _ok = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
    }
    text.push_str("# EOF");
    text
}

fn labels(row: &Row) -> String {
    let identity = row.domain.identity;
    let name = row.domain.name.as_ref().map_or_else(String::new, |name| {
        // The format has no escapes for control characters.
        let harmless = |c| if c != '\n' && Escaped::must_escape(c) { '\u{fffd}' } else { c };
        let value: String = name.0.chars().map(harmless).collect();
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        format!(",name=\"{value}\"")
    });
    format!("domid=\"{}\"{name},uuid=\"{}\"", identity.domid, identity.uuid)
}

/// An amount in bytes; `None` if there is none, if it means "no limit", or if it does not fit.
fn bytes(kib: Option<Kib>) -> Option<u64> {
    kib.filter(|kib| *kib != UNLIMITED)?.0.checked_mul(1024)
}
