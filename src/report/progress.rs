//! The progress of guests towards their targets: a bar on a terminal, a line now and then elsewhere, events in JSON.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use xen::Kib;
use xmem_core::change::Outcome;
use xmem_core::domain::Domain;
use xmem_core::wait::Progress;

use super::{Report, Style, output, text};

/// The time between two lines, and between two events of a guest.
const LINES: Duration = Duration::from_secs(5);
const EVENTS: Duration = Duration::from_secs(1);

/// Shows the guests' progress.
pub(crate) struct ProgressView<'a> {
    report: &'a Report,
    guests: BTreeMap<usize, Guest>,
    mode: Mode,
}

struct Guest {
    domain: Domain,
    /// The last poll; none before the first.
    progress: Option<Progress>,
    /// The whole distance to its target.
    whole: Kib,
    ended: bool,
    next_event: Duration,
}

enum Mode {
    Silent,
    /// A bar in the foreground, lines in the background.
    Bar {
        bar: ProgressBar,
        next_line: Duration,
    },
    Lines {
        next_line: Duration,
    },
    Events,
}

impl<'a> ProgressView<'a> {
    pub(crate) fn new(report: &'a Report) -> Self {
        let mode = match report.style {
            Style { quiet: true, .. } => Mode::Silent,
            Style { json: true, .. } => Mode::Events,
            // Log lines would break the bar.
            Style { verbose: true, .. } => Mode::Lines { next_line: Duration::ZERO },
            _ => match bar() {
                // No terminal, or one that cannot move its cursor.
                bar if bar.is_hidden() => Mode::Lines { next_line: Duration::ZERO },
                bar => Mode::Bar { bar, next_line: Duration::ZERO },
            },
        };
        if let Mode::Bar { bar, .. } = &mode {
            is_shown(bar);
            report.output.set_bar(Some(bar.clone()));
        }
        Self { report, guests: BTreeMap::new(), mode }
    }

    /// Adds the guest of `outcome` as number `index`.
    pub(crate) fn add(&mut self, index: usize, outcome: &Outcome) {
        let guest = Guest {
            domain: outcome.domain.clone(),
            progress: None,
            whole: Kib(outcome.info.current.0.abs_diff(outcome.plan.wanted.0)),
            ended: false,
            next_event: Duration::ZERO,
        };
        self.guests.insert(index, guest);
    }

    /// Guest `index`.
    pub(crate) fn domain(&self, index: usize) -> Option<&Domain> {
        self.guests.get(&index).map(|guest| &guest.domain)
    }

    /// Shows a poll of guest `index`.
    pub(crate) fn update(&mut self, index: usize, progress: &Progress) {
        let Some(guest) = self.guests.get_mut(&index) else { return };
        guest.progress = Some(*progress);
        let at = progress.at;
        match &mut self.mode {
            Mode::Events if guest.next_event <= at => {
                guest.next_event = at.saturating_add(EVENTS);
                let domain = &guest.domain;
                self.report.json(|json| json.progress(domain, progress));
            }
            Mode::Bar { bar, .. } if is_shown(bar) => {
                let bar = bar.clone();
                bar.set_prefix(self.who());
                bar.set_message(self.way());
                let (whole, to_go) = self.distance();
                bar.update(|state| {
                    state.set_len(whole.0);
                    state.set_pos(whole.0.saturating_sub(to_go.0));
                });
            }
            Mode::Bar { next_line, .. } | Mode::Lines { next_line } if *next_line <= at => {
                *next_line = at.saturating_add(LINES);
                let line = format!("{}: {}{}", self.who(), self.way(), self.report.mark());
                self.report.output.complain(&line);
            }
            Mode::Silent | Mode::Events | Mode::Bar { .. } | Mode::Lines { .. } => {}
        }
    }

    /// Removes guest `index`, whose wait is over.
    pub(crate) fn end(&mut self, index: usize) {
        if let Some(guest) = self.guests.get_mut(&index) {
            guest.ended = true;
        }
        if self.guests.values().all(|guest| guest.ended) {
            self.clear();
        }
    }

    fn clear(&self) {
        if let Mode::Bar { bar, .. } = &self.mode {
            bar.finish_and_clear();
            self.report.output.set_bar(None);
        }
    }

    /// The only guest, if there is only one.
    fn only(&self) -> Option<&Guest> {
        self.guests.values().next().filter(|_| self.guests.len() == 1)
    }

    fn who(&self) -> String {
        self.only().map_or_else(
            || {
                let waiting = self.guests.values().filter(|guest| !guest.ended).count();
                format!("{waiting} of {} guests on their way", self.guests.len())
            },
            |guest| guest.domain.to_string(),
        )
    }

    fn way(&self) -> String {
        let only = self.only().and_then(|guest| guest.progress);
        only.map_or_else(|| text::to_go(self.distance().1), |progress| text::way(&progress))
    }

    /// The whole distance of all guests, and the rest of it.
    fn distance(&self) -> (Kib, Kib) {
        self.guests.values().fold((Kib(0), Kib(0)), |(whole, left), guest| {
            let to_go = match guest.progress {
                _ if guest.ended => 0,
                Some(progress) => progress.current.0.abs_diff(progress.wanted.0),
                None => guest.whole.0,
            };
            (Kib(whole.0.saturating_add(guest.whole.0)), Kib(left.0.saturating_add(to_go)))
        })
    }
}

impl Drop for ProgressView<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Shows the bar in the foreground and hides it in the background; whether it is shown.
fn is_shown(bar: &ProgressBar) -> bool {
    let is_shown = output::is_in_foreground(io::stderr());
    if is_shown == bar.is_hidden() {
        let target =
            if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        bar.set_draw_target(target);
    }
    is_shown
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    // The template is constant; without it the bar only looks different.
    match ProgressStyle::with_template("{prefix} [{bar:20}] {wide_msg}") {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}
