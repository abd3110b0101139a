//! What a result looks like: for people, or as JSON.
//!
//! Owns everything that is printed. stdout carries results, stderr everything else. Never decides
//! what a result is; the exit code comes with it.

mod check;
mod json;
mod live;
mod metrics;
mod progress;
mod table;
mod text;

use std::env;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::termios;
use xmem::balloon::{Ending, Waited};
use xmem::change::Outcome;
use xmem::check::{Fate, Finding};
use xmem::domain::DomainRef;
use xmem::error::{After, Cause, Exit, Failure};
use xmem::harmless::Harmless;
use xmem::overview::{Overview, Row};
use xmem::resolve::ResolveError;
use xmem::signals::Signals;

pub(crate) use self::progress::Show;
use crate::cli::Global;

/// Words that xmem cannot make sense of.
#[derive(Debug)]
pub(crate) struct Usage {
    /// Which of its arguments.
    pub(crate) what: &'static str,
    /// What was typed.
    pub(crate) text: String,
    /// What is wrong with it.
    pub(crate) why: String,
    /// What to type.
    pub(crate) hint: String,
}

/// What was done for a guest that sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nudge {
    /// Nothing.
    NotNeeded,
    /// It was shown another target, and the old one again.
    Done,
    /// That did not succeed, and all is as it was.
    Failed,
}

/// Where and how results are told.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Report {
    json: bool,
    quiet: bool,
    verbose: bool,
    command: &'static str,
    simulated: bool,
}

impl Report {
    /// As the command line asks.
    pub(crate) const fn new(global: &Global, command: &'static str, simulated: bool) -> Self {
        let verbose = global.verbose > 0;
        Self { json: global.json, quiet: global.quiet, verbose, command, simulated }
    }

    /// A change that was made, planned, or not needed.
    pub(crate) fn outcome(&self, outcome: &Outcome) -> anyhow::Result<Exit> {
        if self.json {
            print(&json::outcome(self, outcome)?);
        } else if !self.quiet {
            print(&text::outcome(outcome, self.simulated));
            for note in text::notes(outcome) {
                complain(&format!("note: {note}"));
            }
        }
        Ok(Exit::Done)
    }

    /// The same before its guest is waited for. For programs it comes afterwards, in one object.
    pub(crate) fn before_wait(&self, outcome: &Outcome) -> anyhow::Result<()> {
        if self.json { Ok(()) } else { self.outcome(outcome).map(drop) }
    }

