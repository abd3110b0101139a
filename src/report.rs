//! The output: results on standard output, everything else on standard error, as text or as JSON.

mod check;
mod json;
mod live;
mod metrics;
mod output;
mod progress;
mod reclaim;
mod table;
mod text;

use std::cell::RefCell;
use std::collections::BTreeSet;

use xmem_core::change::Outcome;
use xmem_core::domain::Domain;
use xmem_core::failure::{Cause, Failure};
use xmem_core::resolve::Missing;
use xmem_core::survey::Survey;
use xmem_core::wait::{WaitEnd, WaitReport};

pub(crate) use self::check::{Checked, is_open};
use self::json::Json;
pub(crate) use self::live::Screen;
use self::output::Output;
pub(crate) use self::progress::ProgressView;
pub(crate) use self::reclaim::FailedChanges;
pub(crate) use self::table::{Layout, sort};
pub(crate) use self::text::shortened;
use crate::exit::Exit;
use crate::hints;
use crate::program::Program;
use crate::remedy::Remedy;
use crate::usage::Usage;

/// Where and how results are reported.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) style: Style,
    /// The subcommand, or `xmem` if none was recognised.
    pub(crate) command: &'static str,
    pub(crate) simulated: bool,
    /// The command that hints name.
    pub(crate) program: Program,
    output: Output,
    /// The hints given so far.
    hints: RefCell<BTreeSet<String>>,
}

/// The options about the report that every subcommand has.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Style {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
    /// Whether standard error is JSON too.
    pub(crate) json_log: bool,
}

impl Report {
    pub(crate) fn new(
        style: Style,
        command: &'static str,
        simulated: bool,
        program: Program,
    ) -> Self {
        let output = Output::new(style.json_log);
        Self { style, command, simulated, program, output, hints: RefCell::default() }
    }

    /// A change that was made, planned, or not needed; `line` is that of the batch.
    pub(crate) fn outcome(&self, outcome: &Outcome, line: Option<usize>) -> Exit {
        if self.style.json {
            self.json(|json| json.outcome(outcome, line, false));
        } else if !self.style.quiet {
            self.changed(outcome, line.is_some(), false);
        }
        Exit::Done
    }

    /// The same, before the wait for its guest. In JSON it is printed with the wait's end.
    pub(crate) fn before_wait(&self, outcome: &Outcome, line: Option<usize>) {
        if !self.style.json && !self.style.quiet {
            self.changed(outcome, line.is_some(), true);
        }
    }

    /// `names`: its domain is one of several, and is named again in the notes. `waits`: its guest is waited for.
    fn changed(&self, outcome: &Outcome, names: bool, waits: bool) {
        self.print(&(text::outcome(outcome) + self.mark()));
        let domain = if names { format!("{}: ", outcome.domain) } else { String::new() };
        for note in text::notes(outcome, waits, &self.program) {
            // The result says it already.
            if note.kind != "video-memory" {
                self.note(&format!("{domain}{}", note.text));
            }
        }
    }

    /// The end of the wait for a guest. `not_nudged`: why its balloon driver could not be nudged, which JSON has here.
    pub(crate) fn waited(
        &self,
        outcome: &Outcome,
        line: Option<usize>,
        wait: &WaitReport,
        not_nudged: Option<&Failure>,
    ) -> Exit {
        let hint = hints::wait(outcome, wait, &self.program);
        if self.style.json {
            self.json(|json| json.waited(outcome, line, wait, not_nudged, hint.as_ref()));
        }
        let text = text::waited(outcome, wait) + self.mark();
        if !matches!(wait.end, WaitEnd::Reached) {
            self.error(&text, hint.as_ref());
        } else if !self.style.json && !self.style.quiet {
            self.print(&text);
        }
        Exit::from(wait)
    }

    /// A failure; `line` is that of the batch.
    pub(crate) fn failure(&self, failure: &Failure, line: Option<usize>) -> Exit {
        let hint = hints::failure(failure, &self.program);
        if self.style.json {
            self.json(|json| json.failure(failure, line, hint.as_ref()));
        }
        let line = line.map_or_else(String::new, |line| format!("line {line}: "));
        self.error(&format!("{line}{}{}", failure, self.mark()), hint.as_ref());
        Exit::from(failure)
    }

    /// The failure of a command that only reads.
    pub(crate) fn unanswered(&self, cause: Cause) -> Exit {
        self.failure(&Failure::read_only(None, cause), None)
    }

