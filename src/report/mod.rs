//! What a result looks like: for people, or as JSON.
//!
//! Owns everything that is printed. stdout carries results, stderr everything else. Never decides
//! what a result is; the exit code comes with it.

mod json;
mod text;

use std::io::{self, Write as _};

use xmem::change::Outcome;
use xmem::error::{Exit, Failure};

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

/// Where and how results are told.
#[derive(Debug)]
pub(crate) struct Report {
    json: bool,
    quiet: bool,
    command: &'static str,
    simulated: bool,
}

impl Report {
    /// As the command line asks.
    pub(crate) const fn new(global: &Global, command: &'static str, simulated: bool) -> Self {
        Self { json: global.json, quiet: global.quiet, command, simulated }
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
}

/// Tells of an error. It is told in every mode.
fn error(text: &str, hint: Option<&str>) {
    complain(&format!("xmem: {text}"));
    if let Some(hint) = hint {
        complain(&format!("hint: {hint}"));
    }
}

/// Prints a result. That it could not be told does not change what was done, nor the exit code, which
/// says what was done.
fn print(line: &str) {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        // The reader has had enough: `| head`.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("xmem: the result could not be written: {error}: {line}"));
        }
        _ => {}
    }
}

/// Prints a line that is not a result. When not even that can be written, the exit code is left.
pub(crate) fn complain(line: &str) {
    let _told = writeln!(io::stderr().lock(), "{line}");
}
