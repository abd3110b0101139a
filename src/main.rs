//! The `xmem` program: parse, run, exit code.

mod cli;
mod commands;
mod logging;
mod report;

use std::process::ExitCode;

use clap::Parser as _;
use xmem::error::Exit;

fn main() -> ExitCode {
    let exit = match cli::Cli::try_parse() {
        Ok(cli) => commands::run(&cli).unwrap_or_else(|error| {
            report::complain(&format!("xmem: {error:#}"));
            Exit::Failed
        }),
        Err(error) => commands::unparsed(&error),
    };
    ExitCode::from(u8::from(exit))
}
