//! `xmem apply`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use xmem::apply::{Options, apply, survey};
use xmem::batch::{Line, parse};
use xmem::change::Outcome;
use xmem::error::Exit;
use xmem::host::Host;
use xmem::signals::Signals;

use super::change::{duration, record};
use super::wait::{self, Waiting};
use crate::cli::Apply;
use crate::report::{Report, Usage};

/// More than any host's domains need; what is longer was not meant to be read here.
const MOST_BYTES: u64 = 16 << 20;

/// What was asked for.
pub(super) struct Asked {
    lines: Vec<Line>,
    options: Options,
    waiting: Option<Waiting>,
    dry_run: bool,
}

impl Asked {
    pub(super) const fn only_looks(&self) -> bool {
        self.dry_run
    }
}

/// Makes sense of what was typed, and of the file.
pub(super) fn asked(typed: &Apply) -> Result<Asked, Vec<Usage>> {
    let time = |what, text| duration(what, text).map_err(|usage| vec![usage]);
    let options = Options {
        raise_max: typed.raise_max,
        force: typed.force,
        lock_timeout: time("lock timeout", &typed.lock_timeout)?,
        patience: time("patience", &typed.patience)?,
    };
    let waiting = wait::waiting(&typed.wait, &typed.patience, options.lock_timeout, true)
        .map_err(|usage| vec![usage])?;
    let text = read(&typed.file).map_err(|why| vec![unreadable(&typed.file, why)])?;
    let lines = parse(&text).map_err(|errors| {
        let usage = |(number, error): (usize, xmem::batch::LineError)| Usage {
            what: "line",
            text: number.to_string(),
            why: error.to_string(),
            hint: error.hint().to_owned(),
        };
        errors.into_iter().map(usage).collect::<Vec<_>>()
    })?;
    Ok(Asked { lines, options, waiting, dry_run: typed.dry_run })
}

fn read(file: &PathBuf) -> Result<String, String> {
    let text = if file == Path::new("-") {
        limited(io::stdin().lock())
    } else {
        File::open(file).and_then(limited)
    };
    text.map_err(|error| error.to_string())
}

fn limited(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(MOST_BYTES.saturating_add(1)).read_to_string(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|bytes| bytes > MOST_BYTES) {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 16 MiB"));
    }
    Ok(text)
}

fn unreadable(file: &Path, why: String) -> Usage {
    Usage {
        what: "file",
        text: file.display().to_string(),
        why,
        hint: "a batch has lines such as `web 512M`, or those of `xmem list --json`; - is standard input".to_owned(),
    }
}

/// Looks at all, then changes one after the other.
pub(super) fn run<H: Host>(host: &H, asked: &Asked, report: &Report) -> anyhow::Result<Exit> {
    let steps = match survey(host, &asked.lines, asked.options) {
        Ok(steps) => steps,
        Err(objections) => {
            let mut first = None;
            for objection in &objections {
                let exit = report.objection(objection.line, &objection.failure)?;
                first = first.or(Some(exit));
            }
            return Ok(first.unwrap_or(Exit::Failed));
        }
    };
    if asked.dry_run {
        for step in &steps {
            report.outcome(&step.outlook())?;
        }
        return Ok(Exit::Done);
    }
    // Held off until all is told, so that whoever ends the run learns what it has done.
    let mut signals = Signals::default();
    let (mut exits, mut waits) = (Vec::with_capacity(steps.len()), Vec::new());
    let mut trouble = Ok(());
    apply(host, &steps, asked.options, &mut signals, &mut |step, result| {
        record(host, &result);
        let told = match result {
            Ok(outcome) if asked.waiting.is_some() && !step.leave_alone() => {
                let told = report.before_wait(&outcome).map(|()| Exit::Done);
                waits.push((exits.len(), outcome));
                told
            }
            Ok(outcome) => report.outcome(&outcome),
            Err(failure) => report.failure(&failure),
        };
        exits.push(told.unwrap_or_else(|error| {
            trouble = Err(error);
            Exit::Failed
        }));
    });
    trouble?;
    if let Some(waiting) = asked.waiting {
        let (places, outcomes): (Vec<usize>, Vec<Outcome>) = waits.into_iter().unzip();
        let ends = wait::run(host, &outcomes, waiting, &mut signals, report)?;
        for (place, end) in places.into_iter().zip(ends) {
            if let Some(exit) = exits.get_mut(place) {
                *exit = end;
            }
        }
    }
    Ok(Exit::of_all(&exits))
}
