//! Log lines on standard error: warnings by default, more with `-v`, `XMEM_LOG` and `--log-format`.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::{Global, LogFormat};
use crate::usage::Usage;

/// The environment variable with a log filter.
pub(crate) const VARIABLE: &str = "XMEM_LOG";

/// Starts logging as the command line and `filter`, the value of [`VARIABLE`], ask for.
pub(crate) fn start(global: &Global, filter: Option<&str>) -> Result<(), Usage> {
    let level = match global.verbose {
        0 if global.quiet => LevelFilter::ERROR,
        0 => LevelFilter::WARN,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let targets = match filter {
        None => Targets::new().with_default(level),
        Some(text) => text.parse().map_err(|_| Usage {
            what: VARIABLE.to_owned(),
            text: text.to_owned(),
            why: "not a log filter".to_owned(),
            hint: Some("a filter looks like `debug` or `xen::lock=trace,xmem_core=debug`".into()),
        })?,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false);
    let lines = match global.log_format.unwrap_or(LogFormat::Text) {
        LogFormat::Text => lines.without_time().with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(targets)).init();
    Ok(())
}
