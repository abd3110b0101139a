//! The subcommands: from arguments to a request, a host, a report and an exit code.

mod apply;
mod change;
mod check;
mod complete;
mod list;
mod reclaim;
mod wait;
mod watch;

use std::ffi::OsString;
use std::iter::once;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory as _, FromArgMatches as _};
use xen::{Host, XenHost};
use xmem_core::change::Outcome;
use xmem_core::failure::Failure;
use xmem_sim::{Call, SimError, SimHost, Verdict};

use crate::cli::{Cli, Command, Global, LogFormat};
use crate::exit::Exit;
use crate::program::Program;
use crate::report::{Report, Style};
use crate::usage::Usage;
use crate::values::{self, HostRef};
use crate::{audit, logging};

/// Runs a command line.
pub(crate) fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args = values::mark(args);
    let parsed = Cli::command()
        .try_get_matches_from(&args)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed {
        Ok(cli) => run_parsed(&cli).into(),
        Err(error) if error.use_stderr() => unparsed(&error, &args).into(),
        // The help or the version.
        Err(error) => match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(lost) if lost.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Err(_) => Exit::Failed.into(),
        },
    }
}

fn run_parsed(cli: &Cli) -> Exit {
    let Global { json, quiet, verbose, log_format, .. } = cli.global;
    let host = values::host(cli.global.host.as_deref());
    if matches!(cli.command, Command::CompleteDomains) {
        complete::run(host.ok());
        return Exit::Done;
    }
    let report = Report::new(
        Style { json, quiet, verbose: verbose > 0, json_log: log_format == Some(LogFormat::Json) },
        cli.command.name(),
        matches!(host, Ok(HostRef::Sim(_))),
        Program::new(cli.global.host.as_deref()),
    );
    let filter = values::variable(logging::VARIABLE);
    let usage = match (logging::start(&cli.global, filter.as_deref()), host, Task::of(cli)) {
        (Ok(()), Ok(host), Ok(task)) => {
            let exit = on_host(&host, &task, &report);
            // A command that only reads fails if it cannot print its result.
            let is_lost = exit == Exit::Done && !task.changes() && report.is_lost();
            return if is_lost { Exit::Failed } else { exit };
        }
        (Err(usage), ..) | (_, Err(usage), _) | (.., Err(usage)) => usage,
    };
    report.usage(&usage, None)
}

/// Reports a command line that clap rejects.
fn unparsed(error: &clap::Error, args: &[OsString]) -> Exit {
    let words: Vec<&str> = args.iter().skip(1).filter_map(|word| word.to_str()).collect();
    // An option's value can look like a command (`--host set`), but that is unlikely.
    let command = Cli::command();
    let name = words
        .iter()
        .find_map(|word| {
            command.get_subcommands().find(|sub| sub.get_name_and_visible_aliases().contains(word))
        })
        .map(|sub| sub.get_name().to_owned());
    let name = NAMES.into_iter().find(|known| Some(*known) == name.as_deref()).unwrap_or("xmem");
    let host =
        words.iter().enumerate().rev().find_map(|(at, word)| match word.strip_prefix("--host") {
            Some("") => words.get(at.saturating_add(1)).copied(),
            Some(host) => host.strip_prefix('='),
            None => None,
        });
    let is_sim = matches!(values::host(host), Ok(HostRef::Sim(_)));
    let style = Style { json: words.contains(&"--json"), ..Style::default() };
    let report = Report::new(style, name, is_sim, Program::new(host));
    report.usage(&Usage::from_clap(error, args, name), None)
}

const NAMES: [&str; 7] = ["set", "max", "apply", "reclaim", "list", "watch", "check"];

/// Runs `task` on `host`.
fn on_host(host: &HostRef, task: &Task, report: &Report) -> Exit {
    let done = match host {
        HostRef::Xen => match XenHost::open() {
            Ok(host) => task.run(&host, report),
            Err(error) => {
                let failure = if task.changes() {
                    Failure::unchanged(None, error)
                } else {
                    Failure::read_only(None, error)
                };
                return report.failure(&failure, None);
            }
        },
        HostRef::Sim(dir) => match SimHost::open(dir.as_deref()) {
            Ok(host) => task.run(&host.observed_by(Arc::new(trace)), report),
            Err(error) => return no_sim(error, report),
        },
    };
    done.unwrap_or_else(|error| report.os_error(&error))
}

/// Logs a call to the simulated host, as crate xen logs calls to a real one.
fn trace(call: &Call<'_>) -> Verdict {
    tracing::trace!("{call}");
    Verdict::Proceed
}

/// Reports why the sim cannot be used.
fn no_sim(error: SimError, report: &Report) -> Exit {
    let hint = error.hint();
    if error.is_usage() {
        let why = error.to_string();
        let hint = hint.map(str::to_owned);
        let usage = Usage { what: String::new(), text: String::new(), why, hint };
        return report.usage(&usage, None);
    }
    report.os_error_with(&anyhow::Error::new(error), hint)
}

/// A command with all its arguments parsed.
enum Task {
    Change(change::Task),
    Apply(apply::Task),
    Reclaim(reclaim::Task),
    List(list::Task),
    Watch(watch::Task),
    Check(check::Task),
}

impl Task {
    fn of(cli: &Cli) -> Result<Self, Usage> {
        let global = &cli.global;
        match &cli.command {
            Command::Set(args) => change::set(args, global).map(Self::Change),
            Command::Max(args) => change::max(args, global).map(Self::Change),
            Command::Apply(args) => apply::Task::of(args, global).map(Self::Apply),
            Command::Reclaim(args) => reclaim::Task::of(args, global).map(Self::Reclaim),
            Command::List(args) => list::Task::of(args, global).map(Self::List),
            Command::Watch(args) => watch::Task::of(args).map(Self::Watch),
            Command::Check(args) => check::Task::of(args, global).map(Self::Check),
            Command::CompleteDomains => Err(Usage::default()),
        }
    }

    fn run(&self, host: &dyn Host, report: &Report) -> anyhow::Result<Exit> {
        match self {
            Self::Change(task) => task.run(host, report),
            Self::Apply(task) => task.run(host, report),
            Self::Reclaim(task) => task.run(host, report),
            Self::List(task) => Ok(task.run(host, report)),
            Self::Watch(task) => task.run(host, report),
            Self::Check(task) => task.run(host, report),
        }
    }

    /// Whether it may change something, so that its exit code is that of the change and not of the output.
    const fn changes(&self) -> bool {
        match self {
            Self::Change(task) => task.changes(),
            Self::Apply(task) => task.changes(),
            Self::Reclaim(task) => task.changes(),
            Self::Check(task) => task.changes(),
            Self::List(_) | Self::Watch(_) => false,
        }
    }
}

/// Logs a change of a real host.
fn record(report: &Report, result: Result<&Outcome, &Failure>) {
    if !report.simulated {
        audit::record(result);
    }
}

/// The exit code of a command about several domains, some of which do not exist.
fn with_missing(missing: usize, found: usize, exit: Exit) -> Exit {
    match (missing, found) {
        (0, _) => exit,
        (_, 0) => Exit::NoDomain,
        _ => Exit::of_all(&once(exit).chain([Exit::NoDomain]).collect::<Vec<_>>()),
    }
}
