//! The `xmem` program: parse, run, exit code.

#[cfg(all(feature = "static", not(target_feature = "crt-static")))]
compile_error!(
    "the feature `static` needs `-C target-feature=+crt-static`, and RUSTFLAGS has replaced .cargo/config.toml's flags: \
     unset RUSTFLAGS, or add the flag to it"
);

mod audit;
mod cli;
mod commands;
mod exit;
mod fixes;
mod hints;
mod logging;
mod program;
mod remedy;
mod report;
mod signals;
mod usage;
mod values;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::run(std::env::args_os())
}
