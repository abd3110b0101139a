//! `xmem __complete-domains`: what can be typed as DOMAIN, for the shells' completions.
//!
//! One line for each domain: its domid, a blank, and a word that means this domain and no other. It is silent about
//! failures and quick, whatever happens: no hypercall is made, no lock taken, no directory created, and a xenstored that
//! hangs is not waited for.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use xen::escape::Escaped;
use xen::xenstore::{Client, Nodes};
use xen::{DomId, Host as _};
use xmem_core::domain::{DomainRef, Name};
use xmem_sim::SimHost;

use crate::values::HostRef;

/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(2);

/// Prints the domains of `host`: none if it does not answer.
pub(super) fn run(host: Option<HostRef>) {
    let (send, receive) = mpsc::channel();
    // A look that does not come back ends with the process.
    let look = move || send.send(host.and_then(|host| look(&host)));
    if thread::Builder::new().spawn(look).is_ok()
        && let Ok(Some(lines)) = receive.recv_timeout(LIMIT)
    {
        // Nobody is told of a failure while pressing TAB.
        let _silent = io::stdout().lock().write_all(lines.as_bytes());
    }
}

fn look(host: &HostRef) -> Option<String> {
    match host {
        HostRef::Xen => lines(&Client::connect().ok()?),
        HostRef::Sim(dir) => {
            let host = SimHost::open_existing(dir.as_deref()).ok()??;
            lines(&*host.connect().ok()?)
        }
    }
}

fn lines(store: &(impl Nodes + ?Sized)) -> Option<String> {
    let ids = store.list("/local/domain").ok()??;
    let mut ids: Vec<DomId> =
        ids.iter().filter_map(|id| id.parse().ok().and_then(DomId::new)).collect();
    ids.sort();
    let paths: Vec<String> = ids.iter().map(|id| format!("/local/domain/{id}/name")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let name = |name: Option<Vec<u8>>| Some(Name(String::from_utf8(name?).ok()?));
    let names: Vec<Option<Name>> = store.read_each(&paths).ok()?.into_iter().map(name).collect();
    let mut counts: HashMap<&Name, usize> = HashMap::new();
    for name in names.iter().flatten() {
        let count = counts.entry(name).or_default();
        *count = count.saturating_add(1);
    }
    let line = |(domid, name): (&DomId, &Option<Name>)| {
        let is_unique = |name: &&Name| counts.get(name) == Some(&1);
        let word = name.as_ref().filter(is_unique).and_then(word);
        format!("{domid} {}\n", word.unwrap_or_else(|| domid.to_string()))
    };
    Some(ids.iter().zip(&names).map(line).collect())
}

/// What to type for the domain with `name`; `None` if the name cannot be shown as it is.
fn word(name: &Name) -> Option<String> {
    if name.0.contains(Escaped::must_escape) {
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
    fn a_word_means_the_domain_with_the_name() {
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
