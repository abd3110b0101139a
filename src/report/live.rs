//! `xmem watch`: the table again and again. On a terminal with a bar and a history for each domain, drawn in place.
//!
//! A frame is drawn over the one before by moving up as many lines as that had. No setting of the terminal is changed, so
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

/// How many looks are kept.
const HISTORY: usize = 24;

/// What is on the screen, and what was seen before.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    history: History,
    before: Option<Survey>,
    /// The lines of the last frame.
    lines: usize,
    columns: Option<usize>,
}

impl Screen {
    /// Something else was written on the terminal: the next frame goes below.
    pub(crate) const fn start_below(&mut self) {
        self.lines = 0;
    }
}

/// What each domain held lately.
#[derive(Debug, Default)]
struct History(HashMap<Identity, VecDeque<Kib>>);

impl History {
    /// Adds a look, and forgets the domains that are gone.
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

    /// The latest `most` looks at a domain, oldest first.
    fn latest(&self, row: &Row, most: usize) -> Vec<Kib> {
        let Some(past) = self.0.get(&row.domain.identity) else { return Vec::new() };
        past.iter().skip(past.len().saturating_sub(most)).copied().collect()
    }
}

impl Report {
    /// Shows a look of `xmem watch`. `false` if nobody reads it.
    pub(crate) fn refresh(&self, screen: &mut Screen, survey: Survey) -> bool {
        let is_read = if self.style.quiet {
            true
        } else if self.style.json {
            self.json(|json| json.changes(screen.before.as_ref(), &survey))
        } else if output::is_smart_terminal() {
            self.draw(screen, &survey)
        } else {
            let now = humantime::format_rfc3339_seconds(SystemTime::now());
            let lines = table::lines(&survey, &Layout::default(), self.simulated, false);
            self.print(&format!("{now}\n{}\n", lines.join("\n")))
        };
        screen.before = Some(survey);
        is_read && !output::is_closed()
    }

    /// Whether the reader of standard output has gone away.
    pub(crate) fn is_unread(&self) -> bool {
        !self.style.quiet && output::is_closed()
    }

    fn draw(&self, screen: &mut Screen, survey: &Survey) -> bool {
        screen.history.add(survey);
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
            // Lines that the terminal has wrapped anew cannot be counted.
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
