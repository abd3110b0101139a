//! Planning a whole batch before anything is changed.

use std::collections::{HashMap, HashSet};

use xen::hypervisor::{DomainInfo, HostMemory};
use xen::xenstore::Store;
use xen::{DomId, Host, Identity, Kib};

use super::{ApplyOptions, LineFailure, LineFailureReason, Shortage, Step};
use crate::batch::{Batch, Line, LineError, LineProblem, Listed, MAX_ERRORS, Wanted};
use crate::change::plan_among;
use crate::domain::{Domain, DomainRef};
use crate::failure::{Cause, Failure};
use crate::memory::{Memory, size_of};
use crate::plan::{HOST_RESERVE, MemoryRequest, Note, Plan, Surroundings, TOLERANCE, plan};
use crate::resolve::DomainIndex;
use crate::size::{Amount, Size};
use crate::state::State;
use crate::underway::{Underway, sum, underway};

/// Plans every line before anything is changed, and puts those that shrink a domain before those that grow one.
///
/// # Errors
/// Every line that cannot be carried out, by number: invalid lines, unknown domains, contradictions, duplicates,
/// refusals.
pub fn plan_all(
    host: &dyn Host,
    batch: &Batch,
    options: &ApplyOptions,
) -> Result<Vec<Step>, Vec<LineFailure>> {
    let syntax = |error: &LineError| LineFailure {
        line: Some(error.number),
        reason: LineFailureReason::Line(error.problem.clone()),
    };
    let mut failures: Vec<LineFailure> = batch.errors.iter().map(syntax).collect();
    let whole = |reason| LineFailure { line: None, reason };
    if batch.lines.is_empty() {
        if failures.is_empty() {
            failures.push(whole(LineFailureReason::Line(LineProblem::Empty)));
        }
        return Err(failures);
    }
    // An unknown amount of memory only prevents the forecast of a shortage.
    let memory = host.hypervisor().host_memory().ok();
    let mut steps = Vec::with_capacity(batch.lines.len());
    match plan_lines(host, memory, &batch.lines, options, &mut steps) {
        Ok(refused) => failures.extend(refused),
        Err(cause) => {
            failures.push(whole(LineFailureReason::Change(Failure::unchanged(None, cause))));
        }
    }
    if !failures.is_empty() {
        failures.sort_by_key(|failure| failure.line);
        return Err(failures);
    }
    steps.sort_by_key(Step::grows);
    if let Some(memory) = memory {
        foresee(host, memory.available(), options, &mut steps);
    }
    Ok(steps)
}

/// Plans each of `lines`. Returns those that cannot be carried out.
fn plan_lines(
    host: &dyn Host,
    memory: Option<HostMemory>,
    lines: &[Line],
    options: &ApplyOptions,
    steps: &mut Vec<Step>,
) -> Result<Vec<LineFailure>, Cause> {
    let store = host.connect()?;
    let around = Surroundings {
        // Shortages are forecast once the order is known.
        host: memory.map(|HostMemory { total, .. }| HostMemory {
            total,
            free: total,
            scrub: Kib(0),
            claimed: Kib(0),
        }),
        dom0: host.dom0(),
        ..Surroundings::default()
    };
    let wanted = lines.iter().map(|line| &line.domain);
    let index = DomainIndex::read(host, &*store, wanted)?;
    let found: Vec<_> = lines.iter().map(|line| index.find(&line.domain)).collect();
    let infos: Vec<DomainInfo> = found.iter().flatten().map(|(_, info)| *info).collect();
    let mut memories = Memory::read_each(&*store, &infos)?;
    Memory::read_reports(&*store, &mut memories)?;
    let mut memories = memories.into_iter();
    let mut planning =
        Planning { host, store: &*store, index: &index, around, options, lines: HashMap::new() };
    let mut failures = Vec::new();
    for (line, found) in lines.iter().zip(found) {
        let memory = found.as_ref().ok().and_then(|_| memories.next());
        let planned = match (found, memory) {
            (Ok((domain, _)), Some(memory)) => planning.step(line, domain, memory),
            (Err(error), _) => Err(LineFailureReason::Change(Failure::unchanged(None, error))),
            // One memory was read for each domain that was found.
            (Ok((domain, _)), None) => {
                Err(LineFailureReason::Change(Failure::unchanged(Some(domain), Cause::Gone)))
            }
        };
        match planned {
            Ok(step) => steps.push(step),
            Err(_) if failures.len() >= MAX_ERRORS => {
                let reason = LineFailureReason::Line(LineProblem::TooMany);
                failures.push(LineFailure { line: Some(line.number), reason });
                break;
            }
            Err(reason) => failures.push(LineFailure { line: Some(line.number), reason }),
        }
    }
    Ok(failures)
}

