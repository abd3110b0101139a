//! The `xmem` program: parse, run, exit code.

mod cli;
mod commands;
mod logging;
mod report;

use std::process::ExitCode;

use clap::Parser as _;
use xmem::error::Exit;

fn main() -> ExitCode {
    let cli = cli::Cli::try_parse().unwrap_or_else(|error| commands::unparsed(&error));
    let exit = commands::run(&cli).unwrap_or_else(|error| {
        report::complain(&format!("xmem: {error:#}"));
        Exit::Failed
    });
    ExitCode::from(u8::from(exit))
}
