//! What a run without `-v` and `XMEM_LOG` shows of tracing's events: its errors, of which there should be none.
//!
//! Owns their lines. tracing-subscriber's registry, which keeps track of spans, is for those who ask for more: to
//! make one takes as long as reading a domain's nodes.

use std::fmt::{Debug, Write as _};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::report;

/// See the module's text.
pub(super) struct ErrorsOnly;

impl Subscriber for ErrorsOnly {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::ERROR)
    }

    fn event(&self, event: &Event<'_>) {
        report::complain(&line(event));
    }

    // Which span an error is in is not told.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// As tracing-subscriber writes it: `ERROR the message field=value`.
fn line(event: &Event<'_>) -> String {
    let mut line = Line("ERROR".to_owned());
    event.record(&mut line);
    line.0
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string cannot fail.
        let _ok = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps the lines in place of printing them.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl Subscriber for Kept {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            ErrorsOnly.enabled(metadata)
        }
        fn event(&self, event: &Event<'_>) {
            self.0.lock().unwrap().push(line(event));
        }
        fn new_span(&self, attributes: &Attributes<'_>) -> Id {
            ErrorsOnly.new_span(attributes)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn errors_are_told_with_their_fields_and_nothing_else_is() {
        let kept = Kept::default();
        tracing::subscriber::with_default(kept.clone(), || {
            let domain = "web (7)";
            tracing::warn!(domain, "not shown");
            tracing::info_span!("change").in_scope(|| {
                tracing::error!(%domain, tries = 3, "the limit could not be put back");
            });
        });
        let told = "ERROR the limit could not be put back domain=web (7) tries=3";
        assert_eq!(*kept.0.lock().unwrap(), [told]);
    }
}
