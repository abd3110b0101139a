//! Log lines on standard error: warnings by default, more with `-v`, `XMEM_LOG` and `--log-format`.

use std::fmt::{self, Write as _};
use std::io;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use xen::escape::Escaped;

use crate::cli::{Global, LogFormat};
use crate::report::shortened;
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
        // Bytes that are not UTF-8 have been replaced.
        Some(text) if text.contains('\u{fffd}') => return Err(not_a_filter(text)),
        Some(text) => text.parse().map_err(|_| not_a_filter(text))?,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false);
    let lines = match global.log_format.unwrap_or(LogFormat::Text) {
        LogFormat::Text => lines.event_format(Plain).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(targets)).init();
    Ok(())
}

fn not_a_filter(text: &str) -> Usage {
    Usage {
        what: VARIABLE.to_owned(),
        text: text.to_owned(),
        why: "not a log filter".to_owned(),
        hint: Some("a filter looks like `debug` or `xen::lock=trace,xmem_core=debug`".to_owned()),
    }
}

/// `debug: web (7): limit set: from 1025 MiB; to 513 MiB`: the domain first, as in errors, and without Rust's quotes.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        let mut words = Words::default();
        event.record(&mut words);
        let line =
            shortened(&format!("{level}: {}{}{}", words.domain, words.message, words.fields));
        writeln!(writer, "{}", Escaped(&line))
    }
}

/// The domain that an event is about, its message, and its other fields.
#[derive(Default)]
struct Words {
    domain: String,
    message: String,
    fields: String,
}

impl Words {
    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ok = match field.name() {
            "message" => self.message.write_fmt(value),
            "domain" => write!(self.domain, "{value}: "),
            name => {
                let before = if self.fields.is_empty() { ": " } else { "; " };
                // An error needs no name.
                let name = match name {
                    "error" => String::new(),
                    name => format!("{} ", name.replace('_', " ")),
                };
                write!(self.fields, "{before}{name}{value}")
            }
        };
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}
