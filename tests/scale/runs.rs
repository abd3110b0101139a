//! What is done on a host of many domains.

use std::time::Duration;

use xmem::apply::{Options, Step, apply, survey};
use xmem::batch::parse;
use xmem::change::Outcome;
use xmem::check::{Fate, check, repair};
use xmem::error::Failure;
use xmem::host::Host;
use xmem::overview::overview;
use xmem::signals::Signals;
use xmem::size::Kib;

use crate::host::{ManyHost, uuid};

const OPTIONS: Options = Options {
    raise_max: false,
    force: false,
    lock_timeout: Duration::from_secs(60),
    patience: Duration::from_millis(300),
};

/// How a batch calls its domains.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    Id,
    Name,
    Uuid,
}

/// `xmem list`.
pub(crate) fn list(host: &impl Host, count: u16) {
    assert_eq!(overview(host).unwrap().rows.len(), usize::from(count) + 1);
}

/// `xmem check`.
pub(crate) fn look(host: &impl Host) -> usize {
    check(host, &[]).unwrap().findings.len()
}

/// `xmem check --repair`: how many findings it mended.
pub(crate) fn mend(host: &ManyHost) -> usize {
    let found = check(host, &[]).unwrap();
    let repaired =
        repair(host, &found, &[], OPTIONS.lock_timeout, &mut Signals::default()).unwrap();
    repaired.findings.iter().filter(|(_, fate)| matches!(fate, Fate::Mended(_))).count()
}

/// `xmem apply --dry-run` of a batch in which every second guest grows and the others shrink.
pub(crate) fn plan(host: &impl Host, count: u16, by: By) -> Vec<Step> {
    let line = |number: u16| {
        let size = if number.is_multiple_of(2) { "96M" } else { "48M" };
        match by {
            By::Id => format!("{number} {size}\n"),
            By::Name => format!("vm{number} {size}\n"),
            By::Uuid => format!("{} {size}\n", uuid(number)),
        }
    };
    let text: String = (1..=count).map(line).collect();
    let steps = survey(host, &parse(&text).unwrap(), OPTIONS).unwrap();
    assert_eq!(steps.len(), usize::from(count));
    steps
}

/// `xmem apply` of the batch `text`. Each result is told with the domid.
pub(crate) fn apply_to(
    host: &ManyHost,
    text: &str,
    patience: Duration,
    told: &mut dyn FnMut(u16, Result<Outcome, Failure>),
) {
    let options = Options { patience, ..OPTIONS };
    let steps = survey(host, &parse(text).unwrap(), options).unwrap();
    apply(host, &steps, options, &mut Signals::default(), &mut |step, result| {
        told(step.domain.identity.domid.get(), result);
    });
}

/// `xmem apply` of the same batch. Each change that is made is told with the domid.
pub(crate) fn apply_each(host: &impl Host, count: u16, told: &mut dyn FnMut(u16, &Outcome)) {
    let steps = plan(host, count, By::Id);
    apply(host, &steps, OPTIONS, &mut Signals::default(), &mut |step, result| {
        if let Ok(outcome) = result {
            told(step.domain.identity.domid.get(), &outcome);
        }
    });
}

/// The same: how many of the changes were made.
pub(crate) fn change(host: &ManyHost, count: u16) -> usize {
    let mut made = 0;
    apply_each(host, count, &mut |domid, outcome| {
        assert_eq!(host.limit(domid), outcome.plan.limit);
        assert_eq!(outcome.plan.limit, Kib(outcome.plan.target.0 + 1024));
        made += 1;
    });
    made
}
