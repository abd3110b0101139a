//! `xmem watch`: repeated tables. On a terminal they have a bar and a history for each domain, and are redrawn in
//! place.
//!
//! A frame is drawn over the previous one by moving the cursor up by its lines. No terminal setting is changed, so
//! nothing needs restoring however the run ends.

mod frame;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::time::SystemTime;

use rustix::termios;
use xen::{Identity, Kib};
use xmem_core::survey::{Row, Survey};

use self::frame::{Frame, Glyphs};
use super::{Layout, Report, output, table};

/// The number of samples kept.
const HISTORY: usize = 24;

/// The last frame and the samples so far.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    history: History,
    before: Option<Survey>,
    /// The lines of the last frame.
    lines: usize,
    columns: Option<usize>,
}

impl Screen {
    /// Lets the next frame begin below other output on the terminal.
    pub(crate) const fn start_below(&mut self) {
        self.lines = 0;
    }
}

/// The recent memory in use of each domain.
#[derive(Debug, Default)]
struct History(HashMap<Identity, VecDeque<Kib>>);

impl History {
    /// Adds a sample, and forgets the domains that are gone.
    fn add(&mut self, survey: &Survey) {
        let alive: HashSet<Identity> = survey.rows.iter().map(|row| row.domain.identity).collect();
        self.0.retain(|identity, _| alive.contains(identity));
        for row in &survey.rows {
            let past = self.0.entry(row.domain.identity).or_default();
            if past.len() >= HISTORY {
                past.pop_front();
            }
            past.push_back(row.memory.info.current);
        }
    }

    /// The latest `most` samples of a domain, oldest first.
    fn latest(&self, row: &Row, most: usize) -> Vec<Kib> {
        let Some(past) = self.0.get(&row.domain.identity) else { return Vec::new() };
        past.iter().skip(past.len().saturating_sub(most)).copied().collect()
    }
}

/// Replaces the heading of a table without domains.
fn note_none_left(survey: &Survey, lines: &mut [String]) {
    if let ([], Some(heading)) = (&*survey.rows, lines.first_mut()) {
        "no such domain any more".clone_into(heading);
    }
}

impl Report {
    /// Shows a sample of `xmem watch`. `false` if the reader has gone.
    pub(crate) fn refresh(&self, screen: &mut Screen, survey: Survey) -> bool {
        let is_read = if self.style.json {
            self.json(|json| json.changes(screen.before.as_ref(), &survey))
        } else if output::is_smart_terminal() {
            self.draw(screen, &survey)
        } else {
            let now = humantime::format_rfc3339_seconds(SystemTime::now());
            let mut lines = table::lines(&survey, &Layout::default(), self.simulated, false);
            note_none_left(&survey, &mut lines);
            self.print(&format!("{now}\n{}\n", lines.join("\n")))
        };
        screen.before = Some(survey);
        is_read && !output::is_closed()
    }

    /// Whether the reader of standard output has gone.
    pub(crate) fn is_unread() -> bool {
        output::is_closed()
    }

    fn draw(&self, screen: &mut Screen, survey: &Survey) -> bool {
        screen.history.add(survey);
        if !output::is_in_foreground(io::stdout()) {
            screen.start_below();
            return true;
        }
        let size = termios::tcgetwinsize(io::stdout()).ok();
        // A serial console does not know its size.
        let or_usual = |size: Option<u16>, usual| match size {
            None | Some(0) => usual,
            Some(size) => usize::from(size),
        };
        let width = or_usual(size.map(|size| size.ws_col), 80);
        // The cursor needs a line of its own, or the frame would scroll away.
        let height = or_usual(size.map(|size| size.ws_row), 24).saturating_sub(1).max(1);
        let glyphs = if output::is_utf8() { Glyphs::UNICODE } else { Glyphs::ASCII };
        let lines =
            Frame { survey, history: &screen.history, glyphs, width, height }.lines(self.simulated);
        let is_resized = screen.columns.replace(width).is_some_and(|before| before != width);
        let mut text = String::new();
        if is_resized && screen.lines > 0 {
            // After a change of width, the terminal may have wrapped lines, so they cannot be counted.
            text.push_str("\x1b[2J\x1b[H");
        } else if screen.lines > 0 {
            text.extend(["\x1b[", &screen.lines.to_string(), "A\r"]);
        }
        for line in &lines {
            text.push_str(line);
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J");
        screen.lines = lines.len();
        self.output.write(&text)
    }
}
