//! `xmem watch`.

use std::time::{Duration, Instant};

use xen::Host;
use xmem_core::domain::DomainRef;
use xmem_core::failure::Cause;
use xmem_core::survey::{Detail, Monitor};

use super::with_missing;
use crate::cli::{Column, Watch};
use crate::exit::Exit;
use crate::report::{Report, Screen, sort};
use crate::signals::Continued;
use crate::usage::Usage;
use crate::values;

/// The shortest interval: more frequent refreshes would only cost time.
const SHORTEST: Duration = Duration::from_millis(50);
/// The time within which a closed output, a resized terminal and SIGCONT are noticed.
const SLICE: Duration = Duration::from_millis(200);

/// A live view.
pub(super) struct Task {
    wanted: Vec<DomainRef>,
    interval: Duration,
    refreshes: Option<u64>,
    sort: Column,
}

impl Task {
    pub(super) fn of(args: &Watch) -> Result<Self, Usage> {
        let typed = args.interval.as_deref();
        let interval = values::time_or("--interval", typed, Duration::from_secs(1))?;
        if interval < SHORTEST {
            return Err(Usage {
                what: "--interval".to_owned(),
                text: typed.unwrap_or_default().to_owned(),
                why: "less than 50 ms".to_owned(),
                hint: Some("an interval looks like 1s or 250ms".to_owned()),
            });
        }
        Ok(Self {
            wanted: values::domains(&args.domains)?,
            interval,
            refreshes: args.count,
            sort: args.sort.unwrap_or(Column::Domid),
        })
    }

    /// Refreshes when xenstore changes, and regularly for what xenstore does not show: memory in use. Ends when its
    /// output is closed, when xenstored stops, or after the requested number of refreshes.
    pub(super) fn run(&self, host: &dyn Host, report: &Report) -> anyhow::Result<Exit> {
        let continued = Continued::watch()?;
        Ok(self.watch(host, &continued, report).unwrap_or_else(|cause| report.unanswered(cause)))
    }

    fn watch(
        &self,
        host: &dyn Host,
        continued: &Continued,
        report: &Report,
    ) -> Result<Exit, Cause> {
        let detail = if report.style.json { Detail::Reports } else { Detail::Findings };
        let mut monitor = Monitor::new(host, &self.wanted, detail)?;
        let mut screen = Screen::default();
        let mut refreshes = 0_u64;
        let mut exit = Exit::Done;
        loop {
            let begun = Instant::now();
            let mut seen = monitor.refresh()?;
            sort(&mut seen.rows, self.sort);
            let (missing, found) = (std::mem::take(&mut seen.missing), seen.rows.len());
            if continued.take().0 {
                screen.start_below();
            }
            if refreshes == 0 {
                exit = with_missing(missing.len(), found, Exit::Done);
                for missing in &missing {
                    report.missing(missing);
                }
                if exit == Exit::NoDomain {
                    return Ok(exit);
                }
            }
            if !report.refresh(&mut screen, seen) {
                return Ok(exit);
            }
            refreshes = refreshes.saturating_add(1);
            if self.refreshes.is_some_and(|most| refreshes >= most) {
                return Ok(exit);
            }
            loop {
                let left = self.interval.saturating_sub(begun.elapsed());
                let is_changed = monitor.wait(left.min(SLICE))?;
                if Report::is_unread() {
                    return Ok(exit);
                }
                let (is_continued, is_resized) = continued.take();
                if is_continued {
                    screen.start_below();
                }
                if is_changed || is_continued || is_resized || begun.elapsed() >= self.interval {
                    break;
                }
            }
            std::thread::sleep(SHORTEST.saturating_sub(begun.elapsed()));
        }
    }
}
