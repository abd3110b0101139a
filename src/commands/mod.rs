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
use std::path::PathBuf;

use xmem::error::{After, Exit, Failure, chain};
use xmem::host::Host;
use xmem::host::sim::{self, Fault, SimError, SimHost};
use xmem::host::xen::XenHost;

use crate::cli::{Cli, Command, HostRef};
use crate::logging;
use crate::report::{Report, Usage};

/// Runs a command line.
pub(crate) fn run(cli: &Cli) -> anyhow::Result<Exit> {
    let filters = env::var(logging::VARIABLE).ok();
    let host = host(&cli.global.host);
    if matches!(cli.command, Command::Words) {
        words::run(host.ok());
        return Ok(Exit::Done);
    }
    let report = Report::new(&cli.global, cli.command.name(), matches!(host, Ok(HostRef::Sim(_))));
    if let Err(usage) = logging::start(&cli.global, filters.as_deref()) {
        return report.usage(&usage);
    }
    match host {
        Err(usage) => report.usage(&usage),
        Ok(HostRef::Xen) => match XenHost::open() {
            Ok(host) => command(&host, cli, &report),
            Err(error) => {
                let cause = error.into();
                report.failure(&Failure { domain: None, cause, after: After::Unchanged })
            }
        },
        Ok(HostRef::Sim(dir)) => match SimHost::open(dir.as_deref()) {
            Ok(host) => command(&host, cli, &report),
            Err(error) => report.usage(&no_sim(&cli.global.host, &error)),
        },
    }
}

fn command<H: Host>(host: &H, cli: &Cli, report: &Report) -> anyhow::Result<Exit> {
    let request = match &cli.command {
        Command::Set(set) => change::set(set),
        Command::Max(max) => change::max(max),
        Command::Apply(typed) => {
            return match apply::asked(typed) {
                Ok(asked) => apply::run(host, &asked, report),
                Err(usages) => report.usages(&usages),
            };
        }
        Command::List(list) => {
            return match list::wanted(list) {
                Ok(wanted) => list::run(host, list, &wanted, report),
                Err(usage) => report.usage(&usage),
            };
        }
        Command::Check(check) => {
            return match check::asked(check) {
                Ok(asked) => check::run(host, &asked, report),
                Err(usage) => report.usage(&usage),
            };
        }
        Command::Watch(watch) => {
            return match watch::asked(watch) {
                Ok(asked) => watch::run(host, &asked, report),
                Err(usage) => report.usage(&usage),
            };
        }
        // It needs no host that can be changed, and was served before there was one.
        Command::Words => return Ok(Exit::Done),
    };
    match request {
        Ok((request, waiting)) => change::run(host, &request, waiting, report),
        Err(usage) => report.usage(&usage),
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
