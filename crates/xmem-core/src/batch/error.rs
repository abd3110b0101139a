//! Errors in a batch.

use xen::escape::{Escaped, beginning};
use xen::hypervisor::UNLIMITED;
use xen::{DomId, Kib};

use crate::domain::DomainRefError;
use crate::size::SizeError;

/// The most errors reported. A file of another format could have millions.
pub const MAX_ERRORS: usize = 100;

/// The most characters of a word that are repeated.
const LONGEST_WORD: usize = 100;

/// An invalid line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {number}: {problem}")]
pub struct LineError {
    /// The number of the line, from 1.
    pub number: usize,
    /// The problem.
    pub problem: LineProblem,
}

/// Why a line is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum LineProblem {
    /// It has one word, or more than two behind a quoted name.
    #[error("not of the form `DOMAIN SIZE`")]
    Words,
    /// A quoted name without its second quote.
    #[error("the quote {quote} is not closed")]
    Unclosed { quote: char },
    /// Not a domain.
    #[error("domain `{text}`: {why}")]
    Domain { text: String, why: DomainRefError },
    /// Not a size.
    #[error("size `{text}`: {why}")]
    Size { text: String, why: SizeError },
    /// Not JSON.
    #[error("not valid JSON (at line {line})")]
    Json { line: usize },
    /// JSON that ends before its last bracket.
    #[error("the JSON that begins here is cut off")]
    Incomplete,
    /// An array of something other than objects.
    #[error("the array contains something other than objects")]
    NotAnObject,
    /// A member that `list --json` does not have.
    #[error("unknown member `{member}`")]
    UnknownMember { member: String },
    /// A repeated member.
    #[error("member `{member}` is repeated")]
    RepeatedMember { member: String },
    /// A member with a value of another type.
    #[error("`{member}` is {value}, not {wants}")]
    BadValue { member: &'static str, value: String, wants: &'static str },
    /// A target or a size of less than a page.
    #[error("`{member}` is {kib}, less than one page (4 KiB)")]
    TooSmall { member: &'static str, kib: Kib },
    /// No domain.
    #[error("no domain: neither `uuid`, `domid` nor `name`")]
    NoDomain,
    /// Neither a target nor a size.
    #[error("no size: neither `target_kib` nor `size_kib`")]
    NoSize,
    /// A domain without a readable target or size when it was listed.
    #[error("`{member}` is null: `xmem list` found none, or could not read it")]
    Null { member: &'static str },
    /// An object of another command.
    #[error("this is output of `xmem {command}`, not of `xmem list --json`")]
    OtherOutput { command: String },
    /// An error of a command instead of its output.
    #[error("`xmem {command}` failed: {message}")]
    Failed { command: String, message: String },
    /// Members that name two domains.
    #[error("{said}, but {found}")]
    OtherDomain { said: String, found: String },
    /// A target and a size whose difference is not the video memory.
    #[error("`target_kib` ({target}) and `size_kib` ({size}) contradict each other")]
    Contradiction { target: Kib, size: Kib },
    /// A maximum that the domain does not have.
    #[error("`static_max_kib` is {said}, but the domain {}", maximum(*present))]
    NotItsMaximum { said: Kib, present: Kib, domid: DomId, target: Option<Kib> },
    /// Video memory that the domain does not have.
    #[error("`videoram_kib` is {said}, but the domain has {present} of video memory")]
    NotItsVideo { said: Kib, present: Kib },
    /// An empty batch.
    #[error("no domains in the batch")]
    Empty,
    /// More errors than are reported.
    #[error("stopped here after {MAX_ERRORS} errors")]
    TooMany,
}

/// `has a maximum of 2048 MiB`, or none.
fn maximum(present: Kib) -> String {
    match present {
        UNLIMITED => "has no maximum".to_owned(),
        present => format!("has a maximum of {present}"),
    }
}

/// The beginning of `text`, escaped.
pub(super) fn shortened(text: &str) -> String {
    let (text, dots) = beginning(text, LONGEST_WORD);
    format!("{}{dots}", Escaped(text))
}
