//! A guest on its way: a bar on a terminal, a line from time to time elsewhere, events for programs.
//!
//! Owns when and how it is shown. All of it but the events goes to stderr.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use xmem::balloon::Progress;
use xmem::domain::Domain;

use super::{Report, complain, json, print, text};

/// How far apart two lines are, and two events.
const LINES: Duration = Duration::from_secs(5);
const EVENTS: Duration = Duration::from_secs(1);

/// What shows one guest's way.
pub(crate) struct Show<'a> {
    report: &'a Report,
    domain: &'a Domain,
    how: How,
}

enum How {
    Not,
    Bar(ProgressBar),
    /// When the next one is due.
    Lines(Duration),
    Events(Duration),
}

impl<'a> Show<'a> {
    pub(super) fn new(report: &'a Report, domain: &'a Domain) -> Self {
        // None of these shows anything before the first news.
        let how = match report {
            Report { quiet: true, .. } => How::Not,
            Report { json: true, .. } => How::Events(Duration::ZERO),
            // Log lines would tear a bar to pieces.
            Report { verbose: true, .. } => How::Lines(Duration::ZERO),
            _ => match bar(domain) {
                // No terminal, or one that cannot go back in its line.
                bar if bar.is_hidden() => How::Lines(Duration::ZERO),
                bar => How::Bar(bar),
            },
        };
        Self { report, domain, how }
    }

    /// Shows where the guest is.
    pub(crate) fn news(&mut self, progress: &Progress) {
        let Self { report, domain, how } = self;
        match how {
            How::Bar(bar) => {
                let whole = progress.from.0.abs_diff(progress.wanted.0);
                let way = text::way(progress, report.simulated);
                bar.set_message(way);
                bar.update(|state| {
                    state.set_len(whole);
                    state.set_pos(whole.saturating_sub(progress.to_go().0));
                });
            }
            How::Lines(due) if *due <= progress.at => {
                *due = progress.at.saturating_add(LINES);
                complain(&text::progress(domain, progress, report.simulated));
            }
            How::Events(due) if *due <= progress.at => {
                *due = progress.at.saturating_add(EVENTS);
                match json::progress(report, domain, progress) {
                    Ok(line) => drop(print(&line)),
                    Err(error) => complain(&format!("xmem: {error}")),
                }
            }
            How::Not | How::Lines(_) | How::Events(_) => {}
        }
    }

    /// Clears it away.
    pub(crate) fn end(self) {
        if let How::Bar(bar) = self.how {
            bar.finish_and_clear();
        }
    }
}

fn bar(domain: &Domain) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        .with_prefix(domain.to_string());
    // The template is a constant; without it the bar only looks different.
    match ProgressStyle::with_template("{prefix} [{bar:24}] {wide_msg}") {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}
