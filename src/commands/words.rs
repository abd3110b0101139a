//! `xmem __words`: what can be typed as DOMAIN, for the shells' completions.
//!
//! One line for each domain: its domid, a blank, and a word that means it and nothing else. Never says why
//! it has nothing to say, never takes a domain's lock, and never keeps anybody who presses TAB waiting
//! for long: the hypervisor is not asked, and a xenstored that hangs is not waited for.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use xmem::domain::{DomId, DomainRef, Name};
use xmem::harmless::Harmless;
use xmem::host::Host as _;
use xmem::host::sim::SimHost;
use xmem::resolve::names;
use xmem::xenstore::{Batch, Client};

use crate::cli::HostRef;

/// How long all of it may take. xenstored's own deadline is there for changes, and far too long.
const LIMIT: Duration = Duration::from_secs(1);

/// Prints what there is to print; of no host, or of one that does not answer, nothing.
pub(super) fn run(host: Option<HostRef>) {
    let (send, receive) = mpsc::channel();
    // A look that does not come back ends with the process.
    let look = move || send.send(host.and_then(|host| look(&host)));
    if thread::Builder::new().spawn(look).is_ok()
        && let Ok(Some(lines)) = receive.recv_timeout(LIMIT)
    {
        let _told = io::stdout().lock().write_all(lines.as_bytes());
    }
}

fn look(host: &HostRef) -> Option<String> {
    match host {
        HostRef::Xen => lines(&Client::connect().ok()?),
        // Pressing TAB makes no folders.
        HostRef::Sim(Some(dir)) if !SimHost::is_in(dir) => None,
        HostRef::Sim(dir) => lines(&SimHost::open(dir.as_deref()).ok()?.connect().ok()?),
    }
}

fn lines(store: &impl Batch) -> Option<String> {
    let all = names(store).ok()?;
    let mut bearers: HashMap<&Name, usize> = HashMap::new();
    for name in all.iter().filter_map(|(_, name)| name.as_ref()) {
        let count = bearers.entry(name).or_default();
        *count = count.saturating_add(1);
    }
    let line = |(domid, name): &(DomId, Option<Name>)| {
        let alone = |name: &&Name| bearers.get(name).is_none_or(|count| *count < 2);
        let word = name.as_ref().filter(alone).and_then(word);
        format!("{domid} {}\n", word.unwrap_or_else(|| domid.to_string()))
    };
    Some(all.iter().map(line).collect())
}

/// What to type for the domain that is called `name`; `None` if its name cannot be shown as it is.
fn word(name: &Name) -> Option<String> {
    if name.0.contains(Harmless::is_harmful) {
        return None;
    }
    let means_it =
        |word: &String| !word.starts_with('-') && word.parse() == Ok(DomainRef::Name(name.clone()));
    [name.0.clone(), format!("name:{}", name.0)].into_iter().find(means_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_means_the_domain_that_has_the_name() {
        for (name, expected) in [
            ("web", Some("web")),
            ("my $HOME's \"vm\"", Some("my $HOME's \"vm\"")),
            ("a:b", Some("a:b")),
            ("7", Some("name:7")),
            ("99999", Some("name:99999")),
            ("id:7", Some("name:id:7")),
            ("name:x", Some("name:name:x")),
            ("-5", Some("name:-5")),
            (
                "01234567-89ab-cdef-0123-456789abcdef",
                Some("name:01234567-89ab-cdef-0123-456789abcdef"),
            ),
            (" ", Some("name: ")),
            ("", None),
            ("two\nlines", None),
            ("tab\t", None),
            ("\u{1b}[2J", None),
            ("\u{202e}", None),
        ] {
            assert_eq!(word(&Name(name.to_owned())).as_deref(), expected, "{name:?}");
        }
    }
}
