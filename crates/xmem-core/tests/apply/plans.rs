//! Plans of batches, and their failures as text.

use std::time::Duration;

use xen::Host;
use xmem_core::apply::{ApplyOptions, LineFailure, LineFailureReason, Step, plan_all};
use xmem_core::batch::parse;

pub(crate) const OPTIONS: ApplyOptions = ApplyOptions {
    raise_max: false,
    force: false,
    keep_free: None,
    partial: false,
    lock_timeout: Duration::from_secs(5),
    patience: Duration::from_secs(3),
};

/// The steps of a batch that can be carried out.
pub(crate) fn plan(host: &dyn Host, text: &str, options: &ApplyOptions) -> Vec<Step> {
    plan_all(host, &parse(text), options).unwrap_or_else(|failures| panic!("{failures:?}"))
}

/// The failures of a batch that cannot be carried out, as `line: text`.
pub(crate) fn refusals(host: &dyn Host, text: &str, options: &ApplyOptions) -> Vec<String> {
    let failures = plan_all(host, &parse(text), options).map(|steps| panic!("{steps:?}"));
    failures.unwrap_or_else(|failures| failures.iter().map(shown).collect())
}

fn shown(failure: &LineFailure) -> String {
    let line = failure.line.map_or_else(|| "batch".to_owned(), |line| line.to_string());
    match &failure.reason {
        LineFailureReason::Line(problem) => format!("{line}: {problem}"),
        LineFailureReason::Change(failure) => match &failure.domain {
            Some(domain) => format!("{line}: {domain}: {}", failure.cause),
            None => format!("{line}: {}", failure.cause),
        },
    }
}