struct Planning<'a> {
    host: &'a dyn Host,
    store: &'a dyn Store,
    index: &'a DomainIndex,
    around: Surroundings,
    options: &'a ApplyOptions,
    /// The first line of each domain.
    lines: HashMap<Identity, usize>,
}

impl Planning<'_> {
    fn step(
        &mut self,
        line: &Line,
        domain: Domain,
        memory: Memory,
    ) -> Result<Step, LineFailureReason> {
        let domain = Domain { name: memory.name.clone().or(domain.name), ..domain };
        let failure =
            |cause| LineFailureReason::Change(Failure::unchanged(Some(domain.clone()), cause));
        if let Some(listed) = &line.listed {
            self.check_domain(line, listed, &domain).map_err(LineFailureReason::Line)?;
        }
        let earlier = *self.lines.entry(domain.identity).or_insert(line.number);
        if earlier != line.number {
            return Err(failure(Cause::Duplicate { earlier }));
        }
        let is_left_alone = asks_for_nothing(line, &memory);
        let size = match line.to {
            // No change at all, with the notes of one.
            _ if is_left_alone => Size::exact(Amount::Up(Kib(0))),
            Wanted::Size(size) => size,
            Wanted::Target(target) => {
                let video = memory.video_kib().map_err(|bad| failure(bad.into()))?;
                Size { amount: Amount::Target(target), ..Size::to(size_of(target, video)) }
            }
        };
        let ApplyOptions { raise_max, force, .. } = *self.options;
        let request = MemoryRequest::Set { size, raise_max, force };
        let planned = plan_among(self.host, self.store, &memory, &request, &self.around);
        let mut plan = planned.map_err(failure)?;
        if let Some(listed) = &line.listed {
            check_numbers(line, listed, &domain, &plan).map_err(LineFailureReason::Line)?;
        }
        let listed_limit = line.listed.as_ref().and_then(|listed| listed.limit);
        plan.notes.extend(ignored_limit(listed_limit, &plan));
        let receiver = domain.name.as_ref().and_then(|name| self.index.receiver_of(name));
        let mut foreseen = plan.clone();
        if let (Some(to), false) = (receiver, plan.changes_nothing()) {
            foreseen.notes.push(Note::Migrating { to });
        }
        let (line, state) = (line.number, State::on(self.host, &memory));
        Ok(Step {
            line,
            domain,
            plan,
            state,
            memory,
            request,
            listed_limit,
            foreseen,
            shortage: None,
            is_left_alone,
        })
    }

    /// Refuses a line whose members name two domains. A domid that no domain has any more is ignored: the domain of
    /// that UUID has been created anew since it was listed.
    fn check_domain(
        &self,
        line: &Line,
        listed: &Listed,
        domain: &Domain,
    ) -> Result<(), LineProblem> {
        let other = |said: String| {
            let found = format!("{} is {domain}", line.domain);
            Err(LineProblem::OtherDomain { said, found })
        };
        match (&listed.name, listed.domid) {
            (Some(name), _) if domain.name.as_ref() != Some(name) => {
                other(format!("`name` is `{name}`"))
            }
            (_, Some(domid)) if domid != domain.identity.domid && self.is_there(domid) => {
                other(format!("`domid` is {domid}"))
            }
            _ => Ok(()),
        }
    }

    fn is_there(&self, domid: DomId) -> bool {
        self.index.find(&DomainRef::Id(domid)).is_ok()
    }
}

/// Whether `line` is JSON and its target or size is the domain's own, to the KiB: the list was not edited there.
fn asks_for_nothing(line: &Line, memory: &Memory) -> bool {
    let Some(listed) = &line.listed else { return false };
    match line.to {
        Wanted::Target(target) => memory.target == Ok(Some(target)),
        Wanted::Size(_) => listed.size.is_some() && listed.size == memory.size(),
    }
}

/// Refuses numbers that differ from the domain's own and that `apply` does not set, and a size that contradicts the
/// target.
fn check_numbers(
    line: &Line,
    listed: &Listed,
    domain: &Domain,
    plan: &Plan,
) -> Result<(), LineProblem> {
    if let (Some(size), Wanted::Target(target)) = (listed.size, line.to)
        && size != size_of(target, plan.video)
    {
        return Err(LineProblem::Contradiction { target, size });
    }
    if let Some(video) = listed.video
        && video.max(0) != plan.video.max(0)
    {
        let kib = |kib: i32| Kib(i64::from(kib.max(0)).unsigned_abs());
        return Err(LineProblem::NotItsVideo { said: kib(video), present: kib(plan.video) });
    }
    match (listed.static_max, plan.old.static_max) {
        (Some(said), Some(present)) if said != present && Some(said) != plan.new.static_max => {
            let (domid, target) = (domain.identity.domid, plan.old.target);
            Err(LineProblem::NotItsMaximum { said, present, domid, target })
        }
        _ => Ok(()),
    }
}