    /// What shows the way of the guests.
    pub(crate) fn progress<'a>(
        &'a self,
        outcomes: &[&'a Outcome],
        nudges: impl Iterator<Item = Nudge>,
    ) -> Show<'a> {
        if !self.json && !self.quiet {
            for (outcome, nudge) in outcomes.iter().zip(nudges) {
                if let Some(note) = text::nudge(nudge) {
                    // Of one alone it is plain who is meant.
                    let who = if outcomes.len() > 1 {
                        format!("{}: ", outcome.domain)
                    } else {
                        String::new()
                    };
                    complain(&format!("note: {who}{note}"));
                }
            }
        }
        Show::new(self, outcomes)
    }

    /// How the wait for the guest ended.
    pub(crate) fn waited(
        &self,
        outcome: &Outcome,
        nudge: Nudge,
        waited: &Waited,
    ) -> anyhow::Result<()> {
        if self.json {
            print(&json::waited(self, outcome, nudge, waited)?);
        }
        let text = text::waited(outcome, waited, self.simulated);
        if !matches!(waited.end, Ending::There) {
            error(&text, waited.hint().as_deref());
        } else if !self.json && !self.quiet {
            print(&text);
        }
        Ok(())
    }

    /// A host's domains.
    pub(crate) fn overview(&self, seen: &Overview) -> anyhow::Result<()> {
        if self.json {
            print(&json::overview(self, seen)?);
            return Ok(());
        }
        let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let coloured = io::stdout().is_terminal() && !no_color;
        print(&table::table(seen, coloured));
        Ok(())
    }

    /// One look of `xmem watch`. `false` when nobody reads any more.
    pub(crate) fn watched(&self, watched: &mut Watched, seen: &Overview) -> anyhow::Result<bool> {
        if self.json {
            let mut all_read = true;
            for line in json::news(self, &watched.before, seen)? {
                all_read = all_read && print(&line);
            }
            watched.before.clone_from(&seen.rows);
            return Ok(all_read);
        }
        let Ok(size) = termios::tcgetwinsize(io::stdout()) else {
            return Ok(print(&format!("{}\n", table::table(seen, false))));
        };
        watched.past.add(seen);
        let glyphs = if speaks_utf8() { live::Glyphs::UNICODE } else { live::Glyphs::ASCII };
        // A serial console does not know its size.
        let or_usual = |size: u16, usual: usize| if size == 0 { usual } else { usize::from(size) };
        let columns = or_usual(size.ws_col, 80);
        // One line is for the cursor, which would scroll the frame away.
        let rows = or_usual(size.ws_row, 24).saturating_sub(1).max(1);
        let lines = live::frame(seen, &watched.past, glyphs, (columns, rows));
        let resized = watched.columns.replace(columns).is_some_and(|before| before != columns);
        let mut text = live::drawn(&lines, if resized { 0 } else { watched.lines });
        if resized {
            // Lines that the terminal has broken anew cannot be counted back.
            text.insert_str(0, "\x1b[2J\x1b[H");
        }
        watched.lines = lines.len();
        // A run that is ended ends between two frames.
        let mut signals = Signals::default();
        let _held = signals.hold_off()?;
        Ok(write(&text))
    }

    /// What is off among so many domains, and what became of it.
    pub(crate) fn checked(&self, domains: usize, found: &[(Finding, Fate)]) -> anyhow::Result<()> {
        if self.json {
            print(&check::json(self, domains, found)?);
        } else if !self.quiet {
            print(&check::text(domains, found, self.simulated));
        }
        Ok(())
    }

    /// The same for a collector of metrics.
    #[expect(clippy::unused_self, reason = "a report like the others")]
    pub(crate) fn metrics(&self, seen: &Overview) {
        print(&metrics::metrics(seen));
    }

    /// A domain that was asked for and is not there.
    pub(crate) fn missing(&self, wanted: &DomainRef) -> anyhow::Result<()> {
        let error = ResolveError::NoSuchDomain { wanted: wanted.clone(), near: None };
        let failure =
            Failure { domain: None, cause: Cause::Resolve(error), after: After::ReadOnly };
        self.failure(&failure).map(drop)
    }

    /// A change that did not come about.
    pub(crate) fn failure(&self, failure: &Failure) -> anyhow::Result<Exit> {
        if self.json {
            print(&json::failure(self, failure)?);
        }
        let mark = if self.simulated { text::SIMULATED } else { "" };
        error(&format!("{failure}{mark}"), failure.hint().as_deref());
        Ok(failure.exit())
    }

    /// Words that make no sense.
    pub(crate) fn usage(&self, usage: &Usage) -> anyhow::Result<Exit> {
        if self.json {
            print(&json::usage(self, usage)?);
        }
        error(&text::usage(usage), Some(&usage.hint));
        Ok(Exit::Usage)
    }

    /// Several words that make no sense.
    pub(crate) fn usages(&self, usages: &[Usage]) -> anyhow::Result<Exit> {
        usages.iter().try_for_each(|usage| self.usage(usage).map(drop))?;
        Ok(Exit::Usage)
    }

    /// A line of a batch that cannot be carried out; 0 is the batch as a whole.
    pub(crate) fn objection(&self, line: usize, failure: &Failure) -> anyhow::Result<Exit> {
        if self.json {
            print(&json::failure(self, failure)?);
        }
        let text = if line == 0 { failure.to_string() } else { format!("line {line}: {failure}") };
        error(&text, failure.hint().as_deref());
        Ok(failure.exit())
    }
}

/// Tells of an error. It is told in every mode.
fn error(text: &str, hint: Option<&str>) {
    complain(&format!("xmem: {text}"));
    if let Some(hint) = hint {
        complain(&format!("hint: {hint}"));
    }
}

/// What `xmem watch` has shown so far.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    before: Vec<Row>,
    past: live::Past,
    lines: usize,
    columns: Option<usize>,
}

impl Watched {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }
}

/// Whether the terminal is said to read UTF-8, by the first of the variables that locale(7) asks.
fn speaks_utf8() -> bool {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// Tells of a command line that clap does not take, in clap's words, which repeat what was typed as it
/// is; and tells programs.
pub(crate) fn unparsed(error: &clap::Error, json: bool) {
    let text = error.render().to_string();
    if json {
        let message = text.lines().next().unwrap_or_default();
        let message = message.strip_prefix("error: ").unwrap_or(message);
        match json::unparsed(message) {
            Ok(line) => drop(print(&line)),
            Err(error) => complain(&format!("xmem: {error}")),
        }
    }
    text.lines().for_each(complain);
}

/// Whether a result could not be written, and not because its reader had read enough.
static LOST: AtomicBool = AtomicBool::new(false);

/// Whether something could not be told, for another reason than that its reader had read enough.
pub(crate) fn lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Prints a result. That it could not be told does not change what was done, nor the exit code, which
/// says what was done.
///
/// `false` when nobody reads any more: `| head`.
fn print(line: &str) -> bool {
    write(&format!("{line}\n"))
}

fn write(text: &str) -> bool {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => false,
        Err(error) => {
            LOST.store(true, Ordering::Relaxed);
            let whole = format!("xmem: the result could not be written: {error}: {text}");
            whole.lines().for_each(complain);
            false
        }
    }
}

/// Prints a line that is not a result. When not even that can be written, the exit code is left.
///
/// Whatever a reason repeats, of a file, of the environment or of a library's words, it stays one line
/// and steers no terminal.
pub(crate) fn complain(line: &str) {
    // In one piece: stderr is not buffered, and others may write to it as well.
    let line = format!("{}\n", Harmless(line));
    let _told = io::stderr().lock().write_all(line.as_bytes());
}
