//! The file that `apply` takes: lines of `DOMAIN SIZE`, or the output of `list --json`. Pure.
//!
//! ```text
//! # a comment
//! web 2G
//! SQL 227 1G          # a name may contain blanks: the size is the last word
//! "SQL 227" 1G
//! SQL\ 227 1G
//! {"uuid":"00000000-0000-4000-8000-000000000007","target_kib":1048576}
//! ```
//!
//! JSON is one object a line, several on a line, an object over several lines, or an array of objects. `target_kib` is
//! the target and `size_kib` the size, target and video memory together. Every other number is compared with the
//! domain's own when the change is planned.

mod error;
mod json;
mod words;

use xen::{DomId, Kib};

pub use self::error::{LineError, LineProblem, MAX_ERRORS};
use crate::domain::{DomainRef, Name};
use crate::size::Size;

/// The changes in a file, and its invalid lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The valid lines.
    pub lines: Vec<Line>,
    /// The invalid lines: at most [`MAX_ERRORS`], then one [`LineProblem::TooMany`].
    pub errors: Vec<LineError>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The number of the line, from 1: the first line of a JSON object.
    pub number: usize,
    /// The domain.
    pub domain: DomainRef,
    /// The new size or target.
    pub to: Wanted,
    /// The other members of a JSON line; `None` for a line of `DOMAIN SIZE`.
    pub listed: Option<Listed>,
}

/// The new value that a line sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A size, video memory included.
    Size(Size),
    /// A target, video memory not included.
    Target(Kib),
}

/// The members of a JSON line that set nothing. They must fit the domain, so that an edit is never dropped silently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// `domid`.
    pub domid: Option<DomId>,
    /// `name`.
    pub name: Option<Name>,
    /// `size_kib`, not rounded to whole pages.
    pub size: Option<Kib>,
    /// `static_max_kib`.
    pub static_max: Option<Kib>,
    /// `videoram_kib`.
    pub video: Option<i32>,
    /// `limit_kib`; a limit of null is [`UNLIMITED`](xen::hypervisor::UNLIMITED).
    pub limit: Option<Kib>,
}

/// Reads `text`. Skips empty lines, a byte order mark, the host's line of `list --json`, and comments. A comment begins
/// with `#` at the start of a line or after a blank.
pub fn parse(text: &str) -> Batch {
    Reader { rest: text, number: 1, array: None, batch: Batch::default() }.read()
}

/// The rest of the file.
struct Reader<'t> {
    rest: &'t str,
    /// The number of the line in which `rest` begins.
    number: usize,
    /// The line of an array's `[` whose `]` has not been read yet.
    array: Option<usize>,
    batch: Batch,
}

impl Reader<'_> {
    fn read(mut self) -> Batch {
        loop {
            let blank = |c: char| c.is_whitespace() || c == '\u{feff}';
            self.skip(self.rest.find(|c| !blank(c)).unwrap_or(self.rest.len()));
            if self.batch.errors.len() >= MAX_ERRORS && !self.rest.is_empty() {
                self.fail(self.number, LineProblem::TooMany);
                return self.batch;
            }
            match (self.rest.chars().next(), self.array) {
                (None, None) => return self.batch,
                (None, Some(number)) => {
                    self.fail(number, LineProblem::Incomplete);
                    return self.batch;
                }
                (Some('#'), _) => self.skip_line(),
                (Some('{'), _) => self.object(),
                (Some('['), None) => {
                    self.array = Some(self.number);
                    self.skip(1);
                }
                (Some(']'), Some(_)) => {
                    self.array = None;
                    self.skip(1);
                    self.end_of_json();
                }
                (Some(','), Some(_)) => self.skip(1),
                (Some(_), Some(_)) => {
                    self.fail(self.number, LineProblem::NotAnObject);
                    self.skip_broken_json();
                }
                (Some(_), None) => self.words(),
            }
        }
    }

    /// A line of `DOMAIN SIZE`.
    fn words(&mut self) {
        let (number, line) = (self.number, self.line());
        match words::read(line) {
            Ok((domain, size)) => {
                let to = Wanted::Size(size);
                self.batch.lines.push(Line { number, domain, to, listed: None });
            }
            Err(problem) => self.fail(number, problem),
        }
        self.skip_line();
    }

    /// A JSON object.
    fn object(&mut self) {
        let number = self.number;
        match json::read(self.rest, number) {
            Ok((members, length)) => {
                self.skip(length);
                match members.line(number) {
                    Ok(line) => self.batch.lines.extend(line),
                    Err(problem) => self.fail(number, problem),
                }
                if self.array.is_none() {
                    self.end_of_json();
                }
            }
            Err(problem) => {
                self.fail(number, problem);
                self.skip_broken_json();
            }
        }
    }

    /// Checks the rest of the line after an object or an array: nothing, a comment, or more JSON.
    fn end_of_json(&mut self) {
        let line = self.line().trim();
        if !line.is_empty() && !line.starts_with(['{', '[', '#']) {
            self.fail(self.number, LineProblem::Json { line: self.number });
            self.skip_line();
        }
    }

    /// Skips the rest of broken JSON: lines that are indented or begin with a closing bracket.
    fn skip_broken_json(&mut self) {
        self.array = None;
        loop {
            self.skip_line();
            let inside = |c: char| c.is_whitespace() || matches!(c, '}' | ']' | ',');
            if !self.rest.starts_with(inside) {
                return;
            }
        }
    }

    fn fail(&mut self, number: usize, problem: LineProblem) {
        self.batch.errors.push(LineError { number, problem });
    }

    /// The rest of the line.
    fn line(&self) -> &str {
        self.rest.split_once('\n').map_or(self.rest, |(line, _)| line)
    }

    /// Skips the rest of the line.
    fn skip_line(&mut self) {
        self.skip(self.rest.find('\n').map_or(self.rest.len(), |end| end.saturating_add(1)));
    }

    fn skip(&mut self, bytes: usize) {
        let (skipped, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        let lines = skipped.bytes().filter(|byte| *byte == b'\n').count();
        self.number = self.number.saturating_add(lines);
        self.rest = rest;
    }
}

#[cfg(test)]
mod tests;
