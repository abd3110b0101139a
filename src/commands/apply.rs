//! `xmem apply`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use xen::Host;
use xmem_core::apply::{ApplyOptions, LineFailureReason, apply, plan_all};
use xmem_core::batch::{Batch, LineProblem, parse};
use xmem_core::change::Outcome;

use super::record;
use super::wait::{self, PATIENCE, Waiting};
use crate::cli::{Apply, Global};
use crate::exit::Exit;
use crate::hints;
use crate::report::Report;
use crate::signals::Signals;
use crate::usage::Usage;
use crate::values;

/// More bytes than a batch for any host needs.
const MAX_BYTES: u64 = 16 << 20;

/// A batch of changes.
pub(super) struct Task {
    file: String,
    batch: Batch,
    options: ApplyOptions,
    waiting: Option<Waiting>,
    dry_run: bool,
}

impl Task {
    pub(super) fn of(args: &Apply, global: &Global) -> Result<Self, Usage> {
        let lock_timeout = values::lock_timeout(global.lock_timeout.as_deref())?;
        let options = ApplyOptions {
            raise_max: args.raise_max,
            force: args.force,
            keep_free: values::keep_free(args.keep_free.as_deref())?,
            partial: args.partial,
            lock_timeout,
            patience: values::time_or("--patience", args.patience.as_deref(), PATIENCE)?,
        };
        let waiting = Waiting::of(&args.wait, args.patience.as_deref(), lock_timeout)?;
        let path = values::path(&args.file);
        let file = if path == Path::new("-") {
            "standard input".to_owned()
        } else {
            path.to_string_lossy().into_owned()
        };
        let text = read(path).map_err(|error| unreadable(path, &file, &error))?;
        Ok(Self { file, batch: parse(&text), options, waiting, dry_run: args.dry_run })
    }

    pub(super) const fn changes(&self) -> bool {
        !self.dry_run
    }

    /// Checks the batch, then changes one domain after the other. Signals are held off until everything is reported.
    pub(super) fn run(&self, host: &dyn Host, report: &Report) -> anyhow::Result<Exit> {
        let signals = if self.dry_run { Signals::free(report) } else { Signals::held(report)? };
        let steps = match plan_all(host, &self.batch, &self.options) {
            Ok(steps) => steps,
            Err(failures) => {
                let exits = failures.iter().map(|failure| match &failure.reason {
                    LineFailureReason::Line(problem) => {
                        report.usage(&self.usage(problem, report), failure.line)
                    }
                    LineFailureReason::Change(change) => report.failure(change, failure.line),
                });
                let exits: Vec<Exit> = exits.collect();
                // An invalid line is wrong usage, whatever other errors there are.
                let is_usage = exits.contains(&Exit::Usage);
                return Ok(if is_usage { Exit::Usage } else { Exit::of_all(&exits) });
            }
        };
        if self.dry_run {
            let exits = steps.iter().map(|step| match step.preview(host) {
                Ok(outcome) => report.outcome(&outcome, Some(step.line)),
                Err(failure) => report.failure(&failure, Some(step.line)),
            });
            return Ok(Exit::of_all(&exits.collect::<Vec<_>>()));
        }
        let mut exits = Vec::with_capacity(steps.len());
        let (mut places, mut waits): (Vec<usize>, Vec<(Option<usize>, Outcome)>) =
            Default::default();
        apply(host, &steps, &self.options, &signals, &mut |step, result| {
            record(report, result.as_ref());
            let line = Some(step.line);
            exits.push(match result {
                Ok(outcome) if self.waiting.is_some() => {
                    report.before_wait(&outcome, line);
                    places.push(exits.len());
                    waits.push((line, outcome));
                    Exit::Done
                }
                Ok(outcome) => report.outcome(&outcome, line),
                Err(failure) => report.failure(&failure, line),
            });
        });
        if let Some(waiting) = self.waiting {
            let ends = wait::run(host, &waits, waiting, &signals, report);
            for (place, end) in places.into_iter().zip(ends) {
                if let Some(exit) = exits.get_mut(place) {
                    *exit = end;
                }
            }
        }
        Ok(Exit::of_all(&exits))
    }

    fn usage(&self, problem: &LineProblem, report: &Report) -> Usage {
        let why = match problem {
            LineProblem::Empty => format!("{}: {problem}", self.file),
            problem => problem.to_string(),
        };
        let hint = Some(hints::line(problem, &report.program));
        Usage { why, hint, ..Usage::default() }
    }
}

/// Why the batch at `path`, called `file`, is unreadable.
fn unreadable(path: &Path, file: &str, error: &io::Error) -> Usage {
    let hint = match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::FileTooLarge => {
            "a batch has lines such as `web 512M`"
        }
        _ => "give a file that xmem can read; - is standard input",
    };
    let hint = Some(hint.to_owned());
    if path == Path::new("-") {
        return Usage { why: format!("{file}: {error}"), hint, ..Usage::default() };
    }
    Usage { what: "FILE".to_owned(), text: file.to_owned(), why: error.to_string(), hint }
}

fn read(file: &Path) -> io::Result<String> {
    let bytes = if file == Path::new("-") {
        limited(io::stdin().lock())
    } else {
        File::open(file).and_then(limited)
    }?;
    let not_text =
        |_| io::Error::new(io::ErrorKind::InvalidData, "not a text file (not valid UTF-8)");
    String::from_utf8(bytes).map_err(not_text)
}

fn limited(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_BYTES.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_BYTES) {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than 16 MiB"));
    }
    Ok(bytes)
}
