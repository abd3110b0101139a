//! What the subcommands do: from what was typed to a request, to a host, to a report.
//!
//! Owns the way from words to exit code. Never decides anything about memory.

mod apply;
mod change;
mod check;
mod list;
mod wait;
mod watch;
mod words;

use std::env;
use std::mem::ManuallyDrop;
use std::path::PathBuf;

use xmem::error::{After, Exit, Failure, chain};
use xmem::host::Host;
use xmem::host::sim::{self, Fault, SimError, SimHost};
use xmem::host::xen::XenHost;

use crate::cli::{Cli, Command, HostRef};
use crate::logging;
use crate::report::{self, Report, Usage};

/// Runs a command line.
pub(crate) fn run(cli: &Cli) -> anyhow::Result<Exit> {
    let host = host(&cli.global.host);
    if matches!(cli.command, Command::Words) {
        words::run(host.ok());
        return Ok(Exit::Done);
    }
    let report = Report::new(&cli.global, cli.command.name(), matches!(host, Ok(HostRef::Sim(_))));
    if let Err(usage) = logging::start(&cli.global, env::var_os(logging::VARIABLE)) {
        return report.usage(&usage);
    }
    // Words that make no sense make none on any host: no host is needed to say so.
    let (host, task) = match (host, Task::of(&cli.command)) {
        (Err(usage), _) => return report.usage(&usage),
        (_, Err(usages)) => return report.usages(&usages),
        (Ok(host), Ok(task)) => (host, task),
    };
    let exit = match host {
        HostRef::Xen => match XenHost::open() {
            // What it has open goes with the process.
            Ok(host) => task.run(&*ManuallyDrop::new(host), &report)?,
            Err(error) => {
                let cause = error.into();
                report.failure(&Failure { domain: None, cause, after: After::Unchanged })?
            }
        },
        HostRef::Sim(dir) => match SimHost::open(dir.as_deref()) {
            Ok(host) => task.run(&host, &report)?,
            Err(error) => report.usage(&no_sim(&cli.global.host, &error))?,
        },
    };
    // Of a change the exit code says what was done to the domain. Who only looks and cannot tell has failed.
    Ok(if exit == Exit::Done && task.only_looks() && report::lost() { Exit::Failed } else { exit })
}

/// Tells of a command line that clap does not take, or prints the help that was asked for.
pub(crate) fn unparsed(error: &clap::Error) -> Exit {
    if error.use_stderr() {
        report::unparsed(error, env::args_os().skip(1).any(|word| word == "--json"));
        return Exit::Usage;
    }
    // That the help has no reader is no failure.
    let _told = error.print();
    Exit::Done
}

/// What there is to do.
enum Task {
    Change(change::Asked),
    Apply(apply::Asked),
    List(list::Asked),
    Watch(watch::Asked),
    Check(check::Asked),
}

impl Task {
    /// Makes sense of what was typed.
    fn of(command: &Command) -> Result<Self, Vec<Usage>> {
        let one = |usage| vec![usage];
        match command {
            Command::Set(set) => change::set(&set.0).map(Self::Change).map_err(one),
            Command::Max(max) => change::max(&max.0).map(Self::Change).map_err(one),
            Command::Apply(typed) => apply::asked(&typed.0).map(Self::Apply),
            Command::List(typed) => list::asked(&typed.0).map(Self::List).map_err(one),
            Command::Watch(typed) => watch::asked(&typed.0).map(Self::Watch).map_err(one),
            Command::Check(typed) => check::asked(&typed.0).map(Self::Check).map_err(one),
            // Served before there was a task.
            Command::Words => Err(Vec::new()),
        }
    }

    fn run<H: Host>(&self, host: &H, report: &Report) -> anyhow::Result<Exit> {
        match self {
            Self::Change(asked) => change::run(host, asked, report),
            Self::Apply(asked) => apply::run(host, asked, report),
            Self::List(asked) => list::run(host, asked, report),
            Self::Watch(asked) => watch::run(host, asked, report),
            Self::Check(asked) => check::run(host, asked, report),
        }
    }

    /// Whether nothing is changed, so that what it tells is all that it is for.
    const fn only_looks(&self) -> bool {
        match self {
            Self::Change(asked) => asked.only_looks(),
            Self::Apply(asked) => asked.only_looks(),
            Self::Check(asked) => asked.only_looks(),
            Self::List(_) | Self::Watch(_) => true,
        }
    }
}

/// Why there is no sim.
fn no_sim(host: &str, error: &SimError) -> Usage {
    match error {
        SimError::UnknownFault { word } => Usage {
            what: sim::VARIABLE,
            text: word.clone(),
            why: format!("it is not one of {}", Fault::words()),
            hint: "each word is a way in which the simulated host misbehaves".to_owned(),
        },
        SimError::NotRoots { .. } => Usage {
            what: "host",
            text: host.to_owned(),
            why: chain(error),
            hint: "a simulated host needs no root: run it as that user".to_owned(),
        },
        error => Usage {
            what: "host",
            text: host.to_owned(),
            why: chain(error),
            hint: "sim:DIR keeps a simulated host in a folder of your choice".to_owned(),
        },
    }
}

/// The host that was asked for.
fn host(text: &str) -> Result<HostRef, Usage> {
    match text.split_once(':') {
        None if text == "xen" => Ok(HostRef::Xen),
        None if text == "sim" => Ok(HostRef::Sim(None)),
        Some(("sim", dir)) if !dir.is_empty() => Ok(HostRef::Sim(Some(PathBuf::from(dir)))),
        _ => Err(Usage {
            what: "host",
            text: text.to_owned(),
            why: "it is neither `xen`, `sim` nor `sim:DIR`".to_owned(),
            hint: "without --host and XMEM_HOST, xmem works on the Xen it runs on".to_owned(),
        }),
    }
}
