//! The `xmem` program: parse, run, exit code.

#![cfg_attr(all(target_env = "gnu", not(test)), no_main)]

mod cli;
mod commands;
mod logging;
mod report;
#[cfg(all(target_env = "gnu", not(test)))]
mod start;

use xmem::error::Exit;

#[cfg(any(not(target_env = "gnu"), test))]
fn main() -> std::process::ExitCode {
    u8::from(run()).into()
}

/// Runs the command line that was typed.
fn run() -> Exit {
    match cli::Cli::typed() {
        Ok(cli) => commands::run(&cli).unwrap_or_else(|error| {
            report::complain(&format!("xmem: {error:#}"));
            Exit::Failed
        }),
        Err(error) => commands::unparsed(&error),
    }
}
