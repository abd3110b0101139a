//! The findings about a domain's numbers.

use xen::hypervisor::{Pod, UNLIMITED};
use xen::{Kib, Mib};

use super::super::{Diagnosis, DiagnosisKind, Fix};
use super::{Facts, Judge};
use crate::memory::{Memory, Node};
use crate::plan::{MemoryRequest, SLACK, Surroundings, TOLERANCE, misreads_first_target, plan};
use crate::size::{Size, Written};
use crate::state::{Follows, State};

impl Judge<'_> {
    /// The inconsistency of target, maximum, limit and allocated memory.
    pub(super) fn numbers(&self) -> Vec<Diagnosis> {
        let Memory { target, static_max, .. } = self.memory;
        let mut found = Vec::new();
        match (target, static_max) {
            // A stopped domain may be being destroyed, which empties xenstore first.
            (Ok(None), Ok(None)) if self.state.follows() == Follows::Never => return found,
            (Ok(None), Ok(None)) => return vec![self.no_keys()],
            (Ok(None), Ok(Some(_))) => found.push(self.missing_key("memory/target")),
            (Ok(Some(_)), Ok(None)) => found.push(self.missing_key("memory/static-max")),
            _ => {}
        }
        let grave = self.above_maximum().or_else(|| self.limit_too_low());
        // Being over a limit that is too low, or above a target that is wrong, is a consequence.
        let follows = grave.is_some();
        found.extend(grave);
        if found.is_empty() {
            found.extend(self.limit_high());
        }
        if !follows {
            found.extend(self.balloon());
        }
        found
    }

    fn no_keys(&self) -> Diagnosis {
        let message = "no memory keys in xenstore";
        let kind = DiagnosisKind::NoKeys;
        if !self.memory.is_dom0() {
            return Diagnosis::notice(
                kind,
                message,
                "its toolstack does not support ballooning, so there is nothing to keep in step",
            );
        }
        if misreads_first_target(self.memory, self.facts.dom0) {
            return Diagnosis::notice(
                kind,
                message,
                "harmless, but do not set dom0's memory: a PVH dom0's kernel before Linux 6.15 would give away far too much",
            );
        }
        let found = Diagnosis::notice(
            kind,
            message,
            "harmless: the first change of dom0's memory writes them, as xl's does",
        );
        self.repairable(found)
    }

    fn missing_key(&self, key: &str) -> Diagnosis {
        let found = Diagnosis::out_of_step(
            DiagnosisKind::MissingKey,
            format!("xenstore has no {key}"),
            "xl and xmem need both memory/target and memory/static-max to change its memory",
        );
        if misreads_first_target(self.memory, self.facts.dom0) {
            return found;
        }
        let path = format!("/local/domain/{}/{key}", self.domid);
        self.repairable(found.with_fix(Fix::Write(path)))
    }

    fn above_maximum(&self) -> Option<Diagnosis> {
        if !self.memory.is_above_maximum() {
            return None;
        }
        let (target, static_max) = (known(&self.memory.target)?, known(&self.memory.static_max)?);
        let size = self.memory.size()?;
        let most = self.with_video(static_max)?;
        let found = Diagnosis::out_of_step(
            DiagnosisKind::TargetAboveMaximum,
            format!(
                "the target of {} is above the maximum of {}",
                unlike(target, static_max),
                unlike(static_max, target)
            ),
            "one of them is wrong, and xmem cannot tell which; xl refuses most changes to either",
        );
        // Neither number is a reason to raise a limit.
        if self.facts.guest_writes {
            return Some(found.with_fix(Fix::SetSize(self.domid)));
        }
        // A size is rounded down to whole pages.
        let least = size.max(target).in_whole_pages();
        let max = self.allowed(least, |size| MemoryRequest::Max { size, force: false });
        let size = self.allowed(most, set);
        Some(match (max, size) {
            (None, None) => found,
            (max, size) => found.with_fix(Fix::Choose { domid: self.domid, max, size }),
        })
    }

    fn limit_too_low(&self) -> Option<Diagnosis> {
        // Unknown video memory can only add to what is needed.
        let video = Ok(self.memory.video.clone().unwrap_or_default());
        let required = Memory { video, ..self.memory.clone() }.missing_limit()?;
        let found = Diagnosis::out_of_step(
            DiagnosisKind::LimitTooLow,
            format!(
                "the limit of {} is below the {} that its target needs",
                unlike(self.memory.info.limit, required),
                unlike(required, self.memory.info.limit)
            ),
            "the target asks for more than Xen lets the guest have: its allocations fail",
        );
        Some(self.repairable(match &self.memory.static_max {
            Err(bad) => found.with_fix(Fix::First(bad.path.clone())),
            Ok(_) => found,
        }))
    }

    fn limit_high(&self) -> Option<Diagnosis> {
        let (limit, static_max) = (self.memory.info.limit, known(&self.memory.static_max)?);
        let (size, required) = (self.memory.size()?, self.memory.required_limit());
        // libxl builds an HVM guest that may grow with a target of 1 MiB less (`libxl__get_targetmem_fudge`).
        let is_high = limit > required.plus(SLACK)?;
        let of_maximum = Kib::from_pages(static_max.plus(SLACK)?.pages());
        if !is_high || limit == of_maximum || self.memory.is_dom0() {
            return None;
        }
        let found = Diagnosis::notice(
            DiagnosisKind::LimitHigh,
            match limit {
                UNLIMITED => format!("it has no limit, and its target needs {} MiB", Mib(required)),
                limit => format!(
                    "the limit of {} MiB is above the {} MiB that its target needs",
                    Mib(limit),
                    Mib(required)
                ),
            },
            "the guest may use more than its target; some tools do this on purpose",
        );
        Some(match self.allowed(size, set) {
            Some(size) => found.with_fix(Fix::LowerLimit { domid: self.domid, size }),
            None => found,
        })
    }

    /// The distance of the guest from its target. Only a running guest is expected there. A guest that was created
    /// paused may still have to populate its memory.
    fn balloon(&self) -> Option<Diagnosis> {
        if !matches!(self.state, State::Running | State::Paused) {
            return None;
        }
        let info = &self.memory.info;
        if let Some(Pod { cache, entries }) = self.facts.pod
            && entries > cache
        {
            return Some(Diagnosis::notice(
                DiagnosisKind::Populating,
                format!(
                    "still populating its memory on demand: {} MiB unpopulated, {} MiB in the cache",
                    Mib(entries),
                    Mib(cache)
                ),
                "its balloon driver has not yet given back the memory above its target; \
                 until then a smaller target can crash it",
            ));
        }
        if self.state != State::Running {
            return None;
        }
        if info.current > info.limit {
            let found = Diagnosis::notice(
                DiagnosisKind::OverLimit,
                format!(
                    "over its limit: has {}, limit {}",
                    unlike(info.current, info.limit),
                    unlike(info.limit, info.current)
                ),
                "Xen allocates nothing more to it until it has given the excess back",
            );
            return Some(self.awaited(found));
        }
        let size = self.memory.size()?;
        let distance = |from: Kib, to: Kib| from.minus(to).filter(|by| *by > TOLERANCE);
        let found = if let Some(by) = distance(info.current, size) {
            Diagnosis::notice(
                DiagnosisKind::AboveTarget,
                format!("{} MiB above its target", Mib(by)),
                "the guest has not yet ballooned down to its target",
            )
        } else {
            Diagnosis::notice(
                DiagnosisKind::BelowTarget,
                format!("{} MiB below its target", Mib(distance(size, info.current)?)),
                "the guest has not yet ballooned up to its target",
            )
        };
        Some(self.awaited(found))
    }

    /// `found` about a guest that has not reached its target, with the reason that is known of dom0.
    fn awaited(&self, found: Diagnosis) -> Diagnosis {
        let (Some(own), Some(size)) = (self.target_in_sysfs(), self.memory.size()) else {
            return found.with_fix(Fix::AwaitGuest);
        };
        let message = format!(
            "{}; its own target, set in sysfs (xen_memory0/target_kb), is {} MiB",
            found.message,
            Mib(own)
        );
        let meaning = "dom0's driver follows that target, until another one is set in xenstore";
        let fix = Fix::SetAgain { domid: self.domid, size };
        Diagnosis { message, meaning, ..found }.with_fix(fix)
    }

    /// dom0's own target, if it is not the one in xenstore.
    fn target_in_sysfs(&self) -> Option<Kib> {
        let own = self.facts.dom0.balloon_target.filter(|_| self.memory.is_dom0())?;
        let target = known(&self.memory.target)?;
        (own.0.abs_diff(target.0) > TOLERANCE.0).then_some(own)
    }

    /// `found` as fixed by `check --repair`, if there is only one possible fix.
    fn repairable(&self, found: Diagnosis) -> Diagnosis {
        match plan(self.memory, &MemoryRequest::Repair, &self.surroundings()) {
            Ok(plan) if plan.changes_nothing() => found,
            // A target that the guest may write raises no limit.
            Ok(plan) if plan.relies_on_store && self.facts.guest_writes => {
                found.with_fix(Fix::SetSize(self.domid))
            }
            Ok(_) => found.with_fix(Fix::Repair(Some(self.domid))),
            Err(_) => found,
        }
    }

    /// `size` as it is typed, unless xmem would refuse to set it.
    fn allowed(&self, size: Kib, request: fn(Size) -> MemoryRequest) -> Option<Kib> {
        let typed = Written(size).to_string().parse().ok()?;
        plan(self.memory, &request(typed), &self.surroundings()).ok()?;
        Some(size)
    }

    fn surroundings(&self) -> Surroundings {
        let Facts { dom0, pod, host, .. } = *self.facts;
        Surroundings { host, pod, dom0, ..Surroundings::default() }
    }

    fn with_video(&self, kib: Kib) -> Option<Kib> {
        kib.offset(self.memory.video_kib().ok()?.into())
    }
}

const fn set(size: Size) -> MemoryRequest {
    MemoryRequest::Set { size, raise_max: false, force: false }
}

/// `kib` in MiB, or exactly if `other` would look the same.
fn unlike(kib: Kib, other: Kib) -> String {
    let in_mib = Mib(kib).to_string();
    if in_mib == Mib(other).to_string() {
        format!("{} KiB", kib.0)
    } else {
        format!("{in_mib} MiB")
    }
}

fn known(node: &Node<Kib>) -> Option<Kib> {
    node.as_ref().ok().copied().flatten()
}
