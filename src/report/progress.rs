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
    how: How,
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
        Self { report, guests: outcomes.iter().map(guest).collect(), how }
    }

    /// Shows where a guest is.
    pub(crate) fn news(&mut self, place: usize, progress: &Progress) {
        let Some(guest) = self.guests.get_mut(place) else { return };
        guest.progress = *progress;
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
        let lead = self.lead();
        let way = self.way();
        let (whole, to_go) = self.distance();
        match &mut self.how {
            How::Bar(bar) => {
                bar.set_prefix(lead);
                bar.set_message(way);
                bar.update(|state| {
                    state.set_len(whole.0);
                    state.set_pos(whole.0.saturating_sub(to_go.0));
                });
            }
            How::Lines(due) if *due <= progress.at => {
                *due = progress.at.saturating_add(LINES);
                complain(&format!("{lead}: {way}"));
            }
            How::Not | How::Lines(_) | How::Events => {}
        }
    }

    /// The wait for a guest is over, which `tell` tells. The bar is not in its way.
    pub(crate) fn over<T>(&mut self, place: usize, tell: impl FnOnce() -> T) -> T {
        if let Some(guest) = self.guests.get_mut(place) {
            guest.over = true;
        }
        match &self.how {
            How::Bar(bar) if self.guests.iter().all(|guest| guest.over) => {
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
            guests => text::still(guests.iter().filter(|guest| !guest.over).count(), guests.len()),
        }
    }

    /// How far.
    fn way(&self) -> String {
        match &*self.guests {
            [guest] => text::way(&guest.progress, self.report.simulated),
            _ => text::to_go(self.distance().1, self.report.simulated),
        }
    }

    /// The whole way of all, and what is left of it.
    fn distance(&self) -> (Kib, Kib) {
        self.guests.iter().fold((Kib(0), Kib(0)), |(whole, left), guest| {
            let Progress { from, wanted, .. } = guest.progress;
            let to_go = if guest.over { Kib(0) } else { guest.progress.to_go() };
            (
                Kib(whole.0.saturating_add(from.0.abs_diff(wanted.0))),
                Kib(left.0.saturating_add(to_go.0)),
            )
        })
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
