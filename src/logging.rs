//! What `-v`, `XMEM_LOG` and `--log-format` turn on: tracing's events on standard error.
//!
//! Owns the choice of the subscriber. Without any of them only what is logged as an error is shown, and nothing
//! is.

mod errors;

use std::ffi::OsString;
use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use self::errors::ErrorsOnly;
use crate::cli::{Global, LogFormat};
use crate::report::Usage;

/// The environment variable with log filters.
pub(crate) const VARIABLE: &str = "XMEM_LOG";

/// Turns on what was asked for. `filters` is what [`VARIABLE`] says.
pub(crate) fn start(global: &Global, filters: Option<OsString>) -> Result<(), Usage> {
    let filters = filters.filter(|text| !text.is_empty());
    if global.verbose == 0 && filters.is_none() && global.log_format == LogFormat::Text {
        // There is none yet, so that this cannot fail.
        let _first = tracing::dispatcher::set_global_default(ErrorsOnly.into());
        return Ok(());
    }
    let level = match global.verbose {
        0 => LevelFilter::ERROR,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let targets = match filters {
        None => Targets::new().with_default(level),
        Some(text) => {
            let wrong = |why: String| Usage {
                what: VARIABLE,
                text: text.to_string_lossy().into_owned(),
                why,
                hint: "filters look like `debug` or `xmem::lock=trace,xmem=debug`".to_owned(),
            };
            let words = text.to_str().ok_or_else(|| wrong("it is not UTF-8".to_owned()))?;
            words.parse().map_err(|error| wrong(format!("{error}")))?
        }
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let lines = match global.log_format {
        LogFormat::Text => lines.without_time().with_target(false).with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).without_time().boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(targets)).init();
    Ok(())
}