/// A limit is neither refused nor set: it follows the target, and an older list has the limit of its own target.
pub(super) fn ignored_limit(listed: Option<Kib>, plan: &Plan) -> Option<Note> {
    let said = listed.filter(|said| *said != plan.old.limit && *said != plan.new.limit)?;
    Some(Note::LimitIgnored { said, limit: plan.new.limit })
}

/// Forecasts what the host will lack, or have left: it has `available` now, and each domain that shrinks will give
/// memory back. Only what no guest gives back is a shortage.
fn foresee(host: &dyn Host, available: Kib, options: &ApplyOptions, steps: &mut [Step]) {
    let keep_free = options.keep_free.unwrap_or_default();
    let changed = changed(steps);
    // An unknown amount is none.
    let others = || others(host, |identity| changed.contains(&identity)).unwrap_or_default();
    let grows = steps.iter().any(Step::grows);
    let counts = grows && options.keep_free.is_some();
    let elsewhere = if counts { sum(&others(), Underway::takes) } else { Kib(0) };
    // What the domains of later lines are still taking.
    let mut ahead = Kib(0);
    if counts {
        ahead.0 = steps.iter().fold(0, |sum, step| sum.saturating_add(step.takes_already().0));
    }
    let mut available = available;
    // Memory that guests without a line give back already.
    let mut coming: Option<Kib> = None;
    for step in steps {
        ahead = ahead.minus(step.takes_already()).unwrap_or_default();
        let granted = Kib(elsewhere.0.saturating_add(ahead.0));
        let reserved = Kib(keep_free.0.saturating_add(granted.0));
        let current = step.memory.info.current;
        let gives = current.minus(step.plan.wanted).filter(|_| step.is_ballooning());
        available = Kib(available.0.saturating_add(gives.unwrap_or_default().0));
        let needs = step.needs(current);
        if !step.grows() {
            // It was granted that before.
            let granted = if step.is_left_alone { Kib(0) } else { needs };
            available = available.minus(granted).unwrap_or_default();
            continue;
        }
        let free = available.minus(reserved).unwrap_or_default();
        if needs <= free {
            step.foreseen.notes.extend(leaves_little(available, needs, granted));
            available = available.minus(needs).unwrap_or_default();
        } else if options.partial {
            let (partial, note) = step.partial(Kib(current.0.saturating_add(free.0)), options);
            match partial.map(|it| plan(&step.memory, &it, &Surroundings::default())) {
                Some(Ok(partial)) => {
                    step.foreseen = partial;
                    let takes = step.foreseen.wanted.minus(current).unwrap_or_default();
                    step.foreseen.notes.extend(leaves_little(available, takes, granted));
                }
                _ => step.foreseen.leave_alone(),
            }
            step.foreseen.notes.push(note);
            available = available.min(reserved);
        } else {
            let coming = coming.get_or_insert_with(|| sum(&others(), Underway::gives));
            match coming.minus(needs.minus(free).unwrap_or_default()) {
                Some(rest) => {
                    *coming = rest;
                    available = available.min(reserved);
                    let available = free;
                    let note = Note::HostShort { needs, available, keep_free, granted };
                    step.foreseen.notes.push(note);
                }
                None => step.shortage = Some(Shortage { needs, free, keep_free, granted }),
            }
        }
    }
}

/// The note that growth by `takes` leaves the host little of what is `available` and not `granted`.
fn leaves_little(available: Kib, takes: Kib, granted: Kib) -> Option<Note> {
    let free = Kib(available.0.saturating_sub(takes.0).saturating_sub(granted.0));
    (takes > TOLERANCE && free < HOST_RESERVE).then_some(Note::LeavesLittle { free, granted })
}

/// The domains of the steps that may change them.
fn changed(steps: &[Step]) -> HashSet<Identity> {
    let changed = steps.iter().filter(|step| !step.is_left_alone);
    changed.map(|step| step.domain.identity).collect()
}

/// The guests on their way, except those that `is_excluded` names.
///
/// # Errors
/// The host does not answer.
pub(super) fn others(
    host: &dyn Host,
    is_excluded: impl Fn(Identity) -> bool,
) -> Result<Vec<Underway>, Cause> {
    let store = host.connect()?;
    underway(host, &*store, is_excluded)
}