    /// A domain that does not exist.
    pub(crate) fn missing(&self, missing: &Missing) {
        self.unanswered(Cause::Resolve(missing.clone().into()));
    }

    /// Wrong usage.
    pub(crate) fn usage(&self, usage: &Usage, line: Option<usize>) -> Exit {
        if self.style.json {
            self.json(|json| json.usage(usage, line));
        }
        let line = line.map_or_else(String::new, |line| format!("line {line}: "));
        let hint = usage.hint.as_deref().map(Remedy::from);
        self.error(&format!("{line}{usage}"), hint.as_ref());
        Exit::Usage
    }

    /// A failure of the operating system outside Xen.
    pub(crate) fn os_error(&self, error: &anyhow::Error) -> Exit {
        self.os_error_with(error, None)
    }

    /// The same with a hint.
    pub(crate) fn os_error_with(&self, error: &anyhow::Error, hint: Option<&str>) -> Exit {
        let text = shortened(&format!("{error:#}"));
        if self.style.json {
            self.json(|json| json.os_error(&text, hint.map(str::to_owned)));
        }
        self.error(&text, hint.map(Remedy::from).as_ref());
        Exit::Failed
    }

    /// A guest's balloon driver was nudged.
    pub(crate) fn nudged(&self, domain: &Domain) {
        if !self.style.quiet && !self.style.json {
            self.note(&format!(
                "{domain}: the guest had stalled; nudged its balloon driver with a target one page off"
            ));
        }
    }

    /// It could not be nudged; its target is unchanged.
    pub(crate) fn not_nudged(&self, domain: &Domain, failure: &Failure) {
        if !self.style.quiet && !self.style.json {
            self.note(&format!("{domain}: {}", text::not_nudged(failure).text));
        }
    }

    /// Whether tables are coloured.
    pub(crate) fn is_coloured() -> bool {
        output::is_coloured()
    }

    /// A host's domains.
    pub(crate) fn list(&self, survey: &Survey, layout: &Layout) {
        if self.style.json {
            self.json(|json| json.survey(survey));
        } else {
            let coloured = Self::is_coloured();
            self.print_lines(&table::lines(survey, layout, self.simulated, coloured));
        }
    }

    /// The same as metrics.
    pub(crate) fn metrics(&self, survey: &Survey) {
        self.print(&metrics::metrics(survey));
    }

    /// What is waited for, on a terminal.
    pub(crate) fn waiting_for(&self, what: &str) {
        if !self.style.quiet && !self.style.json && output::is_error_terminal() {
            self.output.complain(&format!("xmem: waiting for {what}"));
        }
    }

    /// Whether a result could not be written for a reason other than a closed pipe.
    pub(crate) fn is_lost(&self) -> bool {
        self.output.is_lost()
    }

    /// Prints lines of JSON.
    fn json<T: IntoIterator<Item = String>>(
        &self,
        lines: impl FnOnce(Json<'_>) -> serde_json::Result<T>,
    ) -> bool {
        match lines(Json { report: self }) {
            Ok(lines) => lines.into_iter().all(|line| self.print(&line)),
            Err(error) => {
                self.output.complain(&format!("xmem: {error}"));
                false
            }
        }
    }

    fn note(&self, text: &str) {
        self.output.complain(&format!("note: {text}"));
    }

    /// An error. It is reported in every mode, also with --quiet. Each hint is given once.
    fn error(&self, text: &str, hint: Option<&Remedy>) {
        self.output.complain(&format!("xmem: {}", shortened(text)));
        if let Some(hint) = hint
            && self.hints.borrow_mut().insert(hint.text.clone())
        {
            self.output.complain(&self.remedy("hint", hint));
        }
    }

    /// `remedy` after `word`, marked if it does not work on this host because it is simulated.
    fn remedy(&self, word: &str, remedy: &Remedy) -> String {
        let mark = if remedy.needs_xen { self.mark() } else { "" };
        format!("{word}{mark}: {}", remedy.text)
    }

    fn print_lines(&self, lines: &[String]) -> bool {
        lines.is_empty() || self.print(&lines.join("\n"))
    }

    /// Prints a result. `false` if its reader has gone.
    fn print(&self, text: &str) -> bool {
        self.output.write(&format!("{text}\n"))
    }

    /// The mark of a simulated host, at the end of each sentence.
    const fn mark(&self) -> &'static str {
        if self.simulated { " (simulated)" } else { "" }
    }
}
