//! Guests on their way: a bar on a terminal, a line from time to time elsewhere, events for programs.
//!
//! Owns when and how it is shown. All of it but the events goes to stderr.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use xmem::balloon::Progress;
use xmem::change::Outcome;
use xmem::domain::Domain;
use xmem::size::Kib;

use super::{Report, complain, json, print, text};

/// How far apart two lines are, and two events of a guest.
const LINES: Duration = Duration::from_secs(5);
const EVENTS: Duration = Duration::from_secs(1);

/// What shows the guests' way.
pub(crate) struct Show<'a> {
    report: &'a Report,
    guests: Vec<Guest<'a>>,
    /// Of all guests together: to add them up at each one's news would take as long as there are pairs.
    all: Way,
    how: How,
}

/// How far guests have to go.
#[derive(Clone, Copy, Default)]
struct Way {
    /// Of those whose wait is not over.
    guests: usize,
    whole: Kib,
    to_go: Kib,
}

/// One of them.
struct Guest<'a> {
    domain: &'a Domain,
    /// The last look.
    progress: Progress,
    over: bool,
    /// When its next event is due.
    due: Duration,
}

enum How {
    Not,
    Bar(ProgressBar),
    /// When the next one is due.
    Lines(Duration),
    Events,
}

impl<'a> Show<'a> {
    pub(super) fn new(report: &'a Report, outcomes: &[&'a Outcome]) -> Self {
        let guest = |outcome: &&'a Outcome| Guest {
            domain: &outcome.domain,
            progress: Progress {
                at: Duration::ZERO,
                from: outcome.info.current,
                current: outcome.info.current,
                wanted: outcome.plan.wanted,
            },
            over: false,
            due: Duration::ZERO,
        };
        // None of these shows anything before the first news.
        let how = match report {
            Report { quiet: true, .. } => How::Not,
            Report { json: true, .. } => How::Events,
            // Log lines would tear a bar to pieces.
            Report { verbose: true, .. } => How::Lines(Duration::ZERO),
            _ => match bar() {
                // No terminal, or one that cannot go back in its line.
                bar if bar.is_hidden() => How::Lines(Duration::ZERO),
                bar => How::Bar(bar),
            },
        };
        let guests: Vec<Guest<'a>> = outcomes.iter().map(guest).collect();
        let all = guests.iter().fold(Way::default(), |all, guest| all.with(guest.way()));
        Self { report, guests, all, how }
    }

    /// Shows where a guest is.
    pub(crate) fn news(&mut self, place: usize, progress: &Progress) {
        let Some(guest) = self.guests.get_mut(place) else { return };
        let before = guest.way();
        guest.progress = *progress;
        self.all = self.all.without(before).with(guest.way());
        if matches!(self.how, How::Events) {
            if guest.due <= progress.at {
                guest.due = progress.at.saturating_add(EVENTS);
                match json::progress(self.report, guest.domain, progress) {
                    Ok(line) => drop(print(&line)),
                    Err(error) => complain(&format!("xmem: {error}")),
                }
            }
            return;
        }
        let Way { whole, to_go, .. } = self.all;
        match &self.how {
            How::Bar(bar) => {
                bar.set_prefix(self.lead());
                bar.set_message(self.way());
                bar.update(|state| {
                    state.set_len(whole.0);
                    state.set_pos(whole.0.saturating_sub(to_go.0));
                });
            }
            How::Lines(due) if *due <= progress.at => {
                complain(&format!("{}: {}", self.lead(), self.way()));
                self.how = How::Lines(progress.at.saturating_add(LINES));
            }
            How::Not | How::Lines(_) | How::Events => {}
        }
    }

    /// The wait for a guest is over, which `tell` tells. The bar is not in its way.
    pub(crate) fn over<T>(&mut self, place: usize, tell: impl FnOnce() -> T) -> T {
        if let Some(guest) = self.guests.get_mut(place) {
            let before = guest.way();
            guest.over = true;
            self.all = self.all.without(before).with(guest.way());
        }
        match &self.how {
            How::Bar(bar) if self.all.guests == 0 => {
                bar.finish_and_clear();
                tell()
            }
            How::Bar(bar) => bar.suspend(tell),
            How::Not | How::Lines(_) | How::Events => tell(),
        }
    }

    /// Who is on the way.
    fn lead(&self) -> String {
        match &*self.guests {
            [guest] => guest.domain.to_string(),
            guests => text::still(self.all.guests, guests.len()),
        }
    }

    /// How far.
    fn way(&self) -> String {
        match &*self.guests {
            [guest] => text::way(&guest.progress, self.report.simulated),
            _ => text::to_go(self.all.to_go, self.report.simulated),
        }
    }
}

impl Guest<'_> {
    fn way(&self) -> Way {
        let Progress { from, wanted, .. } = self.progress;
        Way {
            guests: usize::from(!self.over),
            whole: Kib(from.0.abs_diff(wanted.0)),
            to_go: if self.over { Kib(0) } else { self.progress.to_go() },
        }
    }
}

impl Way {
    const fn with(self, other: Self) -> Self {
        Self {
            guests: self.guests.saturating_add(other.guests),
            whole: Kib(self.whole.0.saturating_add(other.whole.0)),
            to_go: Kib(self.to_go.0.saturating_add(other.to_go.0)),
        }
    }

    const fn without(self, other: Self) -> Self {
        Self {
            guests: self.guests.saturating_sub(other.guests),
            whole: Kib(self.whole.0.saturating_sub(other.whole.0)),
            to_go: Kib(self.to_go.0.saturating_sub(other.to_go.0)),
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    // The template is a constant; without it the bar only looks different.
    match ProgressStyle::with_template("{prefix} [{bar:24}] {wide_msg}") {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}
