//! `xmem list --format openmetrics`: for `node_exporter`'s textfile collector.
//!
//! Owns the metrics' names; they are only ever added.

use std::fmt::Write as _;

use xmem::hypervisor::UNLIMITED;
use xmem::overview::{Overview, Row};
use xmem::size::Kib;

/// A metric about a domain: its name, what it means, and its value; none where there is no number.
type Metric = (&'static str, &'static str, fn(&Row) -> Option<u64>);

const METRICS: [Metric; 5] = [
    ("xmem_domain_current_bytes", "What the domain holds.", |row| bytes(Some(row.info.current))),
    ("xmem_domain_target_bytes", "What its balloon driver aims at.", |row| bytes(row.target)),
    (
        "xmem_domain_limit_bytes",
        "What the hypervisor lets it hold; absent without a limit.",
        |row| bytes(Some(row.info.limit).filter(|limit| *limit != UNLIMITED)),
    ),
    ("xmem_domain_maximum_bytes", "Its static-max; absent without one.", |row| {
        bytes(row.static_max.filter(|most| *most != UNLIMITED))
    }),
    ("xmem_domain_out_of_step", "1 when target, limit and maximum do not fit each other.", |row| {
        Some(row.out_of_step().next().is_some().into())
    }),
];

/// All metrics, ended as OpenMetrics wants it.
pub(super) fn metrics(seen: &Overview) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for (name, help, value) in METRICS {
        let _ok = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for row in &seen.rows {
            if let Some(value) = value(row) {
                let _ok = writeln!(text, "{name}{{{}}} {value}", labels(row));
            }
        }
    }
    if let Ok(memory) = &seen.memory {
        for (name, help, kib) in [
            ("xmem_host_total_bytes", "All memory that Xen manages.", memory.total),
            ("xmem_host_free_bytes", "Memory that no domain holds.", memory.free),
            (
                "xmem_host_claimed_bytes",
                "Free memory that is promised to a domain.",
                memory.claimed,
            ),
        ] {
            let value = bytes(Some(kib)).unwrap_or_default();
            let _ok = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
    }
    text.push_str("# EOF");
    text
}

fn labels(row: &Row) -> String {
    // As it is shown elsewhere: metrics are looked at on terminals too.
    let name = row.domain.name.as_ref().map(ToString::to_string).unwrap_or_default();
    let name = name.replace('\\', "\\\\").replace('"', "\\\"");
    let identity = row.domain.identity;
    format!("domid=\"{}\",name=\"{name}\",uuid=\"{}\"", identity.domid, identity.uuid)
}

fn bytes(kib: Option<Kib>) -> Option<u64> {
    kib.map(|kib| kib.0.saturating_mul(1024))
}
